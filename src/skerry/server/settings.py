"""How much a server gives to whom: limits, deadlines, TLS. One frozen record, checked once."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal

from skerry.errors import SettingsError
from skerry.http.forwarded import Outside
from skerry.http.trusted import Trusted
from skerry.options import option, same_as

AccessLog = Literal["off", "asgi", "all"]


def _file(text: str) -> Path | None:
    return Path(text) if text else None


def _trusted(text: str) -> Trusted | None:
    return Trusted(each.strip() for each in text.split(",") if each.strip()) if text else None


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Limits of one server process. Bytes and seconds; every one must be positive, unless it may say 0."""

    max_connections: int = same_as("max_connections", 20_000)
    max_pending: int = same_as("max_pending", 2_000)
    """ASGI requests whose answer has not begun; an open websocket and an answer whose body goes on count as
    connections."""
    max_abandoned: int = option(
        2_000,
        "applications that run on after their client has gone; beyond, the oldest is cancelled",
        least=1,
        most=1_000_000,
    )
    max_target_bytes: int = option(8_192, "of a request's path and query", least=256, most=1 << 20)
    max_head_bytes: int = same_as("max_header", 32_768)
    max_fields: int = option(100, "header fields of a request", least=8, most=10_000)
    head_seconds: float = same_as("request_timeout", 10.0)
    """From the first byte of a request to the end of its head, and for the first byte of a new connection."""
    body_seconds: float = option(
        20.0, "that a body may take before body_bytes_per_second counts", least=0.1, most=86_400.0
    )
    body_bytes_per_second: float = option(
        1_024.0, "bytes per second of a body, at least, on average", least=1.0, most=1e9
    )
    keep_alive_seconds: float = same_as("keep_alive", 65.0)
    stall_seconds: float = option(
        30.0, "that a client may take nothing of its answer", least=0.1, most=86_400.0
    )
    gone_seconds: float = option(
        30.0,
        "that a client which says no more is still answered, and a stream for nobody goes on",
        least=0.1,
        most=86_400.0,
    )
    linger_seconds: float = option(
        2.0, "that a refused request is read on, so that its answer arrives", least=0.1, most=60.0
    )
    drain_seconds: float = same_as("drain", 10.0, becomes=lambda seconds: max(seconds, 0.01))
    patience_seconds: float = option(
        1.0,
        "that a client may let a server wait that drains: for the rest of a request, or to take its answer",
        least=0.01,
        most=3600.0,
    )
    slow_view_seconds: float = option(
        0.05, "of a view that reads memory, after which it is logged as slow", least=0.001, most=60.0
    )
    kept_bytes: int = option(
        16 << 20,
        "of answers of keep=True routes that are kept, with their requests; 0: none is",
        least=0,
        most=1 << 40,
    )
    backlog: int = option(
        2_048, "connections that the kernel keeps until they are accepted", least=1, most=65_535
    )
    access_log: AccessLog = same_as("access_log", "asgi", becomes=lambda every: "all" if every else "off")
    """ "asgi" logs all but answers from the lane."""
    tls_cert: Path | None = same_as("tls_cert", None, becomes=_file)
    tls_key: Path | None = same_as("tls_key", None, becomes=_file)
    trusted: Trusted | None = same_as("trusted", None, becomes=_trusted)
    """Proxies whose word about clients counts."""
    root_path: str = same_as("root_path", "")
    """Where the application begins for clients, as `/kv`."""
    outside: Outside | None = field(init=False, default=None)
    """Those two together; None when there is neither."""

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, int | float) and value <= 0 and each.metadata.get("least") != 0:
                raise SettingsError(each.name, f"must be above zero, not {value}")
        if self.access_log not in ("off", "asgi", "all"):
            raise SettingsError("access_log", f"is off, asgi or all, not {self.access_log!r}")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise SettingsError("tls_cert", "a certificate needs its key (tls_key) and the other way round")

        if self.trusted is not None or self.root_path:
            object.__setattr__(self, "outside", Outside(self.trusted, self.root_path))

    def tls(self) -> ssl.SSLContext | None:
        """The TLS context, None without a certificate. Raises SettingsError when the files cannot be used."""
        if self.tls_cert is None:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        try:
            context.load_cert_chain(self.tls_cert, self.tls_key)
        except (OSError, ssl.SSLError) as error:
            raise SettingsError("tls_cert", f"cannot be used with its key: {error}") from error
        return context
