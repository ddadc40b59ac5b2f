"""The unit of work: what one command reads and changes, all or nothing.

A handler gets a `Unit`. Rows it puts, keys it deletes and events it emits become part of the batch only when
the handler returns; what it raises leaves no trace. Later commands of the same batch see the effect of earlier
ones. Nothing outside the journal belongs in a handler: a batch may run twice.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from typing import Any, TypeVar
from uuid import UUID

from skerry.errors import Conflict, DeclarationError, InvalidMessage
from skerry.journal.epochs import Epochs
from skerry.journal.journal import NewEvent, NewOutcome, Status, StoredRow, Writes
from skerry.journal.table import Table
from skerry.messages.message import Event
from skerry.messages.typed import typed

K = TypeVar("K", bound=str | int | UUID)
Row = TypeVar("Row")
Place = tuple[str, str]
Loader = Callable[[Iterable[Place]], Awaitable[Mapping[Place, StoredRow]]]


class _Cell:
    """A row as the batch sees it: stored JSON until somebody wants the object. offset: 0 = no such row,
    None = changed within this batch. `told`: the event of a change, for a table that emits."""

    __slots__ = ("data", "offset", "row", "told")

    def __init__(
        self, data: bytes | str | None, row: Any, offset: int | None, told: Event | None = None
    ) -> None:
        self.data, self.row, self.offset, self.told = data, row, offset, told


class Overlay:
    """The rows that a batch has seen, with the effects of its commands so far, and the writes to come. `unread`: rows
    that its commands name and that were not loaded, as commands of their classes have looked at none for long."""

    def __init__(
        self,
        loader: Loader,
        rows: Mapping[Place, StoredRow],
        asked: Iterable[Place],
        unread: Collection[Place] = (),
    ) -> None:
        self._loader, self._unread = loader, unread
        self.missed = False
        """Whether a command has looked at one of those: then the batch has to be opened again with all of its rows."""
        self.looked = False
        """Whether a command has looked at any row since this was set."""
        self.cells: dict[Place, _Cell] = {}
        self.writes = Writes()
        self.epochs = Epochs()
        self._keep(rows, asked)

    def _keep(self, rows: Mapping[Place, StoredRow], asked: Iterable[Place]) -> None:
        for place in asked:
            stored = rows.get(place)
            self.cells[place] = _Cell(stored.data, None, stored.offset) if stored else _Cell(None, None, 0)

    async def load(self, place: Place) -> _Cell:
        self._keep(await self._loader([place]), [place])
        return self.cells[place]

    def look(self, place: Place) -> _Cell | None:
        """The row, None when it was not asked for. Raises Conflict for one that was left out."""
        self.looked = True
        cell = self.cells.get(place)
        if cell is None and place in self._unread:
            self.missed = True
            raise Conflict("a row is looked at that was not read")
        return cell


class Unit:
    """The unit of work of a handler. `command_id`, `at` (seconds since 1970, the batch's time) and `epoch` are given.
    `tables`: the names of those that are declared; None: whatever there is. `who` and `trace` are kept with the
    events."""

    __slots__ = (
        "_after",
        "_changes",
        "_connection",
        "_events",
        "_overlay",
        "_tables",
        "at",
        "command_id",
        "epoch",
        "trace",
        "who",
    )

    def __init__(
        self,
        overlay: Overlay,
        command_id: str,
        at: float,
        epoch: str,
        connection: Callable[[], Any] | None = None,
        tables: Collection[str] | None = None,
        who: str = "",
        trace: str = "",
    ) -> None:
        self._overlay, self._tables = overlay, tables
        self.command_id, self.at, self.epoch = command_id, at, epoch
        self.who, self.trace = who, trace
        self._connection = connection
        self._changes: dict[Place, _Cell] = {}
        self._events: list[tuple[Event, str, bytes]] = []
        self._after: list[Callable[[], None]] = []

    # --- reading

    async def get(self, table: Table[K, Row], key: K) -> Row | None:
        """The row as this command may see it, None when there is none. Loaded on demand where it was not
        loaded for the whole batch (`loads=` of the handler, by default the command's own key)."""
        place = (table.name, table.key_text(key))
        cell = self._changes.get(place) or self._overlay.look(place)
        if cell is None:
            cell = await self._overlay.load(self._place(table, key))
        return _row(table, cell)

    def loaded(self, table: Table[K, Row], key: K) -> Row | None:
        """Like `get`, for plain `def` handlers: only for rows loaded beforehand, else LookupError."""
        return _row(table, self._cell(table, key))

    def offset(self, table: Table[K, Row], key: K) -> int | None:
        """The journal offset of the row's last change: 0 when there is no row, None when a command of the same batch
        changed it (no client can know that version yet). For rows loaded beforehand or by `get`."""
        return self._cell(table, key).offset

    def etag(self, table: Table[K, Row], key: K) -> str | None:
        """The tag of the row as it is, for preconditions: what `HttpReads.row` tells as its ETag, which a row keeps as
        long as it is not changed. None when there is no row; a tag that no client can have seen for a row
        that another command of the same batch changed."""
        cell = self._cell(table, key)
        if cell.offset == 0 or (cell.data is None and cell.row is None):
            return None
        if cell.offset is None:
            return "not yet known"
        return (
            str(self._overlay.epochs.named(cell.offset))
            if self._overlay.epochs
            else f"{self.epoch}:{cell.offset}"
        )

    def _cell(self, table: Table[K, Row], key: K) -> _Cell:
        place = (table.name, table.key_text(key))
        cell = self._changes.get(place) or self._overlay.look(place)
        if cell is None:
            self._place(table, key)
            raise LookupError(
                f"{table.name}[{key!r}] was not loaded: name it in loads=, or await unit.get first"
            )
        return cell

    def _place(self, table: Table[K, Row], key: K) -> Place:
        """Where a row lies. Raises DeclarationError for a table that the journal was never told of."""
        if self._tables is not None and table.name not in self._tables:
            raise DeclarationError(
                f"nothing declares the table {table.name!r}: say app.uses(...) with it, or name it in loads="
            )
        return table.name, table.key_text(key)

    # --- changing

    def put(self, table: Table[K, Row], key: K, row: Row) -> None:
        """Insert or replace. Raises InvalidMessage, with field and value, when the row does not fit the
        table's declared type; later reads return the row as it will be stored."""
        place = self._place(table, key)
        data, kept = table.checked(key, row)
        told = table.Put(table.name, key, kept) if table.emits else None
        self._changes[place] = _Cell(data, kept, None, told)

    def delete(self, table: Table[K, Row], key: K) -> None:
        """Remove; nothing happens when there is no such row."""
        place = self._place(table, key)
        told = table.Deleted(table.name, key) if table.emits and not self._is_missing(place) else None
        self._changes[place] = _Cell(None, None, None, told)

    def _is_missing(self, place: Place) -> bool:
        """Whether it is known that there was no such row before this command."""
        cell = self._overlay.look(place)
        return cell is not None and cell.data is None and cell.row is None

    def emit(self, event: Event) -> None:
        """Append an event to the journal, in order of emission, at the position that this command gets. Raises
        InvalidMessage, with field and value, when a field does not fit its declared type."""
        kind = type(event)
        data, event = typed(kind).encode(event)
        key = event.subject_key()
        if type(key) is not str:
            raise InvalidMessage(kind.message_name, f"subject_key() gives {type(key).__name__}, not str")
        self._events.append((event, key, data))

    def after_commit(self, hook: Callable[[], None]) -> None:
        """Call `hook` in this process once the effect is durable. A crash right after the commit skips it:
        use a Reactor for effects that must not be lost."""
        self._after.append(hook)

    @property
    def connection(self) -> Any:
        """SQL mode (`@app.handles(..., sql=True)`): the transaction's own connection."""
        if self._connection is None:
            raise LookupError("unit.connection needs SQL mode: @app.handles(..., sql=True)")
        return self._connection()

    # --- for the consumer

    @property
    def events(self) -> list[Event]:
        """The events emitted so far, without those of changed rows."""
        return [event for event, _, _ in self._events]

    def fold(self, result: bytes | None, request_hash: str) -> list[Callable[[], None]]:
        """Make this command's effects part of the batch; returns its after-commit hooks."""
        writes = self._overlay.writes
        told = {place: cell.told for place, cell in self._changes.items() if cell.told is not None}
        for event in told.values():
            self.emit(event)
        left = len(self._events)
        first_told = len(writes.events) + left - len(told) + 1
        offsets = {place: first_told + number for number, place in enumerate(told)}
        for event, key, data in self._events:
            left -= 1
            name, version = event.message_name, event.writes_version
            writes.events.append(
                NewEvent(self.command_id, key, name, version, data, self.at, left > 0, self.who, self.trace)
            )
        before = len(writes.events)
        for place, cell in self._changes.items():
            table, key = place
            self._overlay.cells[place] = cell
            if cell.data is None:
                writes.puts.get(table, {}).pop(key, None)
                writes.deletes.setdefault(table, set()).add(key)
            else:
                writes.deletes.get(table, set()).discard(key)
                writes.puts.setdefault(table, {})[key] = (cell.data, offsets.get(place, before))
        writes.outcomes.append(
            NewOutcome(
                self.command_id, Status.APPLIED, before, len(self._events), "", "", result, request_hash
            )
        )
        return self._after


def _row(table: Table[K, Row], cell: _Cell) -> Row | None:
    if cell.row is None and cell.data is not None:
        cell.row = table.decode(cell.data)
    return cell.row  # type: ignore[no-any-return]
