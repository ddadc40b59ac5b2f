"""Which backends the settings name, and how a process opens them.

An application moves between backends by `SKERRY_JOURNAL` and `SKERRY_TRANSPORT` alone. Pairs that cannot keep the
promises (a shared queue in front of a private file, say) are refused with the list of those that can. Not here: what a
backend is (`skerry.bus.backend`), which there are (`skerry.plugins`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from skerry.bus.backend import Backend, JournalSide, Opening, Place, TransportSide
from skerry.bus.backend import Parts as Parts
from skerry.errors import SettingsError
from skerry.journal.migration import rehearse
from skerry.kernel.settings import Settings
from skerry.plugins import BACKENDS, find, names

if TYPE_CHECKING:
    from skerry.journal.journal import JournalWriter
    from skerry.kernel.declaration import Declaration

Standby = Callable[[], None]
Made = Callable[[Parts], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """Which backends, checked before anything is opened."""

    journal: str
    transport: str
    journal_url: str
    transport_url: str
    tables: tuple[str, ...] = ()

    @property
    def journal_side(self) -> JournalSide:
        side = backend(self.journal).journal
        assert side is not None
        return side

    @property
    def transport_side(self) -> TransportSide:
        side = backend(self.transport).transport
        assert side is not None
        return side

    def place(self, settings: Settings, namespace: str, process: str = "") -> Place:
        """What the backends have to know."""
        return Place(self.journal_url, self.transport_url, namespace, settings, process, self.tables)


def backend(scheme: str) -> Backend:
    """The backend of that name. Raises SettingsError when there is none."""
    found = find(BACKENDS, scheme)
    if not isinstance(found, Backend):
        raise SettingsError("backend", f"{scheme!r} is none of {', '.join(names(BACKENDS))}")
    return found


def pairs() -> dict[tuple[str, str], str]:
    """Every pair of a journal and a transport that keeps the promises, and what it is for."""
    found: dict[tuple[str, str], str] = {}
    for each in map(backend, names(BACKENDS)):
        if each.transport is not None:
            found |= {(journal, each.scheme): what for journal, what in each.transport.journals.items()}
    for each in map(backend, names(BACKENDS)):
        if each.journal is not None:
            found |= {(each.scheme, other): what for other, what in each.journal.transports.items()}
    return found


def plan(settings: Settings, namespace: str, *, one_process: bool, tables: Sequence[str] = ()) -> Plan:
    """The pair of backends that the settings name. Raises SettingsError for one that is not valid here."""
    journal_url = settings.journal_url(namespace)
    journal = named(journal_url, "journal")
    side = journal.journal
    assert side is not None
    side.check(journal_url)
    transport_url = settings.transport or side.default_transport
    if not transport_url:
        raise SettingsError(
            "transport", side.needs or f"a {journal.scheme}: journal needs one: set SKERRY_TRANSPORT"
        )
    if transport_url in (f"{name}:" for name in (journal.scheme, *journal.aliases)):
        transport_url = journal_url  # the same server
    transport = named(transport_url, "transport")
    carries = transport.transport
    assert carries is not None
    if journal.scheme not in carries.journals and transport.scheme not in side.transports:
        valid = "; ".join(f"{j}: with {t}: ({what})" for (j, t), what in pairs().items())
        raise SettingsError(
            "transport",
            f"{transport.scheme}: does not go with journal {journal.scheme}:. Valid pairs: {valid}",
        )
    if carries.one_process and not one_process:
        raise SettingsError(
            "transport",
            f"{transport.scheme}: is for one process (`skerry run`); between processes use local:",
        )
    return Plan(journal.scheme, transport.scheme, journal_url, transport_url, tuple(tables))


def named(url: str, setting: str) -> Backend:
    """The backend of a journal or transport that a URL names. Raises SettingsError."""
    scheme, separator, _ = url.partition(":")
    found = find(BACKENDS, scheme) if separator else None
    if separator and found is None:  # another name of one
        found = next((each for each in map(backend, names(BACKENDS)) if scheme in each.aliases), None)
    if not isinstance(found, Backend) or getattr(found, setting) is None:
        shown = url.rpartition("@")[2]  # never a password
        known = [each.scheme for each in map(backend, names(BACKENDS)) if getattr(each, setting) is not None]
        choices = ", ".join(f"{name}:" for name in sorted(known))
        raise SettingsError(setting, f"{shown!r} begins with none of {choices}")
    return found


@asynccontextmanager
async def open_parts(
    declaration: Declaration,
    settings: Settings,
    plan: Plan,
    *,
    decides: bool,
    name: str,
    on_standby: Standby | None = None,
    wait: bool = True,
    made: Made = lambda parts: None,
) -> AsyncIterator[Parts]:
    """Open what this process needs, close it at the end. `decides`: whether it has the consumer role.
    `on_standby` is called when another process owns the journal and this one waits for it. `wait`: whether servers
    have to be there; without, what only reads along is opened all the same (it has a copy of its memory), and its
    parts connect when they can. `made` gets the same parts before any is opened: what it raises ends this before
    somebody else was asked to make room. Raises Disconnected, SettingsError."""

    async def try_on(journal: Any) -> None:
        await rehearse(journal, plan.tables, declaration.migrations)

    async def make_ready(journal: JournalWriter) -> None:
        await prepare(journal, declaration)

    opening = Opening(
        plan.place(settings, settings.namespace or declaration.namespace, name),
        plan.journal_side, decides, wait, made, try_on, make_ready, on_standby,
    )  # fmt: skip
    async with plan.transport_side.open(opening) as parts:
        yield parts


async def prepare(journal: JournalWriter, declaration: Declaration) -> None:
    """Make what this application needs in its journal. Raises SettingsError when it is another application's, before
    anything is made in it."""
    owner = await journal.application()
    if owner not in ("", declaration.name):
        raise SettingsError(
            "journal",
            f"it belongs to the application {owner!r}, and this one is {declaration.name!r}: set another namespace, "
            "or, if the application was renamed, run skerry infra adopt TARGET once",
        )
    await journal.prepare(list(declaration.tables))
    if not owner:
        await journal.adopt(declaration.name)
