"""What a PostgreSQL URL says: which hosts, how long to wait for each, which settings. Reads no socket.

libpq's parameters are known by name: the driver's own go to the driver, the network's are made here, those that change
nothing are taken, those that cannot be kept are refused. Any other is a setting of the server, made after connecting.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from skerry.errors import SettingsError

SETTING = "SKERRY_JOURNAL"
_PORT = 5432
_SOCKETS = ("/run/postgresql", "/var/run/postgresql", "/tmp")
_DRIVER = frozenset(
    (
        "user",
        "password",
        "passfile",
        "dbname",
        "database",
        "sslmode",
        "sslcert",
        "sslkey",
        "sslrootcert",
        "sslcrl",
        "sslpassword",
        "sslnegotiation",
        "ssl_min_protocol_version",
        "ssl_max_protocol_version",
        "krbsrvname",
        "gsslib",
        "service",
        "options",
    )
)
_FILES = ("sslcert", "sslkey", "sslrootcert", "sslcrl")
_NETWORK = frozenset(
    (
        "host",
        "hostaddr",
        "port",
        "connect_timeout",
        "keepalives",
        "keepalives_idle",
        "keepalives_interval",
        "keepalives_count",
        "tcp_user_timeout",
        "target_session_attrs",
        "load_balance_hosts",
    )
)
_TAKEN: Mapping[str, frozenset[str] | None] = {
    "application_name": None,  # ours says which journal it is
    "fallback_application_name": None,
    "client_encoding": frozenset(("utf8", "utf-8", "unicode", "auto")),
    "gssencmode": frozenset(("disable", "prefer")),
    "channel_binding": frozenset(("disable", "prefer")),
    "sslcompression": frozenset(("0",)),
    "sslcertmode": frozenset(("allow",)),
    "sslsni": frozenset(("1",)),
    "requiressl": frozenset(("0",)),
}
"""Parameters of libpq that mean nothing here, and with which values."""
_REFUSED = frozenset(
    (
        "replication",
        "requirepeer",
        "require_auth",
        "sslcrldir",
        "max_protocol_version",
        "min_protocol_version",
        "sslkeylogfile",
        "scram_client_key",
        "scram_server_key",
        "servicefile",
        "oauth_issuer",
    )
)
_NEEDS: Mapping[str, bool] = {"any": False, "primary": False, "read-write": True}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*(\.[A-Za-z_][A-Za-z0-9_$]*)*")
_LEAST_SECONDS = 2.0
"""libpq's: a `connect_timeout` of 1 is taken for 2."""


@dataclass(frozen=True, slots=True)
class Host:
    """One place to look. `name`: a host name, an address, or the directory of a socket. `address`: what to connect to
    in its place (`hostaddr`), "" to look the name up."""

    name: str
    port: int
    address: str = ""

    @property
    def is_socket(self) -> bool:
        return self.name.startswith("/")

    def __str__(self) -> str:
        if self.is_socket:
            return f"{self.name}/.s.PGSQL.{self.port}"
        return f"[{self.name}]:{self.port}" if ":" in self.name else f"{self.name}:{self.port}"


@dataclass(frozen=True, slots=True)
class Silence:
    """When a silent network ends a connection: `probes` after `idle_seconds` of rest, each `interval_seconds`, `count`
    of them; what was sent and not acknowledged for `unacknowledged_seconds` ends it too."""

    idle_seconds: int = 3
    interval_seconds: int = 2
    count: int = 3
    unacknowledged_seconds: float = 8.0
    probes: bool = True


@dataclass(frozen=True, slots=True)
class Dsn:
    """A PostgreSQL URL, read. `url`: what the driver gets, without hosts. `settings`: of the server. `hosts`: empty
    where a service file names them. `connect_seconds`: for one host, None when the URL says nothing."""

    url: str
    hosts: tuple[Host, ...]
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    settings: Mapping[str, str] = field(default_factory=dict)
    connect_seconds: float | None = None
    silence: Silence = Silence()
    writable: bool = False
    shuffled: bool = False


def read_dsn(url: str, environ: Mapping[str, str] = os.environ) -> Dsn:
    """Raises SettingsError for what can never work."""
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise SettingsError(SETTING, f"it is no URL ({error})") from error
    if parts.scheme not in ("postgresql", "postgres"):
        raise SettingsError(SETTING, f"it begins with {parts.scheme}:, not with postgresql:")
    try:
        query = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    except ValueError as error:
        raise SettingsError(
            SETTING, f"after the ? there has to be name=value&name=value ({error})"
        ) from error
    _refuse(query)
    login, _, places = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    for name in ("dbname", "database"):
        if parts.path.strip("/"):
            query.pop(name, None)  # the path has it
    driver = {name: value for name, value in query.items() if name in _DRIVER}
    path = quote(unquote(parts.path), safe="/")
    return Dsn(
        f"postgresql://{path or '/'}" + (f"?{urlencode(driver, quote_via=quote)}" if driver else ""),
        _hosts(places, query, environ),
        unquote(user) or None,
        unquote(password) or None,
        {n: v for n, v in query.items() if n not in _DRIVER and n not in _NETWORK and n not in _TAKEN},
        _connect_seconds(query, environ),
        _silence(query),
        _needs(query.get("target_session_attrs") or environ.get("PGTARGETSESSIONATTRS") or "any"),
        _one_of(query, "load_balance_hosts", "disable", "random") == "random",
    )


def _refuse(query: Mapping[str, str]) -> None:
    for name, value in query.items():
        if name in _REFUSED:
            raise SettingsError(SETTING, f"{name} is not supported: leave it out of the URL")
        if name in _TAKEN:
            values = _TAKEN[name]
            if values is not None and value.lower() not in values:
                raise SettingsError(
                    SETTING, f"{name}={value} is not supported, only {' or '.join(sorted(values))}"
                )
        elif not _NAME.fullmatch(name):
            raise SettingsError(SETTING, f"{name!r} is no name of a parameter")
    for name in _FILES:
        if name in query and not Path(query[name]).is_file():
            raise SettingsError(SETTING, f"{name}: there is no file {query[name]!r}")


def _hosts(places: str, query: Mapping[str, str], environ: Mapping[str, str]) -> tuple[Host, ...]:
    """From the URL, else from its parameters, else from the environment, else what libpq tries by itself."""
    listed = places or query.get("host", "")
    by_service = "service" in query or "PGSERVICE" in environ
    addresses = query.get("hostaddr", "")
    if not listed and not addresses and by_service:
        return ()
    listed = listed or addresses or environ.get("PGHOST", "") or ",".join((*_SOCKETS, "localhost"))
    named = [_place(place) for place in listed.split(",")]
    ports = [_port(port) for port in (query.get("port") or environ.get("PGPORT", "")).split(",")]
    if len(ports) == 1:
        ports *= len(named)
    if len(ports) != len(named):
        raise SettingsError(SETTING, f"{len(named)} hosts, but {len(ports)} ports")
    numbers = addresses.split(",") if addresses else [""] * len(named)
    if len(numbers) != len(named):
        raise SettingsError(SETTING, f"{len(named)} hosts, but {len(numbers)} in hostaddr")
    return tuple(
        Host(name, own or port or _PORT, number)
        for (name, own), port, number in zip(named, ports, numbers, strict=True)
    )


def _place(text: str) -> tuple[str, int]:
    """`host`, `host:port`, `[::1]:port`, or a directory; port 0 when it is not said."""
    text = text.strip()
    if text.startswith("["):
        name, _, rest = text[1:].partition("]")
        return unquote(name), _port(rest.removeprefix(":"))
    name, _, port = text.partition(":")
    return unquote(name) or "localhost", _port(unquote(port))


def _port(text: str) -> int:
    if not text:
        return 0
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 65536:
        raise SettingsError(SETTING, f"{text!r} is no port: a number from 1 to 65535")
    return int(text)


def _connect_seconds(query: Mapping[str, str], environ: Mapping[str, str]) -> float | None:
    text = query.get("connect_timeout") or environ.get("PGCONNECT_TIMEOUT", "")
    seconds = _whole("connect_timeout", text, 0)
    return max(_LEAST_SECONDS, float(seconds)) if seconds > 0 else None


def _silence(query: Mapping[str, str]) -> Silence:
    usual = Silence()

    def given(name: str, else_this: int) -> int:
        return _whole(name, query.get(name, ""), 0) or else_this  # 0: as the system does; here, as we do

    return Silence(
        given("keepalives_idle", usual.idle_seconds),
        given("keepalives_interval", usual.interval_seconds),
        given("keepalives_count", usual.count),
        given("tcp_user_timeout", int(usual.unacknowledged_seconds * 1000)) / 1000,
        _one_of(query, "keepalives", "1", "0") == "1",
    )


def _whole(name: str, text: str, otherwise: int) -> int:
    if not text:
        return otherwise
    try:
        return int(text)
    except ValueError:
        raise SettingsError(SETTING, f"{name}={text} is no whole number") from None


def _one_of(query: Mapping[str, str], name: str, usual: str, other: str) -> str:
    value = query.get(name, usual)
    if value not in (usual, other):
        raise SettingsError(SETTING, f"{name}={value}: {usual} or {other}")
    return value


def _needs(text: str) -> bool:
    if text not in _NEEDS:
        raise SettingsError(
            SETTING, f"target_session_attrs={text}: the journal needs the primary: leave it out"
        )
    return _NEEDS[text]
