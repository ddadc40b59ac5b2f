"""The transport: what carries commands durably, and events as hints.

A broker (or a queue in memory) keeps commands until they are acknowledged; that is all its reliability. Hints
may be lost, doubled or late: every reader repairs itself from the journal by position.
`skerry.testing.transports.TransportSuite` proves a backend.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from skerry.journal.hints import Hint
from skerry.journal.journal import Outcome
from skerry.messages.envelope import Envelope

MAX_HINT_BYTES = 256 * 1024
"""A hint above this size carries positions only; readers fetch the records from the journal."""


@dataclass(slots=True)
class Delivery:
    """What one message of the broker brought.

    `envelopes` is empty and `undecodable` holds the bytes when they are no pack of envelopes. `redelivered`: it
    was given out before and never acknowledged (its process may have died of it). `tag` is the transport's.
    """

    envelopes: list[Envelope]
    redelivered: bool = False
    undecodable: bytes | None = None
    tag: Any = None


@dataclass(frozen=True, slots=True)
class Announcement:
    """Something ephemeral that every process should hear: a connection opened, a process came or went."""

    topic: str
    payload: bytes
    headers: dict[str, str] = field(default_factory=dict)


class Commands(Protocol):
    """A consumer's end of one partition, open until `close`."""

    async def receive(self, max_commands: int) -> list[Delivery]:
        """What waits now, at least one delivery; waits for it when there is none. Order within the partition is
        that of sending. Raises `Disconnected` when the connection was lost: what was received and not
        acknowledged comes again (here or elsewhere), its tags mean nothing any more."""
        ...

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """All commands of these are decided durably. In the order received; never fails loudly on a lost
        connection: redelivery and command ids make it harmless."""
        ...

    async def close(self) -> None:
        """Stop receiving; what was not acknowledged goes back."""
        ...


@runtime_checkable
class CountsWaiting(Protocol):
    """A transport that knows how much waits in its queue."""

    @property
    def waiting(self) -> int:
        """Messages of commands, of all partitions, as last counted."""
        ...


@runtime_checkable
class CountsLosses(Protocol):
    """A transport that counts what it did not send, and what it got and is not ours."""

    dropped: int
    """Hints that were not sent, because too much was waiting."""
    foreign: int
    """Messages that no process of this application can have sent."""


class Transport(Protocol):
    """One process's connection to the others. Reconnects by itself; says so through `connected`."""

    @property
    def connected(self) -> bool:
        """Whether sending and hearing work now (proved by a heartbeat, where there is a wire)."""
        ...

    @property
    def trouble(self) -> str | None:
        """Why commands cannot be sent now; None when they can, as far as is known."""
        ...

    @property
    def accepts_early(self) -> bool:
        """Whether `send` returns before the command is decided (a durable queue), or only after the commit."""
        ...

    async def start(self) -> None:
        """Connect and declare; returns when it works, raises `Disconnected` when it cannot within its time-out."""
        ...

    async def stop(self) -> None: ...

    def send(self, envelopes: list[Envelope], partition: int) -> Awaitable[None]:
        """Send commands as one message; done when they are durable. Raises `Overloaded` at once when the window
        of unconfirmed messages is full or the broker is blocked, `Disconnected` when there is no connection or
        it was lost before the confirm (whether they are durable is then unknown), `MessageTooLarge`."""
        ...

    def commands(self, partition: int) -> Awaitable[Commands]:
        """Open the consumer's end of a partition."""
        ...

    def publish(self, hint: Hint) -> None:
        """Tell every process, this one included, at most once. Never waits; losing it is allowed. One hint per
        commit, of any size: a transport with a wire splits it between records, or drops the records, so that
        nothing above MAX_HINT_BYTES travels."""
        ...

    def subscribe(self, listener: Callable[[Hint], None]) -> Callable[[], None]:
        """Call `listener` in the loop's thread with every hint; returns how to end it. A lost connection that
        came back shows as nothing at all: readers notice by position."""
        ...

    def answer(self, sender: str, outcomes: list[Outcome], epoch: str) -> None:
        """Tell one process what became of its commands, after the hints published before. At most once."""
        ...

    def answers(self, listener: Callable[[list[Outcome], str], None]) -> Callable[[], None]:
        """Call `listener(outcomes, epoch)` with the answers that are for this process."""
        ...

    def announce(self, announcement: Announcement) -> None:
        """Tell every process, this one included, something ephemeral. At most once, never waits."""
        ...

    def announcements(self, listener: Callable[[Announcement], None]) -> Callable[[], None]: ...

    @property
    def name(self) -> str:
        """This process's address among the others, as it stands in `Envelope.sender`."""
        ...
