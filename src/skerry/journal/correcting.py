"""Corrections: an operator mends a row, or what is read at a position, and the journal keeps
who it was, and the reason.

A stored event is never rewritten. A correction is an event of a reserved name at the head; rows change in the same
transaction, and an amended position is read as its replacement from then on, a skipped one as an event that nobody
applies, so that offsets stay gapless. A reader that has applied it is told by the new event (`read_correction`). Not
here: whether a value fits its declared type (the command line asks), what a projection does about it (memory.py).
"""

from __future__ import annotations

import uuid
from typing import Any

import msgspec

from skerry.errors import Conflict, JournalError
from skerry.journal.journal import (
    Amendment,
    Correction,
    JournalWriter,
    NewEvent,
    NewOutcome,
    Record,
    Status,
    Writes,
)
from skerry.position import Position

RESERVED = "skerry."
"""Events whose names begin so are not the application's."""
ROW_PUT, ROW_DELETED = "skerry.row_put", "skerry.row_deleted"
AMENDED, SKIPPED = "skerry.amended", "skerry.skipped"
RENAMED = "skerry.table_renamed"
CORRECTIONS = frozenset({ROW_PUT, ROW_DELETED, AMENDED, SKIPPED, RENAMED})
NOTHING = "skerry.nothing"
"""What is read at a position that is passed over."""
CONFLICTS = 20

_encode = msgspec.json.Encoder().encode


class Corrected(msgspec.Struct, frozen=True, omit_defaults=True):
    """The content of a correction's event. `event` and `version`: of what stands at `offset` itself."""

    reason: str
    table: str = ""
    row: Any = None
    offset: int = 0
    event: str = ""
    version: int = 1
    data: Any = None


_decode = msgspec.json.Decoder(Corrected).decode


def read_correction(record: Record) -> Corrected | None:
    """What a record corrects; None for any other."""
    return _decode(record.data) if record.name in CORRECTIONS else None


async def correct(writer: JournalWriter, correction: Correction, at: float) -> Position:
    """See `JournalAdmin.correct`: the same for every backend, as one batch of its own."""
    for _ in range(CONFLICTS):
        try:
            return await _correct(writer, correction, at)
        except Conflict:
            continue
    raise JournalError("others write to the same row all the time: try again")


async def rename(writer: JournalWriter, old: str, new: str, at: float) -> bool:
    """Rename a table, and let everybody who has loaded it before know. False when there was nothing to rename."""
    if not await writer.rename_table(old, new):
        return False
    command_id = uuid.uuid4().hex
    content = _encode(Corrected(f"renamed from {old}", new))
    event = NewEvent(command_id, "", RENAMED, 1, content, at, False)
    while True:
        try:
            async with writer.batch([command_id], []) as (batch, _):
                outcome = NewOutcome(command_id, Status.APPLIED, 1, 1)
                await batch.commit(Writes(events=[event], outcomes=[outcome]))
                return True
        except Conflict:
            continue


async def _correct(writer: JournalWriter, correction: Correction, at: float) -> Position:
    command_id = uuid.uuid4().hex
    wanted = _row if correction.kind == "row" else _event
    places = [(correction.table, correction.key)] if correction.kind == "row" else []
    async with writer.batch([command_id], places) as (batch, rows):
        writes = Writes(outcomes=[NewOutcome(command_id, Status.APPLIED, 1, 1)])
        name, key, content = await wanted(writer, correction, writes, bool(rows))
        writes.events.append(NewEvent(command_id, key, name, 1, _encode(content), at, False, correction.who))
        return Position(batch.position.epoch, await batch.commit(writes) + 1)


async def _row(
    writer: JournalWriter, correction: Correction, writes: Writes, exists: bool
) -> tuple[str, str, Corrected]:
    table, key, data = correction.table, correction.key, correction.data
    if data is None:
        if not exists:
            raise JournalError(f"table {table} has no row {key!r}")
        writes.deletes[table] = {key}
        return ROW_DELETED, key, Corrected(correction.reason, table)
    writes.puts[table] = {key: (data.encode(), 1)}
    return ROW_PUT, key, Corrected(correction.reason, table, msgspec.Raw(data))


async def _event(
    writer: JournalWriter, correction: Correction, writes: Writes, exists: bool
) -> tuple[str, str, Corrected]:
    offset, data = correction.offset, correction.data
    found = await writer.read(offset - 1, 1) if offset > 0 else []
    if not found:
        raise JournalError(f"there is no event {offset}")
    record = found[0]
    if record.name.startswith(RESERVED) and record.name != NOTHING:
        raise JournalError(f"event {offset} is itself a correction: it stays")
    original = original_of(record)
    name, version, content = (
        (NOTHING, 1, _encode(original))
        if data is None
        else (original.name, correction.version, data.encode())
    )
    writes.amendments.append(Amendment(offset, name, version, content, 1))
    kind = SKIPPED if data is None else AMENDED
    shown = None if data is None else msgspec.Raw(data)
    corrected = Corrected(
        correction.reason, offset=offset, event=original.name, version=original.version, data=shown
    )
    return kind, record.key, corrected


class Original(msgspec.Struct, frozen=True):
    """What stands stored at a position that is passed over: a later amendment has its name again."""

    name: str
    version: int


def original_of(record: Record) -> Original:
    """The name and version of what is stored where this is read."""
    if record.name == NOTHING:
        return msgspec.json.decode(record.data, type=Original)
    return Original(record.name, record.version)
