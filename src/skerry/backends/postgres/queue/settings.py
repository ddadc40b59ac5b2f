"""How commands travel by a table in PostgreSQL, validated once. Not here: connections (`PostgresSettings`)."""

from __future__ import annotations

from dataclasses import dataclass

from skerry.errors import SettingsError
from skerry.options import option, same_as

KIB = 1024
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """Commands over a table in PostgreSQL. Defaults are meant to stay; all processes of one application use the same
    `partitions` and `generation`."""

    partitions: int = same_as("partitions", 1)
    """Queues; keys are hashed to them."""
    generation: int = same_as("generation", 1)
    """Raised by one whenever `partitions` changes."""
    claim_seconds: float = same_as("lease", 5.0)
    """After which another consumer may read a partition whose consumer is silent."""
    window: int = option(1000, "unconfirmed messages before a write is refused", least=1, most=100_000)
    window_bytes: int = option(
        64 * MIB, "of unconfirmed messages before a write is refused", least=KIB, most=1 << 34
    )
    most_waiting: int = option(
        100_000,
        "messages of commands that wait in a partition before a write is refused",
        least=1,
        most=1 << 40,
    )
    resend_seconds: float = option(
        10.0, "that an unconfirmed message is sent again over reconnects", least=0.1, most=3600.0
    )
    pack_commands: int = option(256, "commands in one message", least=1, most=10_000)
    pack_bytes: int = option(64 * KIB, "of the commands in one message", least=KIB, most=16 * MIB)
    max_message_bytes: int = option(16 * MIB, "of a message, at most", least=KIB, most=128 * MIB)
    read_messages: int = option(
        256,
        "messages that a consumer reads at a time; all of them are redelivered when it dies",
        least=1,
        most=10_000,
    )
    poll_seconds: float = option(
        1.0, "after which a consumer looks for commands though no notification came", least=0.01, most=60.0
    )
    beat_seconds: float = option(
        2.0,
        "between notifications to oneself; three that do not come back end the connection",
        least=0.1,
        most=600.0,
    )
    start_seconds: float = option(30.0, "that a start waits for the database", least=0.1, most=3600.0)
    grace_seconds: float = option(
        3.0, "that a lost connection still counts as connected: messages are held", least=0.1, most=600.0
    )

    def __post_init__(self) -> None:
        if not 1 <= self.partitions <= 1024:
            raise SettingsError("partitions", f"must be between 1 and 1024, not {self.partitions}")
        for name in ("claim_seconds", "resend_seconds", "poll_seconds", "beat_seconds", "grace_seconds"):
            if not getattr(self, name) > 0:
                raise SettingsError(name, f"must be above 0 seconds, not {getattr(self, name)}")
