"""The consumer's side of `local:`: owns the journal's file, and with it the hub.

`acquire` comes before the file is opened: one process at a time holds the lock of a directory, the next one stands by
until it is free (its holder died, or handed over). The socket appears only after that, so that a peer never reaches
somebody who may not answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
from collections.abc import Callable
from pathlib import Path

from skerry.backends.endpoint import DEFAULT_WINDOW, Endpoint, Window
from skerry.backends.local.hub import Hub
from skerry.backends.local.service import JournalService
from skerry.bus.transport import Announcement
from skerry.errors import LifecycleError, SettingsError
from skerry.journal.hints import Hint
from skerry.journal.journal import JournalReader, Outcome
from skerry.loop.sockets import directory_beside, listen_unix, private_directory

log = logging.getLogger("skerry.local")

SOCKET_NAME = "hub.sock"
LOCK_NAME = "hub.lock"
LOOK_SECONDS = 1.0
"""How often it is looked whether the socket is still there."""


def local_directory(journal_file: Path) -> Path:
    """Where the processes of one journal meet: a directory of its own, short enough for a unix socket."""
    return directory_beside(journal_file, (SOCKET_NAME, LOCK_NAME))


def hub_path(journal_file: Path) -> Path:
    """The hub's socket of the journal kept in that file."""
    return local_directory(journal_file) / SOCKET_NAME


class Lock:
    """One holder at a time, of a file; ends with its process, however that ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def try_acquire(self) -> bool:
        """Whether it is ours now."""
        if self._descriptor is not None:
            return True
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:  # the last holder has just removed the directory
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The last holder removes the file when it ends: then this descriptor is of a file without a name.
            if not _is_at(descriptor, self._path):
                os.close(descriptor)
                return False
        except BlockingIOError:
            os.close(descriptor)
            return False
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor
        return True

    def renew(self) -> bool:
        """Have the file of a lock that is ours at its place again, should it have been removed; whether it is."""
        if self._descriptor is None:
            return False
        if _is_at(self._descriptor, self._path):
            return True
        old, self._descriptor = self._descriptor, None
        if not self.try_acquire():
            self._descriptor = old
            return False
        os.close(old)
        return True

    def holder(self) -> str:
        """The pid that the file names, for a message to people."""
        try:
            return self._path.read_text(encoding="ascii").strip() or "unknown"
        except OSError:
            return "unknown"

    def release(self) -> None:
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                self._path.unlink()
            os.close(self._descriptor)
            self._descriptor = None


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    mine = os.fstat(descriptor)
    return (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)


class DirectTransport(Endpoint):
    """One name at a hub in this process. See `skerry.bus.transport.Transport`."""

    def __init__(self, hub: Hub, name: str, window: int = DEFAULT_WINDOW) -> None:
        super().__init__(name, hub.queue, Window(window))
        self._hub = hub
        self._leave: list[Callable[[], None]] = []

    async def start(self) -> None:
        """Take the name. Raises LifecycleError when it is taken."""
        if self._started:
            return
        if self._name in self._hub.answers or self._name in self._hub.peers:
            raise LifecycleError(f"start a second end {self._name!r}", "one of that name runs", ())
        self._hub.answers[self._name] = self._answers
        # The hub's listeners are told for every end of it; ours end with this transport.
        self._leave = [
            self._hub.hints.add(self._hints.tell),
            self._hub.announcements.add(self._announcements.tell),
        ]
        self._started = True

    async def stop(self) -> None:
        """Leave: consumers close, senders that wait get `Disconnected`; what was sent stays queued."""
        if not self._started:
            return
        self._hub.answers.pop(self._name, None)
        for leave in self._leave:
            leave()
        await self._close()

    def publish(self, hint: Hint) -> None:
        if self._started:
            self._hub.publish(hint)

    def answer(self, sender: str, outcomes: list[Outcome], epoch: str) -> None:
        if self._started:
            self._hub.answer(sender, outcomes, epoch)

    def announce(self, announcement: Announcement) -> None:
        if self._started:
            self._hub.announce(announcement)


class LocalOwner(DirectTransport):
    """The transport of the process that owns the file. See `skerry.bus.transport.Transport`.

    Order of life: `acquire`, open the journal, `serve(journal)`, `start`, ..., `stop`, close the journal, `release`.
    `start` acquires by itself when that was not done. `owner_of`: the process that has the file open for writing, empty
    for none; it counts as the owner also while its lock here is missing (somebody cleared the directory away).
    """

    def __init__(
        self,
        journal_file: Path,
        name: str,
        window: int = 10_000,
        standby_seconds: float = 30.0,
        on_standby: Callable[[], None] | None = None,
        owner_of: Callable[[Path], str] = lambda file: "",
    ) -> None:
        self._owner_of = owner_of
        self._service = JournalService()
        self.hub = Hub(self._service)
        super().__init__(self.hub, name, window)
        self._directory = local_directory(journal_file)
        self._file = journal_file
        self._lock = Lock(self._directory / LOCK_NAME)
        self._standby_seconds, self._on_standby = standby_seconds, on_standby
        self._server: asyncio.Server | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._listening: asyncio.Task[None] | None = None

    async def acquire(self) -> None:
        """Become the owner; stands by while another process is. Raises SettingsError when it stays that way."""
        private_directory(self._directory, "journal")
        if self._try_acquire():
            return
        holder = self._owner_of(self._file) or self._lock.holder()
        log.info("process %s owns %s: standing by for it", holder, self._file)
        if self._on_standby is not None:
            self._on_standby()
        try:
            async with asyncio.timeout(self._standby_seconds):
                while True:
                    await asyncio.sleep(0.01)
                    private_directory(self._directory, "journal")
                    if self._try_acquire():
                        return
        except TimeoutError as error:
            raise SettingsError(
                "journal",
                f"{self._file} is owned by process {holder}; `local:` has one consumer for a file",
            ) from error

    def _try_acquire(self) -> bool:
        if self._owner_of(self._file) or not self._lock.try_acquire():
            return False
        if not self._owner_of(self._file):
            return True
        self._lock.release()
        return False

    def serve(self, journal: JournalReader) -> None:
        """Answer the peers' journal calls from this one."""
        self._service.serve(journal)

    async def start(self) -> None:
        await self.acquire()
        await super().start()
        try:
            await self._listen()
        except BaseException:
            await super().stop()
            raise
        self._look()

    async def _listen(self) -> None:
        listener = listen_unix(self._directory / SOCKET_NAME)
        old, self._server = (
            self._server,
            await asyncio.get_running_loop().create_unix_server(self.hub.accept, sock=listener),
        )
        if old is not None:
            old.close()

    def _look(self) -> None:
        """Peers that are connected need no path, but those that come do: one that was cleared away (a cleaner of /tmp,
        logind at a logout, an operator) is made again."""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(LOOK_SECONDS, self._look)
        if not (self._directory / SOCKET_NAME).exists() and self._listening is None:
            self._listening = loop.create_task(self._listen_again(), name="skerry-hub-socket")
            self._listening.add_done_callback(self._listened)

    def _listened(self, task: asyncio.Task[None]) -> None:
        self._listening = None

    async def _listen_again(self) -> None:
        try:
            private_directory(self._directory, "journal")
            if self._lock.renew():
                await self._listen()
                log.warning("%s was removed and is there again", self._directory / SOCKET_NAME)
        except (SettingsError, OSError) as error:
            log.debug("%s cannot be made again: %s", self._directory, error)  # next time, perhaps

    async def stop(self) -> None:
        """No new peers; consumers close; peers read what is queued for them and are then disconnected."""
        if self._timer is not None:
            self._timer.cancel()
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.wait({self._listening})
        server, self._server = self._server, None
        if server is not None:
            server.close()
            with contextlib.suppress(OSError):
                (self._directory / SOCKET_NAME).unlink()
        await super().stop()
        await self._service.stop()
        self.hub.close()

    def release(self) -> None:
        """Let the next owner in: after the journal is closed. Nothing of the directory stays behind."""
        self._lock.release()
        with contextlib.suppress(OSError):
            self._directory.rmdir()
