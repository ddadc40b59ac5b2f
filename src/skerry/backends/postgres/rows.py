"""How values become parameters of PostgreSQL and back. Plain functions without I/O.

Whole batches travel as one array per column.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from skerry.journal.journal import DeadLetter, NewEvent, NewOutcome, Record, Writes

_encode = msgspec.json.Encoder().encode


def read_record(row: Sequence[Any]) -> Record:
    """From (pos, command_id, key, name, version, at, more, data, who, trace)."""
    pos, command_id, key, name, version, at, more, data, who, trace = row
    return Record(pos, command_id, key, name, version, at, more, msgspec.Raw(data), who, trace)


def _text(data: bytes | str) -> str:
    return data.decode() if isinstance(data, bytes) else data


def flush_values(parts: Sequence[tuple[int, Writes]], now: float) -> dict[str, Any]:
    """The parameters of a flush, by name; only what the writes have. Each with how many events come before its own;
    no two write the same row or outcome."""
    events = [event for _, writes in parts for event in writes.events]
    outcomes = [(before, outcome) for before, writes in parts for outcome in writes.outcomes]
    letters = [letter for _, writes in parts for letter in writes.dead]
    moved = [number for _, writes in parts for number in writes.moved]
    values: dict[str, Any] = {"count": len(events)}
    if events:
        _add_events(values, events)
    if outcomes:
        _add_outcomes(values, outcomes)
    if letters:
        values.update(letter_values(letters, now))
    if moved:
        values["moved"] = moved
    for before, writes in parts:
        for table, rows in writes.puts.items():
            values.setdefault(f"put_{table}_keys", []).extend(rows)
            values.setdefault(f"put_{table}_data", []).extend(_text(data) for data, _ in rows.values())
            values.setdefault(f"put_{table}_befores", []).extend(before + own for _, own in rows.values())
        for table, keys in writes.deletes.items():
            values.setdefault(f"delete_{table}", []).extend(keys)
    return values


def _add_events(values: dict[str, Any], events: Sequence[NewEvent]) -> None:
    values["event_ids"] = [event.command_id for event in events]
    values["event_keys"] = [event.key for event in events]
    values["event_names"] = [event.name for event in events]
    values["event_versions"] = [event.version for event in events]
    values["event_ats"] = [event.at for event in events]
    values["event_mores"] = [event.more for event in events]
    values["event_data"] = [event.data.decode() for event in events]
    values["event_whos"] = [event.who for event in events]
    values["event_traces"] = [event.trace for event in events]


def _add_outcomes(values: dict[str, Any], outcomes: Sequence[tuple[int, NewOutcome]]) -> None:
    values["outcome_ids"] = [outcome.command_id for _, outcome in outcomes]
    values["outcome_statuses"] = [outcome.status.value for _, outcome in outcomes]
    values["outcome_befores"] = [before + outcome.events_before for before, outcome in outcomes]
    values["outcome_events"] = [outcome.events for _, outcome in outcomes]
    values["outcome_reasons"] = [outcome.reason for _, outcome in outcomes]
    values["outcome_kinds"] = [outcome.kind for _, outcome in outcomes]
    values["outcome_results"] = [None if o.result is None else o.result.decode() for _, o in outcomes]
    values["outcome_hashes"] = [outcome.request_hash for _, outcome in outcomes]


def letter_values(letters: Sequence[DeadLetter], now: float) -> Mapping[str, Any]:
    """The parameters of dead letters; the last one of an id counts."""
    last = list({letter.command_id: letter for letter in letters}.values())
    return {
        "dead_ids": [letter.command_id for letter in last],
        "dead_names": [letter.name for letter in last],
        "dead_versions": [letter.version for letter in last],
        "dead_keys": [letter.key for letter in last],
        "dead_bodies": [letter.body for letter in last],
        "dead_reasons": [letter.reason for letter in last],
        "dead_details": [letter.details for letter in last],
        "dead_attempts": [letter.attempts for letter in last],
        "dead_ats": [letter.at or now for letter in last],
        "dead_headers": [_encode(dict(letter.headers)).decode() for letter in last],
        "dead_numbers": [letter.number for letter in last],
    }
