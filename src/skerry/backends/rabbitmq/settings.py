"""What can be set about the RabbitMQ transport, validated once.

Defaults are meant to stay; `url`, `namespace` and `partitions` are what deployments choose. Not here: names and
arguments of queues (topology.py).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from skerry.errors import SettingsError
from skerry.options import option, same_as

KIB = 1024
MIB = 1024 * 1024
_HOST = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.%]+)\]|(?P<name>[^\s:,\[\]]+))(?::(?P<port>[0-9]{0,5}))?")
_NAMESPACE = re.compile(r"[A-Za-z0-9_.\-]{1,64}")


@dataclass(frozen=True, slots=True)
class RabbitSettings:
    """Commands over RabbitMQ. Defaults are meant to stay; all processes of one application use the same `namespace`,
    `partitions` and `generation`."""

    url: str = ""
    """`amqp://user:password@host:port/vhost`, or `amqps://`; several brokers of a cluster by commas,
    `amqp://user:password@a,b:5673,c/vhost`; a query may hold what aiormq takes (cafile, ...). Empty: none yet."""
    namespace: str = "skerry"
    partitions: int = same_as("partitions", 1)
    """Command queues; keys are hashed to them."""
    generation: int = same_as("generation", 1)
    """Raised by one whenever `partitions` changes."""
    window: int = option(1000, "unconfirmed messages before a write is refused", least=1, most=100_000)
    window_bytes: int = option(
        64 * MIB, "of unconfirmed messages before a write is refused", least=KIB, most=1 << 34
    )
    resend_seconds: float = option(
        10.0, "that an unconfirmed message is sent again over reconnects", least=0.1, most=3600.0
    )
    prefetch: int = option(  # the most that quorum queues allow is 2000
        256,
        "command messages given to a consumer and not acknowledged; all of them are redelivered when it dies",
        least=1,
        most=2000,
    )
    pack_commands: int = option(256, "commands in one message", least=1, most=10_000)
    pack_bytes: int = option(64 * KIB, "of the commands in one message", least=KIB, most=16 * MIB)
    stored_above_bytes: int = option(
        256 * KIB, "of a command above which its body travels by the database", least=KIB, most=16 * MIB
    )
    max_message_bytes: int = option(16 * MIB, "of a message, at most", least=KIB, most=128 * MIB)
    events_backlog_bytes: int = option(
        32 * MIB, "of events that wait for the broker; more are left to the journal", least=KIB, most=1 << 34
    )
    heartbeat_seconds: int = option(  # 2 s: 5.4 s, 3 s: 8.1 s, 4 s: 10.7 s, measured; 10 s are promised
        3, "between heartbeats; the broker gives up a process that hangs after about three", least=1, most=600
    )
    beat_seconds: float = option(
        2.0,
        "between messages through a queue of our own; three that do not come back end the connection",
        least=0.1,
        most=600.0,
    )
    connect_seconds: float = option(
        10.0, "to connect, shared out among the addresses there are", least=0.1, most=600.0
    )
    start_seconds: float = option(30.0, "that a start waits for the broker", least=0.1, most=3600.0)
    grace_seconds: float = option(
        3.0, "that a lost connection still counts as connected: messages are held", least=0.1, most=600.0
    )

    def __post_init__(self) -> None:
        try:
            is_broker = urlsplit(self.url).scheme in ("amqp", "amqps") and bool(self.hosts)
        except ValueError:  # brackets that do not match
            is_broker = False
        if self.url and not is_broker:
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
        """The brokers, as (name or address, port). Raises SettingsError for an invalid port."""
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
