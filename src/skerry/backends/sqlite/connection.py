"""A SQLite connection with a thread of its own: jobs go in by a bounded queue, results come back to the loop.

Results that are ready together wake the loop once. A job that runs over its time is interrupted. The connection
is made, used and closed in its thread only, and never used in a forked child. Not here: which SQL runs.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import queue
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import apsw

from skerry.errors import Corrupt, Disconnected, JournalError, Overloaded, SkerryError

T = TypeVar("T")
Job = Callable[[apsw.Connection], T]

SAFE_VERSION = 3_051_003
"""Older libraries can corrupt a write-ahead log that two connections use (fixed in SQLite 3.51.3)."""
_HANG_SECONDS = 5.0
_connections: weakref.WeakSet[apsw.Connection] = weakref.WeakSet()


_AWAY: tuple[tuple[type[apsw.Error], str], ...] = (
    (apsw.FullError, "the disk is full"),
    (apsw.ReadOnlyError, "the file or its directory cannot be written"),
    (apsw.CantOpenError, "the file cannot be opened"),
    (apsw.IOError, "reading or writing the file failed"),
    (apsw.PermissionsError, "access is denied"),
    (apsw.BusyError, "another process holds the file"),
    (apsw.LockedError, "another connection holds the table"),
    (apsw.InterruptError, "a statement was interrupted, it took too long"),
    (apsw.NoMemError, "there is no memory"),
)

_DAMAGED = (apsw.CorruptError, apsw.NotADBError, apsw.FormatError)


class _Item:
    """One job on its way. `state`: 0 waits, 1 runs, 2 was interrupted, 3 is over."""

    __slots__ = ("future", "job", "state", "wanted")

    def __init__(self, job: Job[Any] | None, future: asyncio.Future[Any] | None) -> None:
        self.job, self.future = job, future
        self.state = 0
        self.wanted = True


class Worker:
    """A thread that owns one connection. `limit`: jobs that may wait; more are refused with `Overloaded`."""

    def __init__(
        self, path: str, connect: Callable[[], apsw.Connection], *, name: str, limit: int = 1000
    ) -> None:
        self._path, self._connect, self._name, self._limit = path, connect, name, limit
        self._jobs: queue.SimpleQueue[_Item] = queue.SimpleQueue()
        self._waiting = 0
        self._results: deque[tuple[_Item, Any, BaseException | None]] = deque()
        self._scheduled = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._connection: apsw.Connection | None = None
        self._ended: asyncio.Future[None] | None = None
        self._pid = os.getpid()

    async def start(self, seconds: float) -> None:
        """Open the connection. Raises what opening raises, translated."""
        self._loop = asyncio.get_running_loop()
        self._pid = os.getpid()
        self._ended = self._loop.create_future()
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()
        try:
            await self.run(lambda connection: None, seconds)
        except BaseException:
            await self.stop(seconds)
            raise

    async def stop(self, seconds: float) -> bool:
        """Finish what waits, close the connection, end the thread. Does not wait longer than `seconds`: False when
        the thread hangs by then, and may still write."""
        thread, self._thread = self._thread, None
        if thread is None or self._ended is None:
            return True
        self._jobs.put(_Item(None, None))
        await asyncio.wait({self._ended}, timeout=seconds)
        return self._ended.done()

    async def run(self, job: Job[T], seconds: float) -> T:
        """Run `job` in the thread. Raises `Overloaded` when too many wait or it did not get its turn in time,
        `Disconnected` when it was interrupted, and what it raises, SQLite's errors translated. Cancelled before
        its turn it does not run; cancelled while it runs, it goes on unheard."""
        loop = self._checked_loop()
        if self._waiting >= self._limit:
            raise Overloaded(f"{self._path}: {self._limit} jobs wait already")
        item = _Item(job, loop.create_future())
        assert item.future is not None
        self._waiting += 1
        self._jobs.put(item)
        timer = loop.call_later(seconds, self._expire, item, seconds)
        try:
            return await item.future  # type: ignore[no-any-return]
        except asyncio.CancelledError:
            item.wanted = False
            raise
        finally:
            timer.cancel()

    def post(self, job: Job[object]) -> None:
        """Run `job` after those before it, whatever becomes of it; for cleaning up behind a cancelled task. Nothing
        happens when the connection is closed already."""
        if self._thread is None:
            return
        self._waiting += 1
        self._jobs.put(_Item(job, self._checked_loop().create_future()))

    def _checked_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None or self._thread is None:
            raise Disconnected(f"{self._path} is not open")
        if os.getpid() != self._pid:
            raise JournalError(f"{self._path} was opened by process {self._pid}: open it again after a fork")
        return self._loop

    def _expire(self, item: _Item, seconds: float) -> None:
        future, loop, connection = item.future, self._loop, self._connection
        if future is None or future.done() or loop is None:
            return
        if item.state == 0:
            item.wanted = False
            future.set_exception(Overloaded(f"{self._path}: no turn within {seconds:g} s"))
        elif item.state == 1:
            item.state = 2
            if connection is not None:
                connection.interrupt()
            loop.call_later(_HANG_SECONDS, self._expire, item, seconds)
        elif item.state == 2:
            future.set_exception(Disconnected(f"{self._path}: the disk does not answer"))

    # --- in the thread

    def _run(self) -> None:
        failure: BaseException | None = None
        try:
            self._connection = self._connect()
            _connections.add(self._connection)
        except BaseException as error:  # told to whoever waits, with every job
            failure = error
        while True:
            item = self._jobs.get()
            if item.job is None:
                break
            result: Any = None
            raised = failure
            if item.wanted and self._connection is not None:
                item.state = 1
                try:
                    result = item.job(self._connection)
                except BaseException as error:  # raised again where the job's result is awaited
                    raised = error
                item.state = 3
            self._hand_over((item, result, raised))
            del item, result, raised
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._tell_loop(self._end)

    def _hand_over(self, result: tuple[_Item, Any, BaseException | None]) -> None:
        self._results.append(result)
        if not self._scheduled:
            self._scheduled = True
            self._tell_loop(self._drain)

    def _tell_loop(self, callback: Callable[[], None]) -> None:
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(callback)
        except RuntimeError:  # the loop was closed before us: nobody waits
            pass

    # --- in the loop

    def _drain(self) -> None:
        self._scheduled = False  # before taking: a result that comes now schedules anew
        while self._results:
            item, result, error = self._results.popleft()
            self._waiting -= 1
            future = item.future
            if future is None or future.done():
                continue
            if error is None:
                future.set_result(result)
            elif isinstance(error, apsw.Error):
                ours = translated(error, self._path)
                ours.__cause__ = error
                future.set_exception(ours)
            else:
                future.set_exception(error)

    def _end(self) -> None:
        self._drain()
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)


def _leave_to_the_parent() -> None:
    """In a forked child: never close what the parent has open, closing could delete its write-ahead log."""
    for connection in list(_connections):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))


os.register_at_fork(after_in_child=_leave_to_the_parent)


@contextmanager
def transaction(connection: apsw.Connection) -> Iterator[None]:
    """Write alone, all or nothing. In the connection's thread."""
    connection.execute("begin immediate")
    try:
        yield
        connection.execute("commit")
    except BaseException:
        if connection.in_transaction:
            connection.execute("rollback")
        raise


def translated(error: apsw.Error, path: str) -> SkerryError:
    """Our error for SQLite's; raise it `from` that one. A full disk, a file that cannot be written or a lock that does
    not go away is `Disconnected`: nothing was written, the same again may work once somebody has helped. A damaged file
    is `Corrupt`, anything else a `JournalError`."""
    if isinstance(error, _DAMAGED):
        return Corrupt(f"{path} is damaged or no SQLite database: {error}. Restore a back-up")
    for kind, meaning in _AWAY:
        if isinstance(error, kind):
            return Disconnected(f"{path}: {meaning} ({error})")
    return JournalError(f"{path}: {error}")
