"""What an application keeps on its servers, for operators: `skerry infra create`, `check`, `tidy`, `drop`.

Starting an application makes what is missing too; this is for those who roll out with other rights than they run with,
who want to know before they start, and who clean up. Not here: whether what is there works well (diagnosis.py).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

from skerry.bus.backend import Access, Place
from skerry.errors import Disconnected, JournalError, SettingsError
from skerry.journal.journal import JournalWriter
from skerry.journal.migration import Migrates, Migrations, migrate
from skerry.journal.mirror import Mirrored, ReadsMirrors
from skerry.kernel.declaration import Declaration
from skerry.kernel.settings import Settings
from skerry.roles.audit import SOME_EVENTS, SOME_ROWS, audit
from skerry.roles.wiring import Plan, backend, prepare


class Kept(Migrates, JournalWriter, Protocol):
    """A journal, as an operator maintains it."""

    async def prepare(self, tables: Sequence[str]) -> None: ...

    async def missing(self, tables: Sequence[str], steps: Sequence[str] | None) -> list[str]:
        """What of the journal, these tables and these steps of the application's own (None: nobody knows them) is not
        there, in words. Raises JournalError when a newer release was here, or a step was changed after it ran."""
        ...

    async def users(self) -> list[str]:
        """The processes that work on it now, as far as it knows, in words."""
        ...

    async def erase(self, script: str) -> list[str]:
        """Remove all of the namespace; `script` removes the application's own tables. What was there, in words."""
        ...


@dataclass(frozen=True, slots=True)
class Belongings:
    """Whose things: a namespace on the servers that the plan names, its tables and its own migrations."""

    settings: Settings
    plan: Plan
    namespace: str
    migrations: Migrations | None = None
    declaration: Declaration | None = None
    """The application, where more is known than its namespace."""

    @property
    def mirrors(self) -> list[Mirrored]:
        declared = {} if self.declaration is None else self.declaration.mirrors
        return [mirror.mirrored for mirror in declared.values()]

    @property
    def place(self) -> Place:
        """For the backends."""
        return self.plan.place(self.settings, self.namespace, "infra")

    @property
    def file(self) -> Path | None:
        """Of a journal that is a file."""
        side = self.plan.journal_side
        return None if side.file is None else side.file(self.plan.journal_url)

    def steps(self, journal: Migrates) -> list[str] | None:
        """The application's own, as this database takes them; None where only its namespace is known."""
        if self.declaration is None:
            return None
        return self.migrations.sql(journal.dialect) if self.migrations else []


async def create(own: Belongings) -> list[str]:
    """Make what is missing, harmless to repeat; what was made, in words. Raises SettingsError for what exists
    otherwise, Disconnected for a server that is away."""
    made: list[str] = []
    if own.file is None or await _missing_in_file(own, own.file):  # else its owner may be at work
        async with _journal(own) as journal:
            made += await journal.missing(own.plan.tables, own.steps(journal))
            if own.declaration is None:
                await journal.prepare(own.plan.tables)
            else:
                await prepare(journal, own.declaration)
            await migrate(journal, own.migrations)
            if (mirroring := _mirroring(own, journal)) is not None:
                made += await mirroring.make(own.mirrors)
    if (infra := own.plan.transport_side.infra) is not None:
        made += await _installed(own, infra.create(own.place))
    return made


async def would_create(own: Belongings) -> list[str]:
    """What `create` would make, in words, and the SQL of triggers, which stand on tables of others. Makes nothing."""
    if own.file is not None:
        told = [f"make {what}" for what in await _missing_in_file(own, own.file)]
    else:
        async with _journal(own, Access.LOOKS) as journal:
            told = [f"make {what}" for what in await journal.missing(own.plan.tables, own.steps(journal))]
            if (mirroring := _mirroring(own, journal)) is not None:
                for what, sql in await mirroring.unready(own.mirrors):
                    told += [f"make {what}:", f"{sql};"]
    if (infra := own.plan.transport_side.infra) is not None:
        try:
            told += [f"on the broker: {what}" for what in await _installed(own, infra.check(own.place))]
        except Disconnected as error:
            told.append(f"(the broker cannot be asked: {error})")
    return told


def _mirroring(own: Belongings, journal: object) -> ReadsMirrors | None:
    """Where mirrors may be; None where there are none, and where nobody knows which ones there should be."""
    if isinstance(journal, ReadsMirrors):
        return journal if own.declaration is not None else None
    if own.mirrors:
        raise SettingsError("journal", "app.mirror needs a postgresql: journal")
    return None


async def adopt(own: Belongings) -> list[str]:
    """Make this the application's journal, whoever's it was; in words. Raises JournalError while a process owns it."""
    assert own.declaration is not None
    async with _journal(own) as journal:
        before = await journal.application()
        if before == own.declaration.name:
            return []
        await journal.prepare(own.plan.tables)
        await journal.adopt(own.declaration.name)
    return [f"the journal of {before or 'nobody'} belongs to {own.declaration.name} now"]


async def check(own: Belongings) -> list[str]:
    """What is missing or different, in words; empty when all is well. Makes nothing."""
    if own.file is not None and (absent := await _missing_in_file(own, own.file)):
        problems = [f"{what} is missing" for what in absent]
    else:
        async with _journal(own, Access.LOOKS) as journal:
            problems = [
                f"{what} is missing" for what in await journal.missing(own.plan.tables, own.steps(journal))
            ]
            mirroring = _mirroring(own, journal)
            if mirroring is not None and not problems:
                lacking = await mirroring.unready(own.mirrors)
                problems += [f"{what} is missing or different" for what, _ in lacking]
            problems += await _unfit(own, journal) if not problems else []
    if (infra := own.plan.transport_side.infra) is not None:
        problems += await _installed(own, infra.check(own.place))
    return problems


async def tidy(own: Belongings) -> list[str]:
    """Delete queues of former partitions and generations that are empty; what became of each, in words. Raises
    SettingsError, Disconnected."""
    infra = own.plan.transport_side.infra
    return [] if infra is None else await _installed(own, infra.tidy(own.place))


async def drop(own: Belongings, *, force: bool = False, broker_only: bool = False) -> list[str]:
    """Delete everything of the namespace, for good, or `broker_only` its queues and exchanges; what was there, in
    words. Raises JournalError or TransportError, before anything is deleted, when a process is at work or commands
    wait; `force` does it all the same (but a file that a process has open is never deleted)."""
    dropped: list[str] = []
    infra = own.plan.transport_side.infra
    if broker_only and infra is None:
        raise SettingsError(
            "transport", f"there is no broker: {own.plan.transport}: has nothing of its own to drop"
        )
    if own.file is None or _exists(own.file):
        async with _journal(own) as journal:
            users = await journal.users()
            if users and not force:
                raise JournalError(f"{'; '.join(users)}: stop it first, or force it")
            if infra is not None:
                dropped += await _installed(own, infra.drop(own.place, force))
            if broker_only:
                return dropped
            dropped += await journal.erase(own.migrations.erase(journal.dialect) if own.migrations else "")
    return dropped + _copies(own)


def place(own: Belongings, *, broker_only: bool = False) -> str:
    """Where it is, without passwords."""
    if own.file is not None:
        return str(own.file)
    urls = [own.plan.transport_url] if broker_only else [own.plan.journal_url, own.plan.transport_url]
    shown = (f"{url.partition('://')[0]}://{url.rpartition('@')[2]}" for url in urls)
    return " and ".join(dict.fromkeys(shown))


def _copies(own: Belongings) -> list[str]:
    """Delete this machine's copies of memory, made for a quick start."""
    found = sorted(Path(own.settings.data).glob(f"{own.namespace}.*.warm"))
    for file in found:
        file.unlink(missing_ok=True)
    return [f"file {file}" for file in found]


def _exists(file: Path) -> bool:
    return file.exists()


def _is_made(file: Path) -> bool:
    return file.exists() and file.stat().st_size > 0


async def _missing_in_file(own: Belongings, file: Path) -> list[str]:
    """Without touching it: its owner may be at work."""
    if not _is_made(file):
        return [f"file {file}", *(f"table {own.namespace}_{table}" for table in own.plan.tables)]
    async with _journal(own, Access.LOOKS) as journal:
        return await journal.missing(own.plan.tables, own.steps(journal))


async def _unfit(own: Belongings, journal: Kept) -> list[str]:
    """What this application cannot read of what is stored, and stored tables that it does not declare."""
    if own.declaration is None:
        return []
    owner = await journal.application()
    if owner not in ("", own.declaration.name):
        return [f"the journal belongs to the application {owner!r}, not to {own.declaration.name!r}"]
    found = await audit(journal, own.declaration, rows=SOME_ROWS, events=SOME_EVENTS)
    return [*found.problems(), *found.strange_tables()]


@asynccontextmanager
async def _journal(own: Belongings, access: Access = Access.KEEPS) -> AsyncIterator[Kept]:
    side = own.plan.journal_side
    if not side.keeps:
        raise SettingsError(
            "journal", f"{own.plan.journal}: keeps nothing: there is nothing to make, check or drop"
        )
    async with side.make(own.place, access, True) as journal:
        yield cast(Kept, journal)


async def _installed(own: Belongings, work: Awaitable[list[str]]) -> list[str]:
    try:
        return await work
    except ModuleNotFoundError as error:
        cure = f"pip install '{backend(own.plan.transport).install}'"
        raise SettingsError("transport", f"{error.name} is missing: {cure}") from error
