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


def flush_values(writes: Writes, now: float) -> dict[str, Any]:
    """The parameters of a flush, by name; only what the writes have."""
    values: dict[str, Any] = {"count": len(writes.events)}
    if writes.events:
        _add_events(values, writes.events)
    if writes.outcomes:
        _add_outcomes(values, writes.outcomes)
    if writes.dead:
        values.update(letter_values(writes.dead, now))
    if writes.moved:
        values["moved"] = writes.moved
    for table, rows in writes.puts.items():
        values[f"put_{table}_keys"] = list(rows)
        values[f"put_{table}_data"] = [_text(data) for data, _ in rows.values()]
        values[f"put_{table}_befores"] = [before for _, before in rows.values()]
    for table, keys in writes.deletes.items():
        values[f"delete_{table}"] = list(keys)
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


def _add_outcomes(values: dict[str, Any], outcomes: Sequence[NewOutcome]) -> None:
    values["outcome_ids"] = [outcome.command_id for outcome in outcomes]
    values["outcome_statuses"] = [outcome.status.value for outcome in outcomes]
    values["outcome_befores"] = [outcome.events_before for outcome in outcomes]
    values["outcome_events"] = [outcome.events for outcome in outcomes]
    values["outcome_reasons"] = [outcome.reason for outcome in outcomes]
    values["outcome_kinds"] = [outcome.kind for outcome in outcomes]
    values["outcome_results"] = [None if o.result is None else o.result.decode() for o in outcomes]
    values["outcome_hashes"] = [outcome.request_hash for outcome in outcomes]


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
