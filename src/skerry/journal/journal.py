"""The journal: what every backend has to be able to do.

One truth: every event stands in the journal at a gapless offset of one epoch, raised in the same transaction
as the rows it explains, so that offset order is commit order and a missing number is a real gap. A process
that only reads takes a `JournalReader`, one that decides a `JournalWriter`. `skerry.testing.journals.JournalSuite`
proves a backend. Not here: how events reach memory (projector.py), or how commands are decided (`skerry.bus`).
"""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import msgspec

from skerry.journal.epochs import Epoch
from skerry.position import Position


class Record(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One event as it stands in the journal.

    `offset`: 1, 2, 3 ... within the epoch. `more`: later events of the same command follow. `data`: the event's
    JSON. `at`: seconds since 1970. `who`: the identity that sent the command; `trace`: its W3C `traceparent`;
    "" when unknown.
    """

    offset: int
    command_id: str
    key: str
    name: str
    version: int
    at: float
    more: bool
    data: msgspec.Raw
    who: str = ""
    trace: str = ""


class Status(enum.StrEnum):
    """What became of a command."""

    PENDING = "pending"
    APPLIED = "applied"
    REJECTED = "rejected"
    FAILED = "failed"


class Outcome(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What was decided about a command, kept for seven days under its id.

    `offset`: the journal's offset once the command's effects were in (for any status: nothing of it comes
    later). `events`: how many events it made. `result`: JSON of what the handler returned, None for nothing.
    `kind` tells a failed precondition ("precondition") from another rule ("") when rejected. `epoch`: the one in which
    `offset` was given out, "" where it is told otherwise.
    """

    command_id: str
    status: Status
    offset: int
    events: int = 0
    reason: str = ""
    kind: str = ""
    result: msgspec.Raw | None = None
    request_hash: str = ""
    at: float = 0.0
    epoch: str = ""


@dataclass(frozen=True, slots=True)
class Head:
    """The journal's ends: `position` of the last event, `floor` = offset below or at which events were trimmed.
    `command_id`: of the event at the offset that was asked about, "" when there is none or it is not known.
    `is_standby`: what is read is a copy that may be behind."""

    position: Position
    floor: int
    command_id: str = ""
    is_standby: bool = False


class StoredRow(msgspec.Struct, frozen=True, gc=False):
    """A row as stored: its JSON, and the offset of its last change."""

    data: bytes | str
    offset: int


class NewEvent(msgspec.Struct, frozen=True, gc=False):
    """An event to append. Its offset is the batch's first offset + its index in `Writes.events`."""

    command_id: str
    key: str
    name: str
    version: int
    data: bytes
    at: float
    more: bool
    who: str = ""
    trace: str = ""


class NewOutcome(msgspec.Struct, frozen=True, gc=False):
    """An outcome to store; its offset is that of the batch before it + `events_before` (events up to and with it), and
    its time what the journal's own clock says: a writer's may be wrong, and outcomes are forgotten by their age."""

    command_id: str
    status: Status
    events_before: int
    events: int = 0
    reason: str = ""
    kind: str = ""
    result: bytes | None = None
    request_hash: str = ""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A command that could not be decided, with its bytes, kept until somebody retries or drops it. `number`: its
    place among all that came; 0: the next one. One that is tried again and fails again keeps its place."""

    command_id: str
    name: str
    version: int
    key: str
    body: bytes
    reason: str
    details: str = ""
    attempts: int = 1
    at: float = 0.0
    headers: Mapping[str, str] = field(default_factory=dict)
    number: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class LetterHead:
    """A dead letter without its bytes and its traceback, which may be large."""

    number: int
    command_id: str
    name: str
    version: int
    key: str
    reason: str
    attempts: int
    at: float
    headers: Mapping[str, str]


WAITS = "skerry-waits"
"""Header of a letter that is no failure yet: it waits for a consumer that knows its type, or for the one before it.
Until when (seconds since 1970) is for people: it is by the clock of the process that wrote it."""


@dataclass(frozen=True, slots=True)
class Amendment:
    """What is read in place of the event at `offset` from now on: the event itself is never rewritten. The batch's
    event that says so is its `events_before`th. The last amendment of an offset counts."""

    offset: int
    name: str
    version: int
    data: bytes
    events_before: int


@dataclass(slots=True)
class Writes:
    """Everything that one batch changes, written in one go. `puts`: per table, key -> (JSON, events_before):
    the row's offset is the batch's base + events_before. A key is never in `puts` and `deletes` at once.
    `amendments`: of events that stand in the journal when the batch is opened. `moved`: rows of the intake, by number,
    that go in the same transaction, all of them or nothing is written."""

    puts: dict[str, dict[str, tuple[bytes | str, int]]] = field(default_factory=dict)
    deletes: dict[str, set[str]] = field(default_factory=dict)
    events: list[NewEvent] = field(default_factory=list)
    outcomes: list[NewOutcome] = field(default_factory=list)
    dead: list[DeadLetter] = field(default_factory=list)
    amendments: list[Amendment] = field(default_factory=list)
    moved: list[int] = field(default_factory=list)


class Correction(msgspec.Struct, frozen=True):
    """What an operator corrects, why, and who it was. `kind` "row": the row of `table` and `key` becomes `data`, or
    goes when that is None. "event": what is read at `offset` becomes `data` in the form of `version`, or is passed
    over when that is None. `data` is JSON that has been checked against the declared type."""

    kind: Literal["row", "event"]
    reason: str
    who: str
    table: str = ""
    key: str = ""
    offset: int = 0
    version: int = 1
    data: str | None = None


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to work on `name` until it ends or is taken over; `fence` grows with every new owner."""

    name: str
    owner: str
    fence: int


class Snapshot(Protocol):
    """All rows as they were at one position, read in one transaction."""

    @property
    def position(self) -> Position: ...

    def rows(self, table: str) -> AsyncIterator[Sequence[tuple[str, bytes | str, int]]]:
        """Pages of (key, row JSON, offset of last change), in code point order of the keys."""
        ...


@dataclass(frozen=True, slots=True)
class StoredProjection:
    """A stored projection's own snapshot: `data` as of `position`, made by `version` of its code."""

    name: str
    version: int
    position: Position
    data: bytes


class Reader(msgspec.Struct, frozen=True):
    """A reader that needs the events after `position`: `trim` keeps them."""

    name: str
    kind: Literal["reactor", "projection"]
    position: Position


class JournalReader(Protocol):
    """The journal for its readers. Every call may raise `Disconnected`: the database is away, or its tables
    were not created yet."""

    async def head(self, at: int | None = None) -> Head:
        """The ends, and whose event stands at the offset `at`, also at the floor."""
        ...

    async def epochs(self) -> Sequence[Epoch]:
        """The last 1,000 epochs, the present one last."""
        ...

    async def missed(self, position: Position) -> bool:
        """Report that a reader had reached `position`, beyond the end of its epoch: `verify` names the lost
        events. False when no end of that epoch is known (yet)."""
        ...

    async def read(self, after: int, limit: int) -> Sequence[Record]:
        """At most `limit` records with offset > `after`, contiguous and in order; fewer at the end, and fewer
        when they would be over about 4 MiB together (at least one if there is one). An amended one has name, version
        and data of its amendment.
        Raises `Trimmed` when `after` lies below the floor."""
        ...

    def snapshot(self, tables: Sequence[str]) -> AbstractAsyncContextManager[Snapshot]:
        """The named tables at one position."""
        ...

    async def outcome(self, command_id: str) -> Outcome | None:
        """The outcome of a command, None when none is known (yet)."""
        ...

    async def load_projection(self, name: str) -> StoredProjection | None:
        """A stored projection's last snapshot, None when there is none."""
        ...


class Batch(Protocol):
    """One transaction over the decisions of some commands. Left without `commit`, it leaves no trace.

    What it decides on is protected: when another writer has decided one of its ids, or changed a row that it has
    read (a missing one included) before it commits, nothing is written.
    """

    @property
    def position(self) -> Position:
        """The journal's end when the batch was opened."""
        ...

    @property
    def known(self) -> Mapping[str, Outcome]:
        """Of the claimed ids, those that were decided before. They must not be decided again. Empty for a batch that is
        recalled."""
        ...

    async def load(self, keys: Iterable[tuple[str, str]]) -> Mapping[tuple[str, str], StoredRow]:
        """The rows of (table, key) pairs; missing ones are left out."""
        ...

    async def commit(self, writes: Writes) -> int:
        """Write everything, commit durably; returns the base: the offset before the batch's first event.
        Outcomes are of claimed ids that are not `known`. Once only: a batch is over after it.

        Raises `Conflict` when another writer was quicker (nothing happened: repeat the batch at once),
        `Disconnected` or `Overloaded` (nothing happened, or it is unknown: repeat the batch; ids make it once),
        `Fenced` when the lease was lost, `Corrupt` when the database is damaged, any other error when this
        batch as a whole is refused (`InvalidMessage` for text that cannot be stored)."""
        ...

    def connection(self) -> Any:
        """SQL mode: the transaction's own connection (asyncpg's, or `skerry.backends.sqlite.sql.SqlConnection`),
        to be had inside `savepoint` only: the first one begins the database's transaction. Raises JournalError
        elsewhere, and always for a journal in memory."""
        ...

    def savepoint(self) -> AbstractAsyncContextManager[None]:
        """SQL mode: what is done on `connection` inside is undone when the block raises. Not nested, one at a
        time. What was done becomes durable with `commit`. Rows of the application's own relational tables are
        guarded by its own locks and constraints, not by the journal."""
        ...


class JournalAdmin(JournalReader, Protocol):
    """The journal for operators: dead letters, trimming, checks, a new epoch after a restore."""

    async def dead_letters(self, after: str = "", limit: int = 100) -> Sequence[DeadLetter]:
        """Dead letters with their bytes, in order of their command ids."""
        ...

    async def letters(self, after: int = 0, limit: int = 100, waiting: bool = False) -> Sequence[LetterHead]:
        """The heads of letters with a number above `after`, in the order in which they came. `waiting`: only of those
        with the header `WAITS`."""
        ...

    async def dead_letter(self, command_id: str) -> DeadLetter | None: ...

    async def bury(self, letter: DeadLetter) -> None:
        """Add or replace a dead letter outside a batch."""
        ...

    async def exhume(self, command_id: str) -> bool:
        """Remove a dead letter, and the `failed` outcome of its id, so that it may be tried again (or is
        dropped for good when nobody sends it). False when there is none."""
        ...

    async def trim(self, before: Position) -> int:
        """Forget events up to and with `before`, never beyond a cursor or stored projection; returns the new
        floor. Outcomes older than seven days go too."""
        ...

    async def verify(self) -> Sequence[str]:
        """Problems found in what is stored (gaps, rows ahead of the journal); empty when all is well."""
        ...

    async def tables(self) -> Sequence[str]:
        """The tables that were ever prepared, by name."""
        ...

    async def readers(self) -> Sequence[Reader]:
        """Reactors and stored projections, declared or not, by name."""
        ...

    async def advance(self, subscriber: str, position: Position) -> None:
        """Set a durable reader's cursor, forward or back. `forget` removes it."""
        ...

    async def forget(self, subscriber: str) -> None:
        """Remove a durable reader's cursor."""
        ...

    async def forget_projection(self, name: str) -> None:
        """Remove a stored projection's snapshot."""
        ...

    async def correct(self, correction: Correction) -> Position:
        """Record a correction as an event at the head, and do it in the same transaction; the event's position. Raises
        JournalError when what it is about is not there."""
        ...

    async def new_epoch(self, reason: str = "asked for", common: int = 0) -> Position:
        """Begin a new epoch at the same offset, as after restoring a back-up. Cursors and stored projections,
        which were restored with it, move along. `common`: up to this offset positions of the epochs before stay
        right, and memory that is not ahead of it is kept; by default all of it is loaded anew. A backend whose
        database tells its history begins one by itself, with what it finds, before it writes to another one."""
        ...


class JournalPeer(JournalAdmin, Protocol):
    """Everything but deciding, for any process: what reactors and stored projections need besides. All of these calls
    may travel to the process that owns the journal; `skerry.backends.local` derives its calls from this class."""

    async def acquire(self, name: str, owner: str, seconds: float) -> Lease | None:
        """Take or renew a lease; None while somebody else holds it. `owner` is unique to one life of one process.
        The end is told by the database's clock where there is one for all. A lease that ended stays valid for
        commits until somebody else takes it."""
        ...

    async def release(self, lease: Lease) -> None:
        """Give it back, if it is still ours; commits under it are refused from then on."""
        ...

    async def cursor(self, subscriber: str) -> Position | None:
        """How far a durable reader (a reactor) has come; None when it is new."""
        ...

    async def save_projection(self, stored: StoredProjection) -> None:
        """Keep a stored projection's snapshot; one of an older position of the same version and epoch does not
        replace a newer one, nor is one kept that is ahead of what the journal has or of an epoch that it does not
        know."""
        ...


class JournalWriter(JournalPeer, Protocol):
    """The journal for the one who decides."""

    async def prepare(self, tables: Sequence[str]) -> None:
        """Create what is missing for these tables and the journal itself; migrate forward, under a lock."""
        ...

    async def application(self) -> str:
        """The name of the application whose journal this is; "" when that is not recorded, or nothing is here yet."""
        ...

    async def adopt(self, application: str) -> None:
        """Record whose journal this is; it has to be prepared."""
        ...

    async def rename_table(self, old: str, new: str) -> bool:
        """Let the prepared table `new` have the rows of `old`, which is then gone; False (and nothing is changed) when
        there is no table `old`, or `new` has rows already. While no batch is open."""
        ...

    def batch(
        self,
        claims: Sequence[str],
        keys: Iterable[tuple[str, str]],
        lease: Lease | None = None,
        recall: bool = False,
    ) -> AbstractAsyncContextManager[tuple[Batch, Mapping[tuple[str, str], StoredRow]]]:
        """Open a transaction: claim command ids and load the rows of `keys` in as few steps as possible.
        `claims` are distinct. Of two batches that claim the same id, or of which one changes what the other has
        read, the second waits until the first has ended, or is told so by `Conflict` when it commits.

        `recall`: it may be opened on what this journal remembers of its own commits, without asking whether the claims
        were decided before or what others have written: `commit` finds that out, and raises `Conflict` when there is
        anything of it, or when not every claim gets an outcome. Then repeat the batch without."""
        ...

    async def first_letters(self, keys: Sequence[str]) -> Sequence[LetterHead]:
        """Of each key its first letter of a command, and its first one that waits. A reactor's letters are of no key,
        nor are bytes that were no command."""
        ...

    async def attempts(self, command_ids: Sequence[str]) -> Mapping[str, int]:
        """Note, in a transaction of its own, that these are about to be tried; returns how often by now."""
        ...

    async def survived(self, command_ids: Sequence[str]) -> None:
        """Take back one noted attempt of each (as often as it is named): it was interrupted, and no process died."""
        ...
