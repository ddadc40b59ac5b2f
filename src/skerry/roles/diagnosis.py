"""`skerry doctor`: looks at everything that an application stands on, and says what to do about what is wrong.

Looks, and changes nothing, but for a throw-away queue that a broker is tried with.
"""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from collections.abc import AsyncIterator, Iterator
from functools import partial

from skerry.bus.backend import Finding
from skerry.http.hosts import is_loopback
from skerry.journal.journal import JournalAdmin
from skerry.kernel.declaration import Declaration
from skerry.kernel.settings import Settings, address
from skerry.loop.models import available, default
from skerry.roles.audit import SOME_EVENTS, SOME_ROWS, audit, is_declared
from skerry.roles.wiring import Plan

LEAST_FILES = 4096


async def diagnose(
    settings: Settings, plan: Plan, namespace: str, declaration: Declaration | None = None
) -> AsyncIterator[Finding]:
    """Everything found, good news too, in the order of looking. With a declaration, what is stored is read too."""
    for finding in (*_machine(), *_settings(settings)):
        yield finding
    place = plan.place(settings, namespace, "doctor")
    if (journal := plan.journal_side.doctor) is not None:
        look = None if declaration is None else partial(_stored, declaration)
        async for finding in journal(place, look):
            yield finding
    if (transport := plan.transport_side.doctor) is not None:
        async for finding in transport(place):
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


async def _stored(declaration: Declaration, journal: JournalAdmin) -> AsyncIterator[Finding]:
    """Whether the application can read what it has stored, and what holds old events."""
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
