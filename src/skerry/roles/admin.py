"""The journal for operators: `skerry journal`, `skerry dead`.

While the application runs, an embedded journal is reached through the process that owns it; otherwise its file is
opened here. A shared database is simply opened.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from skerry.bus.bus import partition_of
from skerry.bus.transport import Transport
from skerry.bus.waiting import envelope_of
from skerry.errors import Disconnected, SettingsError, SkerryError
from skerry.journal.intake import LETTER, HasIntake
from skerry.journal.journal import DeadLetter, JournalAdmin
from skerry.journal.reactor import RETRY
from skerry.kernel.settings import Settings
from skerry.roles.parts import Plan, sqlite_path


@dataclass(frozen=True, slots=True)
class Admin:
    """An opened journal; `transport` where commands can be sent, None when nothing runs that would take them."""

    journal: JournalAdmin
    transport: Transport | None
    partitions: int

    async def retry(self, letter: DeadLetter) -> None:
        """Send a dead letter's command again, under its own id; it leaves the dead letters (and comes back to its place
        when it fails again). A reactor's event is marked for its reactor to try again; it leaves when that has worked.
        An event that a foreign transaction left goes to the end of the intake.
        Raises SkerryError when nobody takes commands: the letter then stays."""
        if letter.headers.get("reactor"):  # its own process tries it, within seconds
            await self.journal.bury(replace(letter, headers={**letter.headers, RETRY: "1"}))
            return
        if letter.command_id.startswith(LETTER) and isinstance(self.journal, HasIntake):
            await self.journal.intake.put_back(letter)
            return
        if not letter.name:
            raise SkerryError("these bytes are no command: they can be shown and dropped, not retried")
        if self.transport is None:
            raise SkerryError("nothing runs that takes commands: start the application, then retry")
        await self.journal.exhume(letter.command_id)
        envelope = envelope_of(letter)
        try:
            await self.transport.send([envelope], partition_of(letter.key, self.partitions))
        except BaseException:  # an operator's Ctrl-C too
            await self.journal.bury(letter)
            raise


@asynccontextmanager
async def open_admin(settings: Settings, plan: Plan, namespace: str) -> AsyncIterator[Admin]:
    """Open what the plan names. Raises SettingsError when there is nothing, Disconnected when it is away."""
    if plan.journal == "memory":
        raise SettingsError(
            "journal", "memory: lives in its process; there is nothing to look at from outside"
        )
    if plan.journal == "sqlite":
        async with _embedded(settings, plan, namespace) as admin:
            yield admin
        return
    async with _servers(settings, plan, namespace) as admin:
        yield admin


@asynccontextmanager
async def _embedded(settings: Settings, plan: Plan, namespace: str) -> AsyncIterator[Admin]:
    from skerry.backends.local.owner import hub_path
    from skerry.backends.local.peer import LocalPeer, PeerSettings
    from skerry.backends.local.reader import RemoteJournal
    from skerry.backends.sqlite.journal import SqliteJournal

    path = sqlite_path(plan.journal_url)
    if not path.exists():
        raise SettingsError(
            "journal", f"there is no file {path} (set --data, --journal, --namespace or TARGET)"
        )
    patience = replace(settings.of(PeerSettings), start_seconds=0.5)
    peer = LocalPeer(hub_path(path), f"admin.{os.getpid()}", patience)
    try:
        await peer.start()
    except Disconnected:
        async with SqliteJournal(str(path), namespace) as journal:
            yield Admin(journal, None, settings.partitions)
        return
    try:
        yield Admin(RemoteJournal(peer), peer, settings.partitions)
    finally:
        await peer.stop()


@asynccontextmanager
async def _servers(settings: Settings, plan: Plan, namespace: str) -> AsyncIterator[Admin]:
    """The shared database; the broker only when something is to be sent, so that it may be away."""
    from skerry.backends.postgres.journal import PostgresJournal
    from skerry.backends.postgres.role import Need
    from skerry.backends.postgres.settings import PostgresSettings
    from skerry.backends.rabbitmq.settings import RabbitSettings
    from skerry.backends.rabbitmq.transport import RabbitTransport

    rabbit = replace(
        settings.of(RabbitSettings), url=plan.transport_url, namespace=namespace, start_seconds=5.0
    )
    chosen = settings.of(PostgresSettings)
    async with PostgresJournal(plan.journal_url, namespace, settings=chosen, need=Need.ANY) as journal:
        transport = RabbitTransport(rabbit, journal.bodies, name=f"admin.{os.urandom(4).hex()}")
        try:
            await transport.start()
        except Disconnected:
            yield Admin(journal, None, settings.partitions)
            return
        try:
            yield Admin(journal, transport, settings.partitions)
        finally:
            await transport.stop()
