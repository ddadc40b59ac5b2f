"""SQL by name: statements and migrations stand in .sql files beside the code that runs them.

A statement begins with a line `-- name: flush` and ends where the next one begins. `{ns}` and other words in
braces are filled in by the one who runs it, with checked names only. Not here: any SQL.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

from skerry.errors import JournalError

_NAME = re.compile(r"^-- name: ([a-z_]+)\s*$", re.MULTILINE)


def named_statements(package: str, file: str = "statements.sql") -> dict[str, str]:
    """The statements of a file in a package, by name."""
    parts = _NAME.split(files(package).joinpath(file).read_text(encoding="utf-8"))
    return {name: text.strip() for name, text in zip(parts[1::2], parts[2::2], strict=True)}


@dataclass(frozen=True, slots=True)
class Migration:
    """One step forward; never changed once it was released."""

    number: int
    text: str


def migrations(package: str) -> list[Migration]:
    """All steps of a package's `migrations/NNNN.sql`, in order; numbers are gapless from 1."""
    found = [
        Migration(int(entry.name[:4]), entry.read_text(encoding="utf-8"))
        for entry in files(package).joinpath("migrations").iterdir()
        if re.fullmatch(r"\d{4}\.sql", entry.name)
    ]
    found.sort(key=lambda migration: migration.number)
    if [migration.number for migration in found] != list(range(1, len(found) + 1)):
        raise ValueError(f"{package}: the numbers of its migrations have a gap")
    return found


_MAKES = re.compile(r"^create (table|function) \{ns\}(__[a-z_]+)", re.MULTILINE)


def made_by(steps: Iterable[Migration]) -> list[tuple[str, str]]:
    """What the steps make, as (`table` or `function`, name without the namespace), in order."""
    made = [(found[1], found[2]) for step in steps for found in _MAKES.finditer(step.text)]
    return list(dict.fromkeys(made))  # a step may make a table anew


def undone(versions: int, wanted: int, what: str) -> list[str]:
    """Words for the steps between a database's version and ours. Raises JournalError when it is a newer release's."""
    if versions > wanted:
        raise JournalError(
            f"{what}: version {versions} was made by a newer release, this one knows up to {wanted}"
        )
    return [f"version {number} of {what}" for number in range(versions + 1, wanted + 1)]


def digests(own_steps: Sequence[str]) -> dict[str, str]:
    """What is kept of the application's own steps: by name, so that a later change of one is noticed."""
    return {
        f"application:{number}": hashlib.sha256(step.strip().encode()).hexdigest()
        for number, step in enumerate(own_steps, 1)
    }


def own_undone(version: int, kept: Mapping[str, str], own_steps: Sequence[str]) -> list[str]:
    """Words for the steps of the application's own tables that have not run. Raises JournalError when a newer release
    ran more, or when one that ran is another one now."""
    found = undone(version, len(own_steps), "the application's own tables")
    check_unchanged(kept, digests(own_steps))
    return found


def check_unchanged(kept: Mapping[str, str], wanted: Mapping[str, str]) -> None:
    """Raises JournalError when a step is another one than what ran."""
    for name, digest in wanted.items():
        if kept.get(name, digest) != digest:
            raise JournalError(
                f"step {name.partition(':')[2]} of the application's own tables was changed after it ran: put it "
                "back as it was, and write the change as a new step"
            )
