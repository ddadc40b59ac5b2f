"""What every journal refuses, and the bounds that are the same in all of them.

What one backend cannot hold, none takes, so that an application can move between them. Refused with
`InvalidMessage`, before anything reaches a database: U+0000 and lone surrogates in text, keys above
`MAX_KEY_BYTES`. Not here: how a database is spoken to.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection, Iterable
from itertools import chain

from skerry.errors import InvalidMessage, JournalError, SettingsError
from skerry.journal.journal import DeadLetter, Writes

MAX_KEY_BYTES = 2000
"""The longest key of a row, in UTF-8 (an index entry of PostgreSQL ends at about 2,700 bytes)."""
PAGE_ROWS = 2000
"""Rows in one page of a snapshot, at most."""
PAGE_BYTES = 4 * 1024 * 1024
"""Bytes of row or event data in one page or one `read`, at most, unless a single one is larger."""
DAY_SECONDS = 24 * 3600.0
OUTCOME_SECONDS = 7 * DAY_SECONDS
"""How long outcomes are kept at least: `trim` forgets older ones, once commands were decided on eight later days. A
clock that is wrong for a while makes it forget none."""

_NAMESPACE = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_TABLE = re.compile(r"[a-z][a-z0-9_]{0,40}")


def checked_namespace(namespace: str) -> str:
    """A namespace that can prefix names of tables. Raises SettingsError."""
    if len(namespace) > 20 or not _NAMESPACE.fullmatch(namespace):
        raise SettingsError(
            "SKERRY_NAMESPACE",
            f"{namespace!r} cannot prefix tables: up to 20 lower case letters and digits, with single _ between",
        )
    return namespace


def checked_table(table: str) -> str:
    """A table's name that is safe to stand in SQL. Raises JournalError."""
    if not _TABLE.fullmatch(table):
        raise JournalError(f"{table!r} is no name of a table")
    return table


MAX_EPOCHS = 1000
"""So many are kept; a reader that was away for longer loads anew."""


def new_epoch_name() -> str:
    """A name that no other history has."""
    return secrets.token_hex(6)


def check_text(what: str, texts: Iterable[str]) -> None:
    """Raises InvalidMessage for text that cannot be stored everywhere."""
    whole = "".join(texts)
    if "\x00" in whole:
        raise InvalidMessage(what, "U+0000 cannot be stored")
    if not whole.isascii():
        try:
            whole.encode()
        except UnicodeEncodeError as error:
            raise InvalidMessage(what, f"text that is not valid Unicode: {error.reason}") from error


def check_letter(letter: DeadLetter) -> None:
    """Raises InvalidMessage for a dead letter that cannot be stored everywhere (its body may be any bytes)."""
    texts = (letter.command_id, letter.name, letter.key, letter.reason, letter.details)
    check_text(f"dead letter {letter.command_id!r}", chain(texts, letter.headers, letter.headers.values()))


def check_writes(writes: Writes, claims: Collection[str], known: Collection[str]) -> None:
    """Raises InvalidMessage for what cannot be stored, JournalError for what a batch may not do."""
    check_text(
        "event", chain.from_iterable((e.command_id, e.key, e.name, e.who, e.trace) for e in writes.events)
    )
    check_text(
        "outcome",
        chain.from_iterable((o.command_id, o.reason, o.kind, o.request_hash) for o in writes.outcomes),
    )
    for table, rows in chain(writes.puts.items(), writes.deletes.items()):
        check_text(f"key of {table}", rows)
        for key in rows:
            if len(key) * 4 > MAX_KEY_BYTES and len(key.encode()) > MAX_KEY_BYTES:
                raise InvalidMessage(
                    table, f"a key of {len(key.encode())} bytes, the limit is {MAX_KEY_BYTES}"
                )
    for letter in writes.dead:
        check_letter(letter)
    for amendment in writes.amendments:
        check_text("amendment", (amendment.name,))
        if not 0 < amendment.events_before <= len(writes.events):
            raise JournalError("an amendment without the event that says so")
    for table, deleted in writes.deletes.items():
        if deleted and not deleted.isdisjoint(writes.puts.get(table, ())):
            raise JournalError(f"a key of {table} is put and deleted at once")
    decided = {outcome.command_id for outcome in writes.outcomes}
    if len(decided) != len(writes.outcomes):
        raise JournalError("two outcomes of one command in one batch")
    if not decided.issubset(claims) or not decided.isdisjoint(known):
        raise JournalError(
            "an outcome of a command that this batch has not claimed, or that was decided before"
        )
