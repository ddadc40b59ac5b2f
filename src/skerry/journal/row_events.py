"""Row events: a row of a table was put, or deleted. They come from a table that emits them, or from a mirror.

Each table has two classes of its own, typed by its key and its row; all of them are `RowPut` or `RowDeleted`, so that
one function can hear those of several tables. Not here: which tables there are (table.py, mirror.py).
"""

from __future__ import annotations

import re
import types
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar, get_type_hints
from uuid import UUID

from skerry.journal.journal import Record
from skerry.messages.message import Event

if TYPE_CHECKING:
    from typing_extensions import TypeVar as TypeVarWithDefault

    K = TypeVarWithDefault("K", bound=str | int | UUID, default=Any)
    Row = TypeVarWithDefault("Row", default=Any)
else:
    K = TypeVar("K", bound=str | int | UUID)
    Row = TypeVar("Row")

PUT, DELETED = "row_put", "row_deleted"


class RowPut(Event, Generic[K, Row], frozen=True):
    """A row of `table` was inserted or changed: this is how it is now. `transaction`: of a mirrored table, the
    database's id of its writer."""

    table: str
    key: K
    row: Row
    transaction: str = ""


class RowDeleted(Event, Generic[K, Row], frozen=True):
    """A row of `table` is gone. `transaction`: as for `RowPut`."""

    table: str
    key: K
    transaction: str = ""


def row_events(table: str, key: Any, row: Any) -> tuple[Any, Any]:
    """The two classes of one table, typed by its key and its row."""
    return _event(RowPut, f"{PUT}.{table}", key, row), _event(RowDeleted, f"{DELETED}.{table}", key, row)


def render_row(event: RowPut | RowDeleted, record: Record) -> Mapping[str, Any]:
    """How a row event looks in live streams, unless the application says otherwise."""
    told = {"event": DELETED, "table": event.table, "key": event.key}
    return {**told, "event": PUT, "row": event.row} if isinstance(event, RowPut) else told


def listened_key(record: Record) -> str | None:
    """The key that listeners know an event by: of a row with the table before it, `shop_order:7`, as rows of several
    tables have the same keys."""
    kind, _, table = record.name.partition(".")
    return f"{table}:{record.key}" if table and kind in (PUT, DELETED) else record.key


def _event(base: type[Any], name: str, key: Any, row: Any) -> Any:
    hints = {**get_type_hints(base), "key": key, "row": row}
    fields = {field: hints[field] for field in base.__struct_fields__}
    body = {"__annotations__": fields, "message_name": name, "transaction": "", "__doc__": base.__doc__}
    called = "".join(part.capitalize() for part in re.split(r"[_.]", name))
    return types.new_class(called, (base,), {"frozen": True}, lambda space: space.update(body))
