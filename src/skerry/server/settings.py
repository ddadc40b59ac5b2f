"""How much a server gives to whom: limits, deadlines, TLS. One frozen record, checked once."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from skerry.errors import SettingsError

AccessLog = Literal["off", "asgi", "all"]


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Limits of one server process. Bytes and seconds; every one must be positive.

    `max_pending`: ASGI requests whose answer has not begun, further ones get 503; an open websocket and an answer whose
    body goes on count as connections. `max_abandoned`: applications that run on after their client has gone; beyond,
    the oldest is cancelled. `gone_seconds`: how long a client that says no more may still be answered, and how long a
    stream for nobody goes on. `head_seconds`: from the first byte of a
    request to the end of its head, and for the first byte of a new connection. `body_seconds` is the grace of a body,
    after which it must have arrived at `body_bytes_per_second` on average. `stall_seconds`: how long a client may take
    none of its answer. `patience_seconds`: while the server drains, how long a client may let it wait for the rest of
    a request, or take none of its answer. `access_log`: "asgi" logs all but answers from the lane.
    """

    max_connections: int = 20_000
    max_pending: int = 2_000
    max_abandoned: int = 2_000
    max_target_bytes: int = 8_192
    max_head_bytes: int = 32_768
    max_fields: int = 100
    head_seconds: float = 10.0
    body_seconds: float = 20.0
    body_bytes_per_second: float = 1_024.0
    keep_alive_seconds: float = 65.0
    stall_seconds: float = 30.0
    gone_seconds: float = 30.0
    linger_seconds: float = 2.0
    drain_seconds: float = 10.0
    patience_seconds: float = 1.0
    slow_view_seconds: float = 0.05
    backlog: int = 2_048
    access_log: AccessLog = "asgi"
    tls_cert: Path | None = None
    tls_key: Path | None = None

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, int | float) and value <= 0:
                raise SettingsError(each.name, f"must be above zero, not {value}")
        if self.access_log not in ("off", "asgi", "all"):
            raise SettingsError("access_log", f"is off, asgi or all, not {self.access_log!r}")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise SettingsError("tls_cert", "a certificate needs its key (tls_key) and the other way round")

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
