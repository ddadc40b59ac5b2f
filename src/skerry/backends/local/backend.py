"""`local:`: processes of one machine, by the unix socket of the one that owns the journal's file."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

from skerry.bus.backend import Access, Backend, JournalSide, Opening, Parts, Place, TransportSide
from skerry.bus.transport import Transport
from skerry.errors import Disconnected, SettingsError
from skerry.journal.journal import JournalAdmin


@asynccontextmanager
async def _open(opening: Opening) -> AsyncIterator[Parts]:
    async with AsyncExitStack() as stack:
        yield await (_owner(opening, stack) if opening.decides else _peer(opening, stack))


def _file(opening: Opening) -> Path:
    if opening.journal.file is None:
        raise SettingsError("transport", "local: goes with a journal that is a file")
    return opening.journal.file(opening.place.journal_url)


async def _owner(opening: Opening, stack: AsyncExitStack) -> Parts:
    """The consumer of an embedded journal: owns the file, and what the others speak to."""
    from skerry.backends.local.owner import LocalOwner

    # Under a runner a second consumer is a lasting standby; by hand, somebody wants to know who is in the way.
    patience = 30.0 if opening.on_standby is None else 10 * 365 * 86400.0
    owner = LocalOwner(
        _file(opening), opening.place.process, standby_seconds=patience, on_standby=opening.on_standby,
        owner_of=opening.journal.owner,
    )  # fmt: skip
    journal = opening.journal_for(Access.DECIDES)
    parts = Parts(owner, journal, journal)
    opening.made(parts)
    await opening.rehearse(journal)
    await owner.acquire()
    stack.callback(owner.release)
    await stack.enter_async_context(journal)
    owner.serve(journal)
    stack.push_async_callback(owner.stop)
    await opening.prepare(journal)
    await owner.start()
    return parts


async def _peer(opening: Opening, stack: AsyncExitStack) -> Parts:
    from skerry.backends.local.owner import hub_path
    from skerry.backends.local.peer import LocalPeer, PeerSettings
    from skerry.backends.local.reader import remote_journal

    # While a process is replaced there are two of its name for a moment: each is a peer of its own.
    place = opening.place
    path, name = hub_path(_file(opening)), f"{place.process}.{os.getpid()}"
    peer = LocalPeer(path, name, place.settings.of(PeerSettings))
    parts = Parts(peer, remote_journal(peer), None)
    opening.made(parts)
    await peer.start(required=opening.wait)
    stack.push_async_callback(peer.stop)
    return parts


async def _reached(place: Place, journal: JournalSide) -> tuple[JournalAdmin, Transport] | None:
    """By the process that owns the file."""
    from skerry.backends.local.owner import hub_path
    from skerry.backends.local.peer import LocalPeer, PeerSettings
    from skerry.backends.local.reader import remote_journal

    assert journal.file is not None
    patience = replace(place.settings.of(PeerSettings), start_seconds=0.5)
    peer = LocalPeer(hub_path(journal.file(place.journal_url)), f"admin.{os.getpid()}", patience)
    try:
        await peer.start()
    except Disconnected:
        return None
    return remote_journal(peer), peer


BACKEND = Backend(
    "local",
    transport=TransportSide(
        _open,
        {"sqlite": "several processes of one machine, one consumer that owns the file"},
        owner=_reached,
    ),
)
