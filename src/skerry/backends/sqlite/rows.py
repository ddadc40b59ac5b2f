"""How values become rows of SQLite and back. Plain functions without I/O.

Whole batches travel as JSON arrays: [[column, ...], ...], in the order of the statements' columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from skerry.journal.journal import DeadLetter, NewEvent, NewOutcome, Record, Writes

Row = tuple[str, bytes, int]
_encode = msgspec.json.Encoder().encode
_decode_rows = msgspec.json.Decoder(list[tuple[str, msgspec.Raw, int]]).decode
_decode_records = msgspec.json.Decoder(list[Record]).decode


def listed(values: Iterable[str]) -> str:
    """Texts as one JSON array."""
    return _encode(list(values)).decode()


def read_rows(joined: str | None) -> list[Row]:
    """Rows from `[key,data,pos],...`."""
    return [] if joined is None else [(k, bytes(data), pos) for k, data, pos in _decode_rows(f"[{joined}]")]


def read_records(joined: str | None) -> list[Record]:
    return [] if joined is None else _decode_records(f"[{joined}]")


def letter_row(letter: DeadLetter, now: float) -> tuple[Any, ...]:
    headers = _encode(dict(letter.headers)).decode()
    return (
        letter.command_id, letter.name, letter.version, letter.key, letter.body, letter.reason, letter.details,
        letter.attempts, letter.at or now, headers, letter.number,
    )  # fmt: skip


def _event(event: NewEvent) -> tuple[Any, ...]:
    return (
        event.command_id, event.key, event.name, event.version, event.at, event.more, event.data.decode(),
        event.who, event.trace,
    )  # fmt: skip


def _outcome(new: NewOutcome, now: float) -> tuple[Any, ...]:
    return (
        new.command_id, new.status, new.events_before, new.events, new.reason, new.kind,
        None if new.result is None else new.result.decode(), new.request_hash, now,
    )  # fmt: skip


def _dead(letter: DeadLetter, now: float) -> tuple[Any, ...]:
    row = list(letter_row(letter, now))
    row[4] = letter.body.hex()
    return tuple(row)


def _array(rows: list[Any]) -> str | None:
    return _encode(rows).decode() if rows else None


def flush_values(writes: Writes, tables: Iterable[str], now: float) -> list[str | None]:
    """The JSON columns of a flush: events, outcomes, dead letters, then puts and deletes of each table."""
    values = [
        _array([_event(event) for event in writes.events]),
        _array([_outcome(outcome, now) for outcome in writes.outcomes]),
        _array([_dead(letter, now) for letter in writes.dead]),
    ]
    for table in tables:
        values.append(_puts(writes.puts.get(table)))
        values.append(_array(list(writes.deletes.get(table, ()))))
    return values


def _puts(puts: Mapping[str, tuple[bytes | str, int]] | None) -> str | None:
    if not puts:
        return None
    return _array(
        [
            (key, data.decode() if isinstance(data, bytes) else data, before)
            for key, (data, before) in puts.items()
        ]
    )
