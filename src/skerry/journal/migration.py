"""Tables of the application's own, for SQL mode: numbered SQL files, each run once, in order, by the consumer's start.

    migrations/0001.sql                               for every database
    migrations/0002.sqlite.sql, 0002.postgresql.sql   where they differ
    migrations/erase.sql                              what `skerry infra drop` runs; optional

A step only goes forward and is never changed once it was released. All that are new run in one transaction, under the
lock that making the journal's tables takes, so any number of consumers may start at once. Not here: tables declared by
`Table`, which are the journal's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from skerry.errors import DeclarationError, SettingsError

_NAME = re.compile(r"(?:(?P<number>\d{4})|erase)(?:\.(?P<dialect>sqlite|postgresql))?\.sql")
ANY = ""
Texts = Mapping[str, str]
"""SQL by dialect: `sqlite`, `postgresql`, or ANY."""


@dataclass(frozen=True, slots=True)
class Migrations:
    """The steps of one application, from 1, and what undoes all of them."""

    steps: tuple[Texts, ...] = ()
    eraser: Texts = field(default_factory=dict)

    def sql(self, dialect: str) -> list[str]:
        """The steps as this database takes them. Raises SettingsError when one was not written for it."""
        return [_text(step, dialect, f"step {number}") for number, step in enumerate(self.steps, 1)]

    def erase(self, dialect: str) -> str:
        """What removes the application's own tables; empty when nothing was written for that."""
        return self.eraser.get(dialect, self.eraser.get(ANY, ""))


@runtime_checkable
class Migrates(Protocol):
    """A journal whose database may hold other tables."""

    @property
    def dialect(self) -> str:
        """`sqlite` or `postgresql`."""
        ...

    async def migrate(self, steps: Sequence[str]) -> int:
        """Run those that were not run before, all or nothing; returns how many. Raises JournalError when the
        database refuses one, or was brought further by a newer release."""
        ...


@runtime_checkable
class Rehearses(Migrates, Protocol):
    """A journal of one process at a time: a process that waits for it can try beforehand what it would do."""

    async def rehearse(self, tables: Sequence[str], steps: Sequence[str]) -> None:
        """Try on a copy, before the journal was opened. Raises what `prepare` and `migrate` would."""
        ...


def migrations_in(directory: Path) -> Migrations:
    """Read a directory. Raises DeclarationError when there is none, a number is missing, or a name is wrong."""
    if not directory.is_dir():
        raise DeclarationError(f"{directory}: there is no such directory of migrations")
    steps: dict[int, dict[str, str]] = {}
    for file in sorted(directory.glob("*.sql")):
        name = _NAME.fullmatch(file.name)
        if name is None:
            raise DeclarationError(
                f"{file}: name it NNNN.sql, NNNN.sqlite.sql, NNNN.postgresql.sql or erase.sql"
            )
        text = file.read_text(encoding="utf-8")
        steps.setdefault(int(name["number"] or 0), {})[name["dialect"] or ANY] = text
    eraser = steps.pop(0, {})
    if not steps or sorted(steps) != list(range(1, len(steps) + 1)):
        raise DeclarationError(f"{directory}: migrations are numbered 0001, 0002, ... without a gap")
    return Migrations(tuple(steps[number] for number in sorted(steps)), eraser)


async def migrate(journal: object, migrations: Migrations | None) -> int:
    """Bring the application's own tables forward; returns how many steps that took. Raises SettingsError for a journal
    that cannot hold them, JournalError for a step that is refused."""
    if migrations is None:
        return 0
    if not isinstance(journal, Migrates):
        raise SettingsError(
            "journal", "this application has tables of its own (app.migrations): use sqlite: or postgresql:"
        )
    return await journal.migrate(migrations.sql(journal.dialect))


async def rehearse(journal: Rehearses, tables: Sequence[str], migrations: Migrations | None) -> None:
    """Find out whether `prepare` and `migrate` will go through, while somebody else still works with this journal."""
    await journal.rehearse(tables, [] if migrations is None else migrations.sql(journal.dialect))


def _text(texts: Texts, dialect: str, what: str) -> str:
    text = texts.get(dialect, texts.get(ANY))
    if text is None:
        raise SettingsError(
            "journal", f"{what} of this application's migrations is not written for {dialect}:"
        )
    return text
