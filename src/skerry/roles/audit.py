"""Whether what is stored can be read by this application: every row by its table, every event by its class.

Reads along and changes nothing; on a journal that is at work too. What does not fit is named with what an operator can
do about it, and values that an operator gives are checked against the same types before they are written. Not here:
whether the journal itself is whole (`JournalAdmin.verify`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import msgspec

from skerry.errors import InvalidMessage, MessageError, SettingsError, Trimmed
from skerry.journal.correcting import RESERVED
from skerry.journal.journal import Correction, JournalAdmin, JournalReader, Reader
from skerry.journal.memory import cure_of
from skerry.journal.reactor import REPLAY
from skerry.journal.table import AnyTable
from skerry.kernel.declaration import Declaration
from skerry.messages.message import Event
from skerry.messages.serializer import Serializer

MOST_LISTED = 20
"""Rows and events that are named; of the others the number is told."""
SOME_ROWS, SOME_EVENTS = 100_000, 10_000
"""So much of each table, and of the journal's end, is read where a quick look is enough."""
_PAGE = 1000


@dataclass(slots=True)
class Audit:
    """What was found. `unfit`: in words, with the cure; `left`: so many more. `unknown`: event names that nothing
    declares. `rows`, `events`: how many were read."""

    unfit: list[str] = field(default_factory=list)
    left: int = 0
    unknown: Counter[str] = field(default_factory=Counter)
    undeclared: list[str] = field(default_factory=list)
    rows: int = 0
    events: int = 0

    def problems(self) -> Iterator[str]:
        """What keeps projections and listeners from working, one line each."""
        yield from self.unfit
        if self.left:
            yield f"{self.left} more rows or events do not fit"

    def strange_tables(self) -> Iterator[str]:
        """Tables that were stored by a declaration that is not there any more."""
        for table in self.undeclared:
            yield f"table {table} is stored and not declared; if it was renamed, declare renamed_from={table!r}"

    def remarks(self) -> Iterator[str]:
        """What may be a mistake, and stops nothing."""
        yield from self.strange_tables()
        for name, number in self.unknown.most_common(MOST_LISTED):
            yield f"{number} events {name!r} are of no class that is declared"

    def note(self, what: str) -> None:
        if len(self.unfit) < MOST_LISTED:
            self.unfit.append(what)
        else:
            self.left += 1


async def audit(
    journal: JournalAdmin, declaration: Declaration, *, rows: int | None = None, events: int | None = None
) -> Audit:
    """Decode everything, or at most `rows` of each table and the last `events`. Raises Disconnected."""
    found = Audit()
    stored = set(await journal.tables())
    found.undeclared = sorted(stored - declaration.tables.keys())
    for name, table in declaration.tables.items():
        if name in stored:
            await _rows(journal, table, found, rows)
    await _events(journal, Serializer(declaration.messages), found, events)
    return found


async def _rows(reader: JournalReader, table: AnyTable, found: Audit, most: int | None) -> None:
    left = most
    async with reader.snapshot([table.name]) as snapshot:
        async for page in snapshot.rows(table.name):
            for key, data, _ in page:
                if left is not None:
                    left -= 1
                    if left < 0:
                        return
                found.rows += 1
                if why := unfit_row(table, key, data):
                    found.note(
                        f"row {key!r} of table {table.name}: {why}; "
                        "give a field that was added a default, or mend it: skerry row put or row delete"
                    )


def unfit_row(table: AnyTable, key: str, data: bytes | str) -> str:
    """Why a stored row cannot be read, "" when it can."""
    try:
        table.key_of(key)
        table.decode(data)
    except (MessageError, ValueError) as error:
        return str(error)
    return ""


async def _events(reader: JournalReader, serializer: Serializer, found: Audit, most: int | None) -> None:
    head = await reader.head()
    after = head.floor if most is None else max(head.floor, head.position.offset - most)
    while after < head.position.offset:
        try:
            records = await reader.read(after, _PAGE)
        except Trimmed as gone:
            after = gone.floor
            continue
        if not records:
            return
        for record in records:
            if record.name.startswith(RESERVED):
                continue
            found.events += 1
            if not serializer.knows_name(record.name):
                found.unknown[record.name] += 1
                continue
            try:
                serializer.decode(record.name, record.version, record.data)
            except MessageError as error:
                found.note(f"event {record.offset} ({record.name}): {error}; {cure_of(error)}")
        after = records[-1].offset


def is_declared(declaration: Declaration, reader: Reader) -> bool:
    """Whether the application still has this reactor or stored projection."""
    if reader.kind == "reactor":
        return any(reactor.name == reader.name.removesuffix(REPLAY) for reactor in declaration.reactors)
    return any(kind.stored and kind.__name__ == reader.name for kind in declaration.projections)


def not_stored(declaration: Declaration, readers: Sequence[Reader]) -> list[str]:
    """Stored projections that the application declares and that have stored nothing yet: they may need every event."""
    stored = {reader.name for reader in readers if reader.kind != "reactor"}
    return [kind.__name__ for kind in declaration.projections if kind.stored and kind.__name__ not in stored]


# --- what operators give


def table_of(declaration: Declaration, name: str) -> AnyTable:
    """Raises SettingsError for one that is not declared."""
    table = declaration.tables.get(name)
    if table is None:
        known = ", ".join(sorted(declaration.tables)) or "none"
        raise SettingsError("TABLE", f"{name!r} is not declared by this application (it declares: {known})")
    return table


def key_of(table: AnyTable, text: str) -> str:
    """A key as it is stored. Raises SettingsError for text that is no key of this table."""
    try:
        return table.key_text(table.key_of(text))
    except (MessageError, ValueError, TypeError) as error:
        raise SettingsError("KEY", f"{text!r} is no {table.key.__name__}") from error


def row_correction(table: AnyTable, key: str, data: str | None, reason: str, who: str) -> Correction:
    """A row as it will be stored, or its end (None). Raises SettingsError for what does not fit the declared type."""
    text = key_of(table, key)
    if data is not None:
        try:
            row = table.decode(data)
            data = table.checked(table.key_of(text), row)[0].decode()
        except MessageError as error:
            raise SettingsError("JSON", str(error)) from error
    return Correction("row", reason, who, table.name, text, data=data)


def event_correction(
    declaration: Declaration, offset: int, name: str, data: str | None, reason: str, who: str
) -> Correction:
    """What is read at `offset`, where an event `name` stands; None: nothing. Raises SettingsError for what does not
    fit the declared class."""
    if data is None:
        return Correction("event", reason, who, offset=offset)
    kind = declaration.messages.find(name)
    if kind is None or not issubclass(kind, Event):
        raise SettingsError(
            "POSITION", f"event {offset} is {name!r}, which this application does not declare"
        )
    try:
        Serializer(declaration.messages).decode(name, kind.message_version, data)
        compact = msgspec.json.encode(msgspec.Raw(data))
    except InvalidMessage as error:
        raise SettingsError("JSON", str(error)) from error
    return Correction(
        "event", reason, who, offset=offset, version=kind.message_version, data=compact.decode()
    )
