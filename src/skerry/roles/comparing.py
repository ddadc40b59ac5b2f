"""Do mirrors follow their tables: the last event of each row, as far as the journal reaches back, against the table.

Reads along and changes nothing. A row that differs is looked at again after a moment: its event may be on its way.
Found so is what was written while triggers were missing or switched off, for rows that have had an event at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec

from skerry.errors import MessageError, Trimmed
from skerry.journal.intake import HasIntake
from skerry.journal.journal import JournalReader, Record
from skerry.journal.mirror import Mirror, ReadsMirrors
from skerry.journal.row_events import RowPut
from skerry.kernel.declaration import Declaration
from skerry.messages.serializer import Serializer

LOOKS, PAUSE_SECONDS = 4, 0.5
MOST_LISTED = 20
Place = tuple[str, str]


async def differences(journal: JournalReader, declaration: Declaration) -> list[str]:
    """Where a mirror's last event and its table say different things, in words. Raises Disconnected."""
    if not declaration.mirrors or not isinstance(journal, ReadsMirrors):
        return []
    journal.follow([mirror.mirrored for mirror in declaration.mirrors.values()])
    found = await _look(journal, declaration)
    for _ in range(LOOKS - 1):
        if not found:
            return []
        await asyncio.sleep(PAUSE_SECONDS)
        again = await _look(journal, declaration)
        found = {place: offset for place, offset in again.items() if found.get(place) == offset}
    if found and isinstance(journal, HasIntake) and (waiting := await journal.intake.waiting()).rows:
        return [
            f"mirrors cannot be compared with their tables: {waiting.rows} events wait; is a consumer running?"
        ]
    told = [
        f"mirror {name}: row {key!r} is another one than event {offset} says; was its trigger missing? A restart of "
        "the servers reads the table anew"
        for (name, key), offset in list(found.items())[:MOST_LISTED]
    ]
    if len(found) > MOST_LISTED:
        told.append(f"{len(found) - MOST_LISTED} more rows of mirrors differ from their tables")
    return told


async def _look(journal: JournalReader, declaration: Declaration) -> dict[Place, int]:
    """Rows that differ, with the offset of their last event."""
    rows: dict[Place, bytes | str] = {}
    async with journal.snapshot(list(declaration.mirrors)) as snapshot:
        end = snapshot.position.offset
        for name in declaration.mirrors:
            async for page in snapshot.rows(name):
                rows.update({(name, key): data for key, data, _ in page})
    last = await _last_events(journal, declaration.mirrored_events(), end)
    serializer = Serializer(declaration.messages)
    return {
        place: record.offset
        for place, record in last.items()
        if _differs(declaration.mirrors[place[0]], record, rows.get(place), serializer)
    }


async def _last_events(journal: JournalReader, names: Mapping[str, str], end: int) -> dict[Place, Record]:
    last: dict[Place, Record] = {}
    after = (await journal.head()).floor
    while after < end:
        try:
            records = await journal.read(after, 1000)
        except Trimmed as gone:
            after = gone.floor
            continue
        if not records:
            break
        for record in records:
            if record.name in names and record.offset <= end:
                last[names[record.name], record.key] = record
        after = records[-1].offset
    return last


def _differs(mirror: Mirror[Any], record: Record, stored: bytes | str | None, serializer: Serializer) -> bool:
    if record.name == mirror.Deleted.message_name or stored is None:
        return (record.name == mirror.Deleted.message_name) != (stored is None)
    try:
        event = serializer.decode(record.name, record.version, record.data)
        return not isinstance(event, RowPut) or event.row != mirror.decode(stored)
    except MessageError:
        row = msgspec.json.decode(record.data)["row"]
        return bool(row != msgspec.json.decode(stored))
