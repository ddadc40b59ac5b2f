"""What can be set about the RabbitMQ transport, validated once.

Defaults are meant to stay; `url`, `namespace` and `partitions` are what deployments choose. Not here: names and
arguments of queues (topology.py).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from skerry.errors import SettingsError

KIB = 1024
MIB = 1024 * 1024
_HOST = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.%]+)\]|(?P<name>[^\s:,\[\]]+))(?::(?P<port>[0-9]{0,5}))?")
_NAMESPACE = re.compile(r"[A-Za-z0-9_.\-]{1,64}")


@dataclass(frozen=True, slots=True)
class RabbitSettings:
    """All processes of one application use the same `namespace`, `partitions` and `generation`.

    url: `amqp://user:password@host:port/vhost`, or `amqps://`; several brokers of a cluster by commas,
    `amqp://user:password@a,b:5673,c/vhost`; a query may hold what aiormq takes (cafile, ...).
    partitions: command queues; keys are hashed to them. generation: raised by one whenever `partitions` changes.
    window, window_bytes: unconfirmed messages, and their bytes, before `send` raises Overloaded.
    resend_seconds: how long an unconfirmed message is sent again over reconnects before Disconnected.
    prefetch: command messages given to a consumer and not yet acknowledged: what it works on and what waits beside
    it. All of them are "redelivered" when it dies, and each costs a transaction more then, so more is not better.
    heartbeat_seconds: of AMQP itself; the broker gives up a process that hangs after about three of them (2 s: 5.4 s,
    3 s: 8.1 s, 4 s: 10.7 s, measured), and 10 s are promised. beat_seconds: of our own, through our own queue; three
    that do not come back end the connection.
    connect_seconds: to connect, shared out among the addresses there are. grace_seconds: how long a lost connection
    still counts as connected: what is sent meanwhile is held for the next one.
    """

    url: str
    namespace: str = "skerry"
    partitions: int = 1
    generation: int = 1
    window: int = 1000
    window_bytes: int = 64 * MIB
    resend_seconds: float = 10.0
    prefetch: int = 256
    pack_commands: int = 256
    pack_bytes: int = 64 * KIB
    stored_above_bytes: int = 256 * KIB
    max_message_bytes: int = 16 * MIB
    events_backlog_bytes: int = 32 * MIB
    heartbeat_seconds: int = 3
    beat_seconds: float = 2.0
    connect_seconds: float = 10.0
    start_seconds: float = 30.0
    grace_seconds: float = 3.0

    def __post_init__(self) -> None:
        try:
            is_broker = urlsplit(self.url).scheme in ("amqp", "amqps") and bool(self.hosts)
        except ValueError:  # brackets that do not match
            is_broker = False
        if not is_broker:
            raise SettingsError(
                "transport",
                "must be amqp://USER:PASSWORD@HOST:PORT/VHOST or amqps://..., several HOST:PORT by commas",
            )
        if not _NAMESPACE.fullmatch(self.namespace):
            raise SettingsError("namespace", "must be 1 to 64 letters, digits, '.', '_' or '-'")
        limits: dict[str, tuple[int, int]] = {
            "partitions": (1, 1024),
            "generation": (1, 1_000_000),
            "window": (1, 100_000),
            "prefetch": (1, 2000),  # the most that quorum queues allow
            "pack_commands": (1, 10_000),
            "heartbeat_seconds": (1, 600),
        }
        for name, (low, high) in limits.items():
            if not low <= getattr(self, name) <= high:
                raise SettingsError(name, f"must be between {low} and {high}, not {getattr(self, name)}")
        for name in ("resend_seconds", "beat_seconds", "connect_seconds", "start_seconds", "grace_seconds"):
            if not getattr(self, name) > 0:
                raise SettingsError(name, f"must be above 0 seconds, not {getattr(self, name)}")

    @property
    def hosts(self) -> tuple[tuple[str, int], ...]:
        """The brokers, as (name or address, port). Raises SettingsError for a port that is none."""
        parts = urlsplit(self.url)
        usual = 5671 if parts.scheme == "amqps" else 5672
        found: dict[tuple[str, int], None] = {}
        for each in parts.netloc.rpartition("@")[2].split(","):
            match = _HOST.fullmatch(each.strip())
            if match is None:
                if not each.strip():
                    continue
                raise SettingsError(
                    "transport", f"{each!r} is not HOST:PORT; the port must be a number up to 65535"
                )
            port = int(match["port"]) if match["port"] else usual
            if not 0 < port < 65536:
                raise SettingsError("transport", "the port must be a number up to 65535")
            found[(match["six"] or match["name"]).lower(), port] = None
        return tuple(found)

    def url_of(self, host: str, port: int) -> str:
        """The URL that leads to one of `hosts`."""
        parts = urlsplit(self.url)
        login, at, _ = parts.netloc.rpartition("@")
        name = f"[{host}]" if ":" in host else host
        return urlunsplit(parts._replace(netloc=f"{login}{at}{name}:{port}"))

    @property
    def place(self) -> str:
        """Where the brokers are, without the password: for messages and logs."""
        hosts = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts)
        return f"{hosts}{urlsplit(self.url).path or '/'}"
