"""The projections of one process, fed together: which event goes to whom, and what happens when one stops.

Plain and quick: everything is done between two reads. Not here: in which order events come and what to do about a
gap (projector.py), where rows and old events are read (loading.py).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from skerry.errors import DeclarationError, InvalidMessage, MessageError, UnknownMessage
from skerry.journal.journal import Record
from skerry.journal.projection import Apply, Projection
from skerry.journal.table import AnyTable
from skerry.messages.message import Event
from skerry.messages.serializer import Serializer

Appliers = dict[str, list[tuple[Projection, Apply]]]
"""Event name -> who applies it."""
RowPage = Sequence[tuple[str, bytes | str, int]]
"""Rows as a snapshot gives them: key text, row JSON, offset of the last change."""
Failure = Callable[[str, Record, Exception], None]
"""Called once when a projection stops: its name, the event that it could not apply, and why."""
MOST_MISSED = 100_000
"""So many commands are remembered whose events a stopped projection did not apply; it is as many as one process
may wait for."""
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


class Memory:
    """What a process remembers. `stopped`: by name, the projections that are not fed any more; always the same
    dict, so that whoever has to look at every request looks at that."""

    def __init__(self, projections: Iterable[Projection], serializer: Serializer, failure: Failure) -> None:
        self.projections = list(projections)
        self.stopped: dict[str, Stopped] = {}
        self._missed: OrderedDict[str, int] = OrderedDict()
        self._known_since = 0
        self._serializer, self._failure = serializer, failure
        self._appliers = _appliers(self.projections)

    # --- what is not shown

    def shows(self, command_id: str, offset: int) -> bool:
        """Whether every projection here that applies the events of this command has applied them. `offset`: of its
        last one, which memory has reached. Of commands from before memory was loaded it is only known what no
        projection that stopped can have missed."""
        if not self.stopped:
            return True
        if command_id in self._missed:
            return False
        return offset > self._known_since or all(offset <= each.held for each in self.stopped.values())

    def loaded(self, offset: int) -> None:
        """Everything is loaded anew at `offset`; what was missed before is not missing any more."""
        self.stopped.clear()
        self._missed.clear()
        self._known_since = offset

    def _miss(self, record: Record) -> None:
        self._missed[record.command_id] = record.offset
        if len(self._missed) > MOST_MISSED:
            _, offset = self._missed.popitem(last=False)
            self._known_since = max(self._known_since, offset)

    # --- events

    def apply(self, records: Iterable[Record]) -> None:
        """Apply these events, in order. A projection that cannot apply one is wrong from then on: it is not fed
        further, and readiness says so; the others go on. A restart rebuilds it, once the reason is mended."""
        appliers = self._appliers
        for record in records:
            applies = appliers.get(record.name)
            if applies is not None:
                self._apply(record, applies)

    def relive(self, projection: Projection, state: bytes | None, records: Iterable[Record]) -> None:
        """Make a stored projection from its own snapshot (None: from the beginning) and the events since."""
        if state is not None:
            projection.restore(state)
        appliers = _appliers([projection])
        for record in records:
            self._apply(record, appliers[record.name])

    def _apply(self, record: Record, applies: list[tuple[Projection, Apply]]) -> None:
        if self.stopped:
            fed = [each for each in applies if type(each[0]).__name__ not in self.stopped]
            if len(fed) < len(applies):
                self._miss(record)
            applies = fed
        try:
            event = self._serializer.decode(record.name, record.version, record.data)
        except Exception as error:
            for projection, _ in applies:
                self._stop(projection, record, error)
            return
        for projection, apply in applies:
            try:
                apply(event, record)
            except Exception as error:
                self._stop(projection, record, error)

    def _stop(self, projection: Projection, record: Record, error: Exception) -> None:
        name = type(projection).__name__
        where = f"event {record.offset} ({record.name})"
        self.stopped[name] = Stopped(name, record.offset - 1, where, reason_of(error), cure_of(error))
        self._miss(record)
        self._failure(name, record, error)

    # --- rows

    def clear(self) -> None:
        """Forget everything; a load follows."""
        for projection in self.projections:
            projection.clear()

    def tables(self) -> dict[str, AnyTable]:
        """What the row-backed projections are loaded from, by name."""
        return {table.name: table for p in self.projections for table in p.source_tables()}

    def take_rows(self, table: AnyTable, page: RowPage) -> None:
        """Give rows of a snapshot to every projection that is loaded from their table."""
        projections = [p for p in self.projections if table in p.source_tables()]
        decode, key_of = table.decode, table.key_of
        if table.key is str and len(projections) == 1:
            load = projections[0].load
            for key, data, offset in page:
                load(table, key, decode(data), offset)
            return
        for text, data, offset in page:
            key, row = key_of(text), decode(data)
            for projection in projections:
                projection.load(table, key, row, offset)


def reason_of(error: Exception) -> str:
    """Why something could not be taken, for everybody's eyes: what an exception of the application's own says may
    hold values, and is for the log."""
    kind = type(error).__name__
    return f"{kind}: {error}"[:MOST_REASON] if isinstance(error, MessageError) else kind


def cure_of(error: Exception) -> str:
    """What can be done about an event that could not be taken."""
    match error:
        case UnknownMessage():
            return "it was written by a newer release: upgrade this process"
        case InvalidMessage():
            return "give a field that was added a default, or raise message_version and declare an upcast"
        case _:
            return "the log has the stack; mend the method and restart"


def _appliers(projections: Iterable[Projection]) -> Appliers:
    """Who applies which event, its method bound once. Raises DeclarationError for two of one name."""
    found: Appliers = {}
    seen: set[str] = set()
    for projection in projections:
        name = type(projection).__name__
        if name in seen:
            raise DeclarationError(f"two projections are named {name}")
        seen.add(name)
        kinds: dict[type[Event], str] = projection.applied_events()
        for kind, method in kinds.items():
            found.setdefault(kind.message_name, []).append((projection, getattr(projection, method)))
    return found
