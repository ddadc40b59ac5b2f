"""`skerry doctor`: looks at everything that an application stands on, and says what to do about what is wrong.

Looks, and changes nothing, but for a throw-away queue that a broker is tried with.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from skerry.errors import Disconnected, SettingsError, SkerryError
from skerry.http.hosts import is_loopback
from skerry.journal.journal import JournalAdmin
from skerry.kernel.declaration import Declaration
from skerry.kernel.settings import Settings, address
from skerry.loop.models import available, default
from skerry.roles.audit import SOME_EVENTS, SOME_ROWS, audit, is_declared
from skerry.roles.parts import Plan, sqlite_path

LEAST_FREE_BYTES = 256 * 1024 * 1024
LEAST_FILES = 4096


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found. `fix`: what to do, empty when there is nothing to do."""

    level: Literal["ok", "warning", "error"]
    what: str
    fix: str = ""


async def diagnose(
    settings: Settings, plan: Plan, namespace: str, declaration: Declaration | None = None
) -> AsyncIterator[Finding]:
    """Everything found, good news too, in the order of looking. With a declaration, what is stored is read too."""
    for finding in (*_machine(), *_settings(settings)):
        yield finding
    if plan.journal == "sqlite":
        for finding in _sqlite_library():
            yield finding
        for finding in _sqlite_file(sqlite_path(plan.journal_url)):
            yield finding
        path = sqlite_path(plan.journal_url)
        if declaration is not None and _is_there(path):
            async for finding in _in_file(path, namespace, declaration):
                yield finding
    elif plan.journal == "postgresql":
        async for finding in _postgres(plan, namespace, declaration):
            yield finding
    if plan.transport == "amqp":
        async for finding in _rabbit(plan, settings, namespace):
            yield finding


def _machine() -> Iterator[Finding]:
    version = importlib.metadata.version("skerry")
    yield Finding(
        "ok",
        f"skerry {version} on Python {platform.python_version()}, {platform.system()} {platform.release()}",
    )
    if "uvloop" in available():
        yield Finding("ok", f"loop model {default()}")
    else:
        yield Finding(
            "warning", "uvloop is not installed: requests cost about half as much again", "pip install uvloop"
        )
    if not sys.platform.startswith("win"):
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft < LEAST_FILES:
            fix = f"ulimit -n {min(hard, 65536) if hard > 0 else 65536}"
            yield Finding("warning", f"at most {soft} open files: so many connections at most", fix)


def _settings(settings: Settings) -> Iterator[Finding]:
    exposed = settings.exposed()
    if exposed is not None:
        what, _, fix = exposed.partition(": ")
        yield Finding("warning", what, fix)
    if settings.tokens and not settings.tls_cert and not is_loopback(address(settings.bind)[0]):
        yield Finding(
            "warning", "tokens travel in clear text", "set --tls-cert and --tls-key, or end TLS in front"
        )
    if settings.durability == "normal":
        yield Finding(
            "warning",
            "durability normal: the last writes may be lost at a power cut",
            "SKERRY_DURABILITY=full",
        )


def _sqlite_library() -> Iterator[Finding]:
    from skerry.backends.sqlite.files import check_library, library_name

    try:
        check_library()
        yield Finding("ok", library_name())
    except SettingsError as error:
        yield Finding("error", error.problem, "pip install -U apsw")


def _sqlite_file(path: Path) -> Iterator[Finding]:
    folder = path.parent if path.parent.exists() else next(p for p in path.absolute().parents if p.exists())
    if not os.access(folder, os.W_OK):
        yield Finding(
            "error", f"{folder} cannot be written", "choose another place: SKERRY_JOURNAL=sqlite:///PATH"
        )
        return
    free = shutil.disk_usage(folder).free
    if free < LEAST_FREE_BYTES:
        yield Finding(
            "warning", f"only {free // 2**20} MiB are free at {folder}", "make room: a full disk ends writes"
        )
    if not path.exists():
        yield Finding("ok", f"{path} is made by the first start")
    elif path.stat().st_mode & 0o077:
        yield Finding("warning", f"{path} can be read by others on this machine", f"chmod 600 {path}")
    else:
        yield Finding("ok", f"{path}, {path.stat().st_size / 2**20:.1f} MiB")


def _is_there(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


async def _in_file(path: Path, namespace: str, declaration: Declaration) -> AsyncIterator[Finding]:
    from skerry.backends.sqlite.journal import SqliteJournal

    try:
        async with SqliteJournal(str(path), namespace, read_only=True) as journal:
            async for finding in _stored(journal, declaration):
                yield finding
    except SkerryError as error:
        yield Finding("warning", f"the journal could not be read: {error}")


async def _stored(journal: JournalAdmin, declaration: Declaration | None) -> AsyncIterator[Finding]:
    """Whether the application can read what it has stored, and who holds old events."""
    if declaration is None:
        return
    found = await audit(journal, declaration, rows=SOME_ROWS, events=SOME_EVENTS)
    for problem in found.problems():
        what, _, fix = problem.partition("; ")
        yield Finding("error", what, fix)
    for remark in found.remarks():
        yield Finding("warning", remark)
    for reader in await journal.readers():
        if not is_declared(declaration, reader):
            what = (
                f"{reader.kind} {reader.name} is not declared and holds the journal from {reader.position} on"
            )
            yield Finding("warning", what, f"skerry journal forget TARGET {reader.name}")
    if not found.unfit:
        yield Finding("ok", f"{found.rows} rows and the last {found.events} events fit what is declared")


async def _postgres(plan: Plan, namespace: str, declaration: Declaration | None) -> AsyncIterator[Finding]:
    try:
        from skerry.backends.postgres.journal import PostgresJournal
        from skerry.backends.postgres.role import Need
    except ModuleNotFoundError as error:
        yield Finding("error", f"{error.name} is not installed", "pip install 'skerry[postgres]'")
        return
    try:
        async with PostgresJournal(plan.journal_url, namespace, need=Need.ANY) as journal:
            for found in await journal.examine():
                yield Finding(found.level, found.what, found.fix)
            try:
                head = await journal.head()
                yield Finding(
                    "ok", f"PostgreSQL journal at {head.position}, events kept from {head.floor + 1}"
                )
                async for stored in _stored(journal, declaration):
                    yield stored
            except Disconnected:
                yield Finding(
                    "warning", f"nothing of {namespace!r} is in this database yet", "skerry infra create"
                )
    except SettingsError as error:
        yield Finding("error", error.problem, "set SKERRY_JOURNAL right")
    except SkerryError as error:
        refused = "permission denied" in str(error)
        fix = (
            "let its owner grant what is missing"
            if refused
            else "start the database, or set SKERRY_JOURNAL right"
        )
        yield Finding("error", str(error), fix)


async def _rabbit(plan: Plan, settings: Settings, namespace: str) -> AsyncIterator[Finding]:
    try:
        from skerry.backends.rabbitmq.doctor import doctor
        from skerry.backends.rabbitmq.settings import RabbitSettings
    except ModuleNotFoundError as error:
        yield Finding("error", f"{error.name} is not installed", "pip install 'skerry[rabbitmq]'")
        return
    rabbit = replace(
        settings.of(RabbitSettings), url=plan.transport_url, namespace=namespace, start_seconds=5.0
    )
    for found in await doctor(rabbit):
        yield Finding(found.level, found.what, found.fix)
