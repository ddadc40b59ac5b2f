"""The projections of one process, fed together: which event goes to whom, and what happens when one stops.

Plain and quick: everything is done between two reads. What is much is given in slices, and one that is read meanwhile
is not filled itself: a second memory with twins of its projections is (`beside`), and `exchange` takes that over in one
step. Not here: in which order events come and what to do about a gap (projector.py), where rows and old events are read
(loading.py).
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from skerry.errors import DeclarationError, InvalidMessage, MessageError, UnknownMessage
from skerry.journal.correcting import CORRECTIONS, read_correction
from skerry.journal.disposal import emptied
from skerry.journal.journal import Record
from skerry.journal.mirror import Transactions
from skerry.journal.projection import Apply, Projection
from skerry.journal.table import AnyTable
from skerry.messages.serializer import Serializer

Appliers = dict[str, list[tuple[Projection, Apply]]]
"""Event name -> who applies it."""
RowPage = Sequence[tuple[str, bytes | str, int]]
"""Rows as a snapshot gives them: key text, row JSON, offset of the last change."""
Failure = Callable[[str, Record | None, Exception], None]
"""Called once when a projection stops: its name, the event that it could not apply (None: a row), and why."""
_VALUE = re.compile(r"(Invalid (?:enum )?value) .*?(?= - at|$)", re.DOTALL)
"""Where msgspec tells a value."""
MOST_MISSED = 100_000
"""So many commands are remembered whose events a stopped projection did not apply; it is as many as one process
may wait for."""
REBUILDING = "its rebuilding"
"""Where a stored projection stopped that cannot be made from the events that are kept."""
MOST_REASON = 200
"""Letters of what is told of a value that does not fit."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """A projection that is not fed any more. `held`: the offset up to which it has everything. `reason`: fit for
    everybody's eyes, without what the application's own exception says. `cure`: what an operator can do."""

    projection: str
    held: int
    where: str
    reason: str
    cure: str

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}; {self.cure}"


@dataclass(slots=True)
class History:
    """What a stored projection is made of: its snapshot (None: from the beginning) and the events since. `gap`: why
    there is none, when the journal no longer reaches back."""

    projection: Projection
    state: bytes | None
    records: list[Record]
    gap: str = ""


class Memory:
    """What a process remembers. `stopped`: by name, the projections that are not fed any more; always the same
    dict, so that code which looks at every request may keep it. `outdated`: those of them that a correction is
    about, with its offset: they have to be filled anew."""

    def __init__(self, projections: Iterable[Projection], serializer: Serializer, failure: Failure) -> None:
        self.projections = list(projections)
        self.stopped: dict[str, Stopped] = {}
        self.outdated: dict[str, int] = {}
        self._missed: OrderedDict[str, tuple[int, frozenset[str]]] = OrderedDict()
        self._known_since = 0
        self._seen: dict[str, Transactions] = {}
        self._serializer, self._failure = serializer, failure
        self._appliers = _appliers(self.projections)

    # --- what is not shown

    def shows(self, command_id: str, offset: int) -> bool:
        """Whether every projection here that applies the events of this command has applied them. `offset`: of its
        last one, which memory has reached. Of commands from before memory was loaded it is only known what no
        projection that stopped can have missed."""
        if not self.stopped:
            return True
        missed = self._missed.get(command_id)
        if missed is not None:
            return missed[1].isdisjoint(self.stopped)
        return offset > self._known_since or all(offset <= each.held for each in self.stopped.values())

    def loaded(self, offset: int, seen: Transactions | None = None) -> None:
        """Everything is there as of `offset`. `seen`: by the reading of mirrored tables."""
        self._known_since = offset
        for projection in self.projections:
            if seen is not None:
                self._seen[type(projection).__name__] = seen
            projection.loaded()

    def _miss(self, record: Record, *names: str) -> None:
        _, before = self._missed.get(record.command_id, (0, frozenset()))
        self._missed[record.command_id] = (record.offset, before.union(names))
        if len(self._missed) > MOST_MISSED:
            _, (offset, _) = self._missed.popitem(last=False)
            self._known_since = max(self._known_since, offset)

    # --- events

    def apply(self, records: Iterable[Record]) -> None:
        """Apply these events, in order. A projection that cannot apply one is wrong from then on: it is not fed
        further, and readiness says so; the others go on. A correction, or a restart once the reason is mended, fills
        it anew."""
        appliers = self._appliers
        for record in records:
            applies = appliers.get(record.name)
            if applies is not None:
                self._apply(record, applies)
            elif record.name in CORRECTIONS:
                self._correct(record)

    def _apply(self, record: Record, applies: list[tuple[Projection, Apply]]) -> None:
        if self.stopped:
            unfed = [name for p, _ in applies if (name := type(p).__name__) in self.stopped]
            if unfed:
                self._miss(record, *unfed)
                applies = [each for each in applies if type(each[0]).__name__ not in unfed]
        try:
            event = self._serializer.decode(record.name, record.version, record.data)
        except Exception as error:
            for projection, _ in applies:
                self._stop_at(projection, record, error)
            return
        if self._seen and (transaction := getattr(event, "transaction", "")):
            applies = [each for each in applies if not self._has_seen(each[0], transaction)]
        for projection, apply in applies:
            try:
                apply(event, record)
            except Exception as error:
                self._stop_at(projection, record, error)

    def _stop_at(self, projection: Projection, record: Record, error: Exception) -> None:
        name = type(projection).__name__
        where = f"event {record.offset} ({record.name})"
        self.stopped[name] = Stopped(name, record.offset - 1, where, reason_of(error), cure_of(error))
        self._miss(record, name)
        self._failure(name, record, error)

    def _correct(self, record: Record) -> None:
        """What the correction is about has to be filled anew, also where nothing had stopped; until then it shows
        an old state. What keeps neither rows nor a state of its own goes on, or begins again if it has stopped."""
        corrected = read_correction(record)
        if corrected is None:
            return
        for projection in self.projections:
            name, tables = type(projection).__name__, projection.source_tables()
            if corrected.table:
                is_meant = any(table.name == corrected.table for table in tables)
            else:
                applied = {kind.message_name for kind in projection.applied_events()}
                is_kept = bool(tables) or projection.stored or name in self.stopped
                is_meant = is_kept and corrected.event in applied
            if is_meant:
                held = self.stopped[name].held if name in self.stopped else record.offset - 1
                where = f"event {record.offset} ({record.name})"
                self.stopped[name] = Stopped(name, held, where, "a correction", "it is being loaded anew")
                self.outdated[name] = record.offset

    def _has_seen(self, projection: Projection, transaction: str) -> bool:
        """Whether it was loaded from a mirrored table that had this transaction's changes already."""
        seen = self._seen.get(type(projection).__name__)
        return seen is not None and seen.has(transaction)

    # --- filling

    def clear(self) -> None:
        """Forget everything; a load follows."""
        for projection in self.projections:
            projection.clear()
        self.stopped.clear()
        self.outdated.clear()
        self._missed.clear()
        self._seen.clear()

    def take_rows(self, table: AnyTable, page: RowPage) -> None:
        """Give rows of a snapshot to every projection that is loaded from their table. One that cannot take a row has
        stopped; it gets the others, as that is the most that may be shown of it."""
        takers = [p for p in self.projections if table in p.source_tables()]
        decode, key_of = table.decode, table.key_of
        text, rows = "", iter(page)
        single = takers[0] if table.key is str and len(takers) == 1 else None
        while True:
            try:
                if single is not None:
                    load = single.load
                    for text, data, offset in rows:
                        load(table, text, decode(data), offset)
                else:
                    for text, data, offset in rows:
                        key, row = key_of(text), decode(data)
                        for projection in takers:
                            self._load(projection, table, text, (key, row, offset))
                return
            except Exception as error:
                for projection in takers:
                    self._stop_by(projection, table, text, error)

    def _load(self, projection: Projection, table: AnyTable, text: str, values: tuple[Any, Any, int]) -> None:
        try:
            projection.load(table, *values)
        except Exception as error:
            self._stop_by(projection, table, text, error)

    def _stop_by(self, projection: Projection, table: AnyTable, key: str, error: Exception) -> None:
        """It has stopped at a row: nothing that it shows is known to be whole."""
        name = type(projection).__name__
        if name not in self.stopped:
            where = f"row {key[:MOST_REASON]!r} of table {table.name}"
            self.stopped[name] = Stopped(name, 0, where, reason_of(error), row_cure_of(error))
            self._failure(f"{name}, {where},", None, error)

    def restore(self, history: History) -> bool:
        """Make a stored projection from its own snapshot; whether it can be fed the events since."""
        projection = history.projection
        name = type(projection).__name__
        if history.gap:
            self.stopped[name] = Stopped(name, 0, REBUILDING, history.gap, "restore a back-up that does")
            return False
        try:
            if history.state is not None:
                projection.restore(history.state)
        except Exception as error:
            cure = "raise its version, and it is rebuilt from its events"
            self.stopped[name] = Stopped(name, 0, "its stored state", reason_of(error), cure)
            self._failure(f"{name}, restoring its stored state,", None, error)
            return False
        return True

    def feed(self, projections: Sequence[Projection], records: Iterable[Record]) -> None:
        """Apply old events to these; corrections among them have been heeded."""
        appliers = _appliers(projections)
        for record in records:
            applies = appliers.get(record.name)
            if applies is not None:
                self._apply(record, applies)

    # --- a second one

    def beside(self, projections: Sequence[Projection]) -> Memory:
        """A memory of twins of these, empty: to be filled while they are read."""
        return Memory([projection.twin() for projection in projections], self._serializer, self._failure)

    def exchange(self, fresh: Memory) -> None:
        """Take over what `fresh` (of `beside`) has, in one step; it gets what was here. All that is known of the
        commands that a projection had missed is forgotten with it."""
        mine = {type(projection).__name__: projection for projection in self.projections}
        names = set()
        for twin in fresh.projections:
            name = type(twin).__name__
            names.add(name)
            mine[name].exchange(twin)
            self.outdated.pop(name, None)
            self.stopped.pop(name, None)
            self._seen.pop(name, None)
        self.stopped.update(fresh.stopped)
        self._seen.update(fresh._seen)
        left = [(key, (at, of - names)) for key, (at, of) in self._missed.items()]
        self._missed = OrderedDict((key, value) for key, value in left if value[1])
        if names == mine.keys():
            self._missed.clear()
            self._known_since = fresh._known_since

    def without(self, names: Collection[str]) -> None:
        """Leave out projections of these names: they stay as they are."""
        self.projections = [p for p in self.projections if type(p).__name__ not in names]
        for name in names:
            self.stopped.pop(name, None)
            self._seen.pop(name, None)

    def taken_apart(self) -> Iterator[None]:
        """Free what is here, in slices; it is of no use afterwards."""
        for projection in self.projections:
            yield from emptied(projection.__dict__)


def tables_of(projections: Iterable[Projection]) -> dict[str, AnyTable]:
    return {table.name: table for p in projections for table in p.source_tables()}


def reason_of(error: Exception) -> str:
    """Why something could not be taken, for everybody's eyes: what an exception of the application's own says may
    hold values, and is for the log."""
    kind = type(error).__name__
    if not isinstance(error, MessageError):
        return kind
    told = _VALUE.sub(r"\1", str(error))
    return f"{kind}: {told}"[:MOST_REASON]


def cure_of(error: Exception) -> str:
    """What can be done about an event that could not be taken."""
    match error:
        case UnknownMessage():
            return "it was written by a newer release: upgrade this process"
        case InvalidMessage():
            return (
                "give a field that was added a default, or raise message_version and declare an upcast; "
                "or mend the event: skerry journal amend or journal skip"
            )
        case _:
            return (
                "the log has the stack; mend the method and restart, or skip the event: skerry journal skip"
            )


def row_cure_of(error: Exception) -> str:
    """What can be done about a row that could not be taken."""
    if isinstance(error, MessageError):
        return "give a field that was added a default, or mend the row: skerry row put or row delete"
    return "the log has the stack; mend load, or the row: skerry row put or row delete"


def _appliers(projections: Iterable[Projection]) -> Appliers:
    """The projections that apply each event, with their bound methods. Raises DeclarationError for two of one name."""
    found: Appliers = {}
    seen: set[str] = set()
    for projection in projections:
        name = type(projection).__name__
        if name in seen:
            raise DeclarationError(f"two projections are named {name}")
        seen.add(name)
        for kind, apply in projection.appliers().items():
            found.setdefault(kind.message_name, []).append((projection, apply))
    return found
