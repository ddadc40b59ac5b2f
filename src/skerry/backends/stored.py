"""How what journals store in columns becomes values again, the same for every database. No I/O."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from skerry.journal.journal import DeadLetter, Outcome, Status


def by_table(keys: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """The keys of each table, tables in order of their names, so that one set of tables makes one statement."""
    found: dict[str, list[str]] = {}
    for table, key in keys:
        found.setdefault(table, []).append(key)
    return dict(sorted(found.items())) if len(found) > 1 else found


def read_outcome(row: Iterable[Any]) -> Outcome:
    """From (command_id, status, pos, events, reason, kind, result, request_hash, at)."""
    command_id, status, pos, events, reason, kind, result, request_hash, at = row
    raw = None if result is None else msgspec.Raw(result)
    return Outcome(command_id, Status(status), pos, events, reason, kind, raw, request_hash, at)


def read_letter(row: Iterable[Any]) -> DeadLetter:
    """From (command_id, name, version, key, body, reason, details, attempts, at, headers)."""
    command_id, name, version, key, body, reason, details, attempts, at, headers = row
    decoded = msgspec.json.decode(headers, type=dict[str, str])
    return DeadLetter(command_id, name, version, key, body, reason, details, attempts, at, decoded)
