"""The journal for operators: `skerry journal`, `skerry dead`.

While the application runs, an embedded journal is reached through the process that owns it; otherwise its file is
opened here. A shared database is simply opened; its broker only when something is to be sent, so that it may be away.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from skerry.bus.backend import Access
from skerry.bus.bus import partition_of
from skerry.bus.transport import Transport
from skerry.bus.waiting import envelope_of
from skerry.errors import Disconnected, SettingsError, SkerryError
from skerry.journal.intake import LETTER, HasIntake
from skerry.journal.journal import DeadLetter, JournalAdmin
from skerry.journal.reactor import RETRY
from skerry.kernel.settings import Settings
from skerry.roles.wiring import Plan


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
    side, place = plan.journal_side, plan.place(settings, namespace, "admin")
    if not side.keeps:
        raise SettingsError(
            "journal", f"{plan.journal}: lives in its process; there is nothing to look at from outside"
        )
    if side.file is not None and not _exists(path := side.file(plan.journal_url)):
        raise SettingsError(
            "journal", f"there is no file {path} (set --data, --journal, --namespace or TARGET)"
        )
    owner = plan.transport_side.owner
    owned = None if owner is None else await owner(place, side)
    if owned is not None:
        journal, transport = owned
        try:
            yield Admin(journal, transport, settings.partitions)
        finally:
            await transport.stop()
        return
    async with side.make(place, Access.KEEPS, True) as opened:
        sender = plan.transport_side.sender
        started = None if sender is None else await _started(sender(place, opened))
        try:
            yield Admin(opened, started, settings.partitions)
        finally:
            if started is not None:
                await started.stop()


async def _started(transport: Transport) -> Transport | None:
    """None when it is away: then nothing can be sent."""
    try:
        await transport.start()
    except Disconnected:
        return None
    return transport


def _exists(path: Path) -> bool:
    return path.exists()
