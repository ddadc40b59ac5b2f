"""The projections of one process, fed together: which event goes to whom, and what happens when one fails.

Plain and quick: everything is done between two reads. Not here: in which order events come and what to do about a
gap (projector.py), where rows and old events are read (loading.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from skerry.errors import DeclarationError
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
"""Called with a projection's name, the event that it could not apply, and why."""


class Memory:
    """What a process remembers. `failed`: name of a projection -> why it is not fed any more."""

    def __init__(self, projections: Iterable[Projection], serializer: Serializer, failure: Failure) -> None:
        self.projections = list(projections)
        self.failed: dict[str, str] = {}
        self._serializer, self._failure = serializer, failure
        self._appliers = _appliers(self.projections)

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
        try:
            event = self._serializer.decode(record.name, record.version, record.data)
        except Exception as error:
            for projection, _ in applies:
                self._fail(projection, record, error)
            return
        for projection, apply in applies:
            if self.failed and type(projection).__name__ in self.failed:
                continue
            try:
                apply(event, record)
            except Exception as error:
                self._fail(projection, record, error)

    def _fail(self, projection: Projection, record: Record, error: Exception) -> None:
        name = type(projection).__name__
        self.failed.setdefault(
            name, f"event {record.offset} ({record.name}): {type(error).__name__}: {error}"
        )
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
