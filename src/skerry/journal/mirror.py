"""Mirrors: tables that others write, kept in memory.

    class Order(msgspec.Struct, frozen=True):
        id: int
        total: Decimal

    orders = app.mirror("shop_order", key="id", row=Order)
    orders[7].total

Triggers in the database leave each changed row in the intake (`intake.py`), in the transaction that changes it, whoever
that is. A starting process reads the table itself, at one position of the journal, and then follows the events `RowPut`
and `RowDeleted`; of the events after that position it leaves out those whose transaction the reading had already seen.
No copy is stored. Not here: the SQL (a backend's), what the triggers leave becoming events (`skerry.bus.intake`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Generic, Protocol, TypeVar, get_type_hints, runtime_checkable

import msgspec

from skerry.errors import DeclarationError, InvalidMessage
from skerry.journal.intake import Left
from skerry.journal.journal import Record
from skerry.journal.projection import Projection
from skerry.journal.row_events import RowDeleted, RowPut, row_events
from skerry.journal.table import Table
from skerry.messages.message import Event

Row = TypeVar("Row")
Key = str | Sequence[str] | None
_NAME = re.compile(r"[^a-z0-9_]+")


@dataclass(frozen=True, slots=True)
class Mirrored:
    """What the database has to know of a mirror. `name`: in lower case letters, digits and _. `table`: as the
    application names it, perhaps with a schema. `key`, `columns`: its columns; those in `binary` hold bytes."""

    name: str
    table: str
    key: tuple[str, ...]
    columns: tuple[str, ...]
    binary: frozenset[str] = frozenset()


class Transactions:
    """Which transactions a reading of the database had seen (PostgreSQL: `pg_current_snapshot`, "10:20:10,14")."""

    __slots__ = ("_first", "_next", "_running")

    def __init__(self, text: str) -> None:
        first, following, running = text.split(":")
        self._first, self._next = int(first), int(following)
        self._running = frozenset(int(each) for each in running.split(",") if each)

    def has(self, transaction: str) -> bool:
        number = int(transaction)
        return number < self._first or (number < self._next and number not in self._running)


def transactions_of(snapshot: object) -> Transactions | None:
    """What the reading of mirrored tables had seen; None where there are none."""
    return getattr(snapshot, "transactions", None)


@runtime_checkable
class ReadsMirrors(Protocol):
    """A journal whose snapshots have rows of mirrored tables too, under the name of the mirror; the snapshot's
    `transactions` are then known."""

    def follow(self, mirrors: Sequence[Mirrored]) -> None:
        """These are the mirrors that there are."""
        ...

    async def unready(self, mirrors: Sequence[Mirrored]) -> list[tuple[str, str]]:
        """What is missing or different in the database for them to follow: in words, and the SQL that makes it. Raises
        SettingsError for a table that is not there."""
        ...

    async def make(self, mirrors: Sequence[Mirrored]) -> list[str]:
        """Make it; in words. Raises Conflict for a table that is in use for too long."""
        ...


class Mirror(Table[Any, Row], Mapping[Any, Row], Generic[Row]):
    """A mapping of key to row, in this process's memory; the key is a tuple where it has several columns. Also a table
    for projections (`table = orders`), and two kinds of events for listeners, reactors and renderers: `Put`, `Deleted`.

    It may be read from any thread: one key at no cost, and what goes over all rows (`values`, `items`, a loop) over a
    copy that is made in one step.
    """

    def __init__(self, table: Any, *, key: Key, row: type[Row], live: bool = False) -> None:
        called, found = _table_of(table)
        chosen = found if key is None else (key,) if isinstance(key, str) else tuple(key)
        if not chosen:
            raise DeclarationError(
                f"mirror of {called}: key= names the column of its primary key, or several"
            )
        fields = _fields_of(called, row)
        name = _NAME.sub("_", called.rpartition(".")[2].lower()).strip("_")
        if not re.fullmatch(r"[a-z][a-z0-9_]{0,40}", name):
            raise DeclarationError(
                f"mirror of {called!r}: its name has to be of letters, digits and _, at most 41"
            )
        super().__init__(name, key=str, row=row)
        kinds = [fields[column][0] if column in fields else Any for column in chosen]
        self._key_type: Any = kinds[0] if len(kinds) == 1 else tuple[tuple(kinds)]  # type: ignore[misc]
        self._is_single = len(kinds) == 1
        key_type: Any = self._key_type if self._is_single else tuple
        self.key = key_type
        binary = frozenset(column for column, (_, is_binary) in fields.items() if is_binary)
        self.mirrored = Mirrored(name, called, chosen, tuple(fields), binary)
        self.live = live
        put, deleted = row_events(name, self._key_type, row)
        self.puts, self.deletes = (put,), (deleted,)
        self.projection: type[MirrorRows] = type(
            f"Mirror_{name}",
            (MirrorRows,),
            {"table": self, "mirror": self, "__doc__": f"The rows of {called}."},
        )
        self._rows: Mapping[Any, Row] = {}

    # --- a mapping

    @property
    def rows(self) -> Mapping[Any, Row]:
        """The rows as they are now; replaced as a whole when they are loaded anew."""
        return self._rows

    def __getitem__(self, key: Any) -> Row:
        return self._rows[key]

    def __contains__(self, key: object) -> bool:
        return key in self._rows

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Any]:
        return iter(list(self._rows))

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = object.__hash__

    def keys(self) -> Any:
        """A list, as of now."""
        return list(self._rows)

    def values(self) -> Any:
        """A list, as of now."""
        return list(self._rows.values())

    def items(self) -> Any:
        """A list, as of now."""
        return list(self._rows.items())

    # --- a table

    def key_text(self, key: Any) -> str:
        """The key as text, as events and commands name it."""
        return str(key) if self._is_single else msgspec.json.encode(key).decode()

    def key_of(self, text: str) -> Any:
        """Raises InvalidMessage for text that is no key."""
        try:
            if self._is_single:
                return text if self._key_type is str else msgspec.convert(text, self._key_type, strict=False)
            return msgspec.json.decode(text, type=self._key_type)
        except msgspec.MsgspecError as error:
            raise InvalidMessage(f"mirror {self.name}", f"key: {error}") from error


class MirrorRows(Projection):
    """The memory of one mirror in one process. What is loaded anew appears in one step."""

    mirror: ClassVar[Any]

    def __init__(self, *, shown: bool = True) -> None:
        self._loading: dict[Any, Any] = {}
        self._shown = shown

    def clear(self) -> None:
        self._loading = {}

    def twin(self) -> MirrorRows:
        return type(self)(shown=False)

    def exchange(self, twin: Any) -> None:
        self._loading, twin._loading = twin._loading, self._loading
        self.loaded()

    def load(self, table: Any, key: Any, row: Any, offset: int) -> None:
        self._loading[key] = row

    def loaded(self) -> None:
        """Everything is there: show it."""
        if self._shown:
            self.mirror._rows = self._loading

    def put(self, event: RowPut, record: Record) -> None:
        self._loading[event.key] = event.row

    def deleted(self, event: RowDeleted, record: Record) -> None:
        self._loading.pop(event.key, None)

    @classmethod
    def applied_events(cls) -> dict[type[Event], str]:
        return {cls.mirror.Put: "put", cls.mirror.Deleted: "deleted"}


def with_transaction(left: Left) -> Left:
    """A row that a trigger left, with its transaction among the event's own fields: the intake forgets it."""
    return replace(left, data=f'{{"transaction":"{left.transaction}",{left.data.lstrip()[1:]}')


def _fields_of(called: str, row: Any) -> dict[str, tuple[Any, bool]]:
    """Of each column that the row has: its type, and whether that is bytes."""
    try:
        info = msgspec.inspect.type_info(row)
        fields = info.fields  # type: ignore[attr-defined]
        hints = get_type_hints(row)
    except (TypeError, NameError, AttributeError) as error:
        raise DeclarationError(
            f"mirror of {called}: row= is a msgspec.Struct or a dataclass ({error})"
        ) from error
    found: dict[str, tuple[Any, bool]] = {}
    for field in fields:
        kinds = getattr(field.type, "types", (field.type,))
        is_binary = any(isinstance(kind, msgspec.inspect.BytesType) for kind in kinds)
        found[field.encode_name] = (hints.get(field.name, Any), is_binary)
    if getattr(info, "array_like", False):
        raise DeclarationError(f"mirror of {called}: row= may not be array_like")
    return found


def _table_of(table: Any) -> tuple[str, tuple[str, ...]]:
    """The name, and the key columns as far as they are known, of a table's name, a Django model or something of
    SQLAlchemy."""
    if isinstance(table, str):
        return table, ()
    meta = getattr(table, "_meta", None)
    if meta is not None and hasattr(meta, "db_table"):
        return meta.db_table.replace('"', ""), (meta.pk.column,)
    found = getattr(table, "__table__", table)
    if hasattr(found, "fullname") and hasattr(found, "primary_key"):
        return found.fullname, tuple(column.name for column in found.primary_key.columns)
    raise DeclarationError(
        f"app.mirror takes a table's name, a Django model or a table of SQLAlchemy, not {table!r}"
    )
