"""Which backends belong to which URLs, and how a process opens them.

An application moves between backends by `SKERRY_JOURNAL` and `SKERRY_TRANSPORT` alone. Pairs that cannot keep the
promises (a shared queue in front of a private file, say) are refused with the list of those that can.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from skerry.bus.transport import Transport
from skerry.errors import SettingsError
from skerry.journal.journal import JournalReader, JournalWriter
from skerry.journal.migration import rehearse
from skerry.kernel.declaration import Declaration
from skerry.kernel.settings import Settings

if TYPE_CHECKING:
    from skerry.backends.memory.journal import MemoryJournal
    from skerry.backends.sqlite.journal import SqliteJournal

Standby = Callable[[], None]
Made = Callable[["Parts"], None]
PAIRS = {
    ("memory", "memory"): "one process, nothing kept",
    ("sqlite", "memory"): "one process, kept in a file",
    ("sqlite", "local"): "several processes of one machine, one consumer that owns the file",
    ("postgresql", "amqp"): "many machines",
}
ALIASES = {"postgres": "postgresql", "amqps": "amqp"}


@dataclass(frozen=True, slots=True)
class Parts:
    """A process's backends. `writer`: where commands may be decided. `shared`: several consumers may write."""

    transport: Transport
    reader: JournalReader
    writer: JournalWriter | None
    shared: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """Which backends, checked before anything is opened."""

    journal: str
    transport: str
    journal_url: str
    transport_url: str
    tables: tuple[str, ...] = ()


def plan(settings: Settings, namespace: str, *, one_process: bool, tables: Sequence[str] = ()) -> Plan:
    """The pair of backends that the settings name. Raises SettingsError for one that is not valid here."""
    journal_url = settings.journal_url(namespace)
    journal = scheme(journal_url, "journal", {pair[0] for pair in PAIRS})
    transport_url = settings.transport or _default_transport(journal)
    transport = scheme(transport_url, "transport", {pair[1] for pair in PAIRS})
    if (journal, transport) not in PAIRS:
        valid = "; ".join(f"{j}: with {t}: ({what})" for (j, t), what in PAIRS.items())
        raise SettingsError(
            "transport", f"{transport}: does not go with journal {journal}:. Valid pairs: {valid}"
        )
    if transport == "memory" and not one_process:
        raise SettingsError(
            "transport", "memory: is for one process (`skerry run`); between processes use local:"
        )
    return Plan(journal, transport, journal_url, transport_url, tuple(tables))


def _default_transport(journal: str) -> str:
    if journal == "postgresql":
        raise SettingsError(
            "transport", "a postgresql: journal needs a broker: set SKERRY_TRANSPORT=amqp://..."
        )
    # An embedded journal is always reachable by others: more servers, `skerry journal`, `skerry dead`.
    return "memory:" if journal == "memory" else "local:"


def scheme(url: str, setting: str, known: set[str]) -> str:
    """The kind of backend that a URL names. Raises SettingsError."""
    name, separator, _ = url.partition(":")
    name = ALIASES.get(name, name)
    if not separator or name not in known:
        shown = url.rpartition("@")[2]  # never a password
        raise SettingsError(
            setting, f"{shown!r} begins with none of {', '.join(f'{k}:' for k in sorted(known))}"
        )
    return name


def sqlite_path(url: str) -> Path:
    """The file of `sqlite:///PATH` (relative) or `sqlite:////PATH` (absolute). Raises SettingsError."""
    if not url.startswith("sqlite:///") or len(url) <= len("sqlite:///"):
        raise SettingsError("journal", f"{url!r} is not sqlite:///PATH")
    return Path(url.removeprefix("sqlite:///"))


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
    namespace = settings.namespace or declaration.namespace
    async with AsyncExitStack() as stack:
        opening = _Opening(stack, plan, settings, namespace, name, declaration, made)
        match plan.journal, plan.transport:
            case "memory", _:
                parts = await _one_process(opening, _memory())
            case "sqlite", "memory":
                parts = await _one_process(opening, _sqlite(opening))
            case "sqlite", "local" if decides:
                parts = await _local_owner(opening, on_standby)
            case "sqlite", "local":
                parts = await _local_peer(opening, wait)
            case _:
                parts = await _servers(opening, decides, wait or decides)
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


@dataclass(frozen=True, slots=True)
class _Opening:
    """What is to be opened, how, and where it is closed."""

    stack: AsyncExitStack
    plan: Plan
    settings: Settings
    namespace: str
    name: str
    declaration: Declaration
    made: Made


async def _one_process(opening: _Opening, journal: MemoryJournal | SqliteJournal) -> Parts:
    from skerry.backends.memory.transport import MemoryHub

    transport = MemoryHub().endpoint(opening.name)
    parts = Parts(transport, journal, journal)
    opening.made(parts)
    await opening.stack.enter_async_context(journal)
    await transport.start()
    opening.stack.push_async_callback(transport.stop)
    return parts


def _memory() -> MemoryJournal:
    from skerry.backends.memory.journal import MemoryJournal

    return MemoryJournal()


def _sqlite(opening: _Opening) -> SqliteJournal:
    from skerry.backends.sqlite.journal import SqliteJournal
    from skerry.backends.sqlite.settings import SqliteSettings

    chosen = opening.settings.of(SqliteSettings)
    return SqliteJournal(str(sqlite_path(opening.plan.journal_url)), opening.namespace, settings=chosen)


async def _local_owner(opening: _Opening, on_standby: Standby | None) -> Parts:
    """The consumer of an embedded journal: owns the file, and what the others speak to."""
    from skerry.backends.local.owner import LocalOwner

    # Under a runner a second consumer is a lasting standby; by hand, somebody wants to know who is in the way.
    patience = 30.0 if on_standby is None else 10 * 365 * 86400.0
    file = sqlite_path(opening.plan.journal_url)
    owner = LocalOwner(file, opening.name, standby_seconds=patience, on_standby=on_standby)
    journal = _sqlite(opening)
    parts = Parts(owner, journal, journal)
    opening.made(parts)
    await rehearse(journal, opening.plan.tables, opening.declaration.migrations)
    await owner.acquire()
    stack = opening.stack
    stack.callback(owner.release)
    await stack.enter_async_context(journal)
    owner.serve(journal)
    stack.push_async_callback(owner.stop)
    await prepare(journal, opening.declaration)
    await owner.start()
    return parts


async def _local_peer(opening: _Opening, wait: bool) -> Parts:
    from skerry.backends.local.owner import hub_path
    from skerry.backends.local.peer import LocalPeer, PeerSettings
    from skerry.backends.local.reader import RemoteJournal

    # While a process is replaced there are two of its name for a moment: each is a peer of its own.
    path, name = hub_path(sqlite_path(opening.plan.journal_url)), f"{opening.name}.{os.getpid()}"
    peer = LocalPeer(path, name, opening.settings.of(PeerSettings))
    parts = Parts(peer, RemoteJournal(peer), None)
    opening.made(parts)
    await peer.start(required=wait)
    opening.stack.push_async_callback(peer.stop)
    return parts


async def _servers(opening: _Opening, decides: bool, wait: bool) -> Parts:
    """PostgreSQL and RabbitMQ: any number of machines."""
    try:
        from skerry.backends.postgres.journal import PostgresJournal
        from skerry.backends.postgres.role import Need
        from skerry.backends.postgres.settings import PostgresSettings
        from skerry.backends.rabbitmq.settings import RabbitSettings
        from skerry.backends.rabbitmq.transport import RabbitTransport
    except ModuleNotFoundError as error:
        raise SettingsError(
            "journal", f"{error.name} is missing: pip install 'skerry[postgres,rabbitmq]'"
        ) from error
    plan, settings, namespace = opening.plan, opening.settings, opening.namespace
    rabbit = replace(settings.of(RabbitSettings), url=plan.transport_url, namespace=namespace)
    need, chosen = Need.WRITABLE if decides else Need.PRIMARY, settings.of(PostgresSettings)
    journal = PostgresJournal(plan.journal_url, namespace, settings=chosen, required=wait, need=need)
    # The name is an address on the broker: two processes of one name would take each other's answers.
    transport = RabbitTransport(rabbit, journal.bodies, name=f"{opening.name}.{os.urandom(4).hex()}")
    parts = Parts(transport, journal, journal if decides else None, shared=True)
    opening.made(parts)
    await opening.stack.enter_async_context(journal)
    if decides:
        await prepare(journal, opening.declaration)
    await transport.start(required=wait)
    opening.stack.push_async_callback(transport.stop)
    return parts
