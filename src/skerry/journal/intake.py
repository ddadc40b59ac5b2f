"""The intake: events that the application leaves in its own transactions, until they stand in the journal.

An application that owns the database writes its rows and leaves the event beside them, in one transaction. Nothing of
that touches the journal's end, so that a long transaction delays nobody; the consumer that works on partition 0 moves
what was committed into the journal, in order of insertion, in a batch of its own (`skerry.bus.intake`). A backend whose
database has one writer anyway needs no intake: there the event is numbered within the application's transaction.

A `Door` is how an event is left: SQL for the application's own connection. `HasIntake` is a journal whose rows have to
be moved. `skerry.testing.intakes.IntakeSuite` proves a backend.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from skerry.journal.journal import DeadLetter
from skerry.position import Position

MAX_EVENT_BYTES = 1 << 20
"""The longest event that may be left, as JSON."""
MAX_EVENTS = 10_000
"""So many may be left by one transaction."""
MOVE_ROWS = 1000
"""So many are moved in one batch."""
FULL_ROWS, FULL_SECONDS = 100_000, 10.0
"""An intake that has so many, or whose oldest has waited for so long, is full: readiness says so."""
LETTER = "intake-"
"""With this the id of a dead letter begins that was an event of the intake and no command."""
LOOK = "skerry.intake"
"""Topic of announcements: something was committed for which the consumer should look."""
GUEST_SECONDS = 0.1
"""So often the owner of a journal that takes guests looks whether one has written."""


@dataclass(frozen=True, slots=True)
class Leaving:
    """An event that is to be left. `data`: its JSON. `id`: 32 hexadecimal digits, a UUID of version 4."""

    id: str
    name: str
    version: int
    key: str
    data: str
    trace: str = ""


@dataclass(frozen=True, slots=True)
class Left:
    """A row of the intake. `number`: its place in the order of insertion. `source`: "" for an event of the application,
    else the mirror whose trigger wrote it. `at`: seconds since 1970. `transaction`: the id of the one that left it."""

    number: int
    event_id: str
    source: str
    name: str
    version: int
    key: str
    data: str
    who: str
    trace: str
    at: float
    transaction: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits in an intake: how many rows at most, and for how many seconds the oldest."""

    rows: int = 0
    seconds: float = 0.0

    @property
    def trouble(self) -> str:
        """Why it is full, "" while it is not."""
        if self.rows >= FULL_ROWS or self.seconds >= FULL_SECONDS:
            return (
                f"{self.rows} events of the application's own transactions wait, the oldest for {self.seconds:.0f} s: "
                "is a consumer running?"
            )
        return ""


class Intake(Protocol):
    """The rows that foreign transactions have left. Every call may raise `Disconnected`."""

    async def left(self, limit: int = MOVE_ROWS) -> Sequence[Left]:
        """The first `limit` rows that are committed, in order; fewer when they are over about 4 MiB together. They go
        with the batch whose `Writes.moved` names them."""
        ...

    async def waiting(self) -> Waiting: ...

    async def put_back(self, letter: DeadLetter) -> None:
        """Let a dead letter of an event be tried once more: it is a row of the intake again, the last one."""
        ...


@runtime_checkable
class HasIntake(Protocol):
    """A journal that foreign transactions leave events for."""

    @property
    def intake(self) -> Intake: ...


@runtime_checkable
class TakesGuests(Protocol):
    """A journal whose end foreign transactions move themselves."""

    async def guests_end(self) -> Position | None:
        """The journal's end when a guest has moved it since the last call, None when none has."""
        ...


class Door(Protocol):
    """How an event is left by the application's own connection, in the transaction that is open on it."""

    @property
    def is_numbered(self) -> bool:
        """Whether the event stands in the journal with its transaction's commit, and needs not be moved."""
        ...

    def statements(self, leaving: Leaving) -> Sequence[tuple[str, Sequence[Any]]]:
        """The SQL that leaves it, with `?` for each of its parameters, in order."""
        ...

    @property
    def wrote(self) -> str:
        """SQL of one row and column: the transaction's id, or null when it has written nothing yet. "" where the order
        of writing does not matter."""
        ...

    @property
    def asks(self) -> str:
        """SQL of one row and column that `refused` has to know beforehand; "" when there is nothing to know."""
        ...

    def refused(self, found: Any) -> str:
        """Why no event may be left by a connection of which `asks` found this; "" when one may."""
        ...

    def explained(self, error: BaseException) -> str:
        """What an error of the driver means, for people; "" when it says enough itself."""
        ...
