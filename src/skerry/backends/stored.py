"""Converts database rows to journal values; shared by the SQL backends."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from skerry.errors import Disconnected
from skerry.journal.epochs import Epoch
from skerry.journal.journal import DeadLetter, Head, LetterHead, Outcome, Reader, Status, StoredProjection
from skerry.position import Position


def by_table(keys: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """The keys of each table, tables in order of their names, so that one set of tables makes one statement."""
    found: dict[str, list[str]] = {}
    for table, key in keys:
        found.setdefault(table, []).append(key)
    return dict(sorted(found.items())) if len(found) > 1 else found


def read_outcome(row: Iterable[Any]) -> Outcome:
    """From (command_id, status, pos, events, reason, kind, result, request_hash, at, epoch)."""
    command_id, status, pos, events, reason, kind, result, request_hash, at, epoch = row
    raw = None if result is None else msgspec.Raw(result)
    return Outcome(command_id, Status(status), pos, events, reason, kind, raw, request_hash, at, epoch)


def read_letter(row: Iterable[Any]) -> DeadLetter:
    """From (command_id, name, version, key, body, reason, details, attempts, at, headers, number)."""
    command_id, name, version, key, body, reason, details, attempts, at, headers, number = row
    decoded = msgspec.json.decode(headers, type=dict[str, str])
    return DeadLetter(command_id, name, version, key, body, reason, details, attempts, at, decoded, number)


def read_head(row: Iterable[Any]) -> LetterHead:
    """From (number, command_id, name, version, key, reason, attempts, at, headers)."""
    number, command_id, name, version, key, reason, attempts, at, headers = row
    decoded = msgspec.json.decode(headers, type=dict[str, str])
    return LetterHead(number, command_id, name, version, key, reason, attempts, at, decoded)


def head_of(letter: DeadLetter) -> LetterHead:
    return LetterHead(
        letter.number, letter.command_id, letter.name, letter.version, letter.key, letter.reason, letter.attempts,
        letter.at, letter.headers,
    )  # fmt: skip


class StoredReads:
    """The reading half of a journal in an SQL database, as far as one statement gives the answer."""

    async def _rows(self, name: str, /, **values: Any) -> Sequence[Sequence[Any]]:
        """What the statement `name` finds; its parameters in the order in which it numbers them."""
        raise NotImplementedError

    async def head(self, at: int | None = None) -> Head:
        [(epoch, pos, floor, command_id, is_standby)] = await self._rows("head", at=at)
        return Head(Position(epoch, pos), floor, command_id, bool(is_standby))

    async def epochs(self) -> Sequence[Epoch]:
        return [Epoch(*row) for row in await self._rows("epochs")]

    async def application(self) -> str:
        try:
            found = await self._rows("belongs_to")
        except Disconnected as error:
            if "not there yet" not in str(error):
                raise
            return ""
        return str(found[0][0]) if found else ""

    async def load_projection(self, name: str) -> StoredProjection | None:
        found = await self._rows("load_projection", name=name)
        if not found:
            return None
        version, epoch, pos, data = found[0]
        return StoredProjection(name, version, Position(epoch, pos), data)

    async def tables(self) -> Sequence[str]:
        return [row[0] for row in await self._rows("tables")]

    async def readers(self) -> Sequence[Reader]:
        return [
            Reader(name, kind, Position(epoch, pos)) for name, kind, epoch, pos in await self._rows("readers")
        ]

    async def cursor(self, subscriber: str) -> Position | None:
        found = await self._rows("cursor", subscriber=subscriber)
        return Position(*found[0]) if found else None

    async def dead_letters(self, after: str = "", limit: int = 100) -> Sequence[DeadLetter]:
        return [read_letter(row) for row in await self._rows("dead_letters", after=after, limit=limit)]

    async def letters(self, after: int = 0, limit: int = 100, waiting: bool = False) -> Sequence[LetterHead]:
        name = "letters_waiting" if waiting else "letters"
        return [read_head(row) for row in await self._rows(name, after=after, limit=limit)]

    async def first_letters(self, keys: Sequence[str]) -> Sequence[LetterHead]:
        found = await self._rows("first_letters", keys=self._texts(keys))
        return [read_head(row) for row in found]

    def _texts(self, values: Sequence[str]) -> Any:
        """Texts as one parameter."""
        return list(values)

    async def dead_letter(self, command_id: str) -> DeadLetter | None:
        found = await self._rows("dead_letter", id=command_id)
        return read_letter(found[0]) if found else None
