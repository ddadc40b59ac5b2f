"""Answers the journal calls of peers, in the process that owns the file.

Each call is a task; a peer may have a bounded number of them under way. A snapshot is a call that stays: it reads
page after page as the peer asks, in one transaction, and is given up when the peer stops asking.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from skerry.backends.local import calls, frames
from skerry.backends.local.hub import Peer
from skerry.errors import DeadlineExceeded, Disconnected, Overloaded, SkerryError
from skerry.journal.journal import JournalReader

MAX_CALLS_PER_PEER = 64
SNAPSHOT_IDLE_SECONDS = 30.0


class JournalService:
    """`serve(journal)` says what is read; calls that come earlier wait for it, within their time."""

    def __init__(self, snapshot_idle_seconds: float = SNAPSHOT_IDLE_SECONDS) -> None:
        self._snapshot_idle_seconds = snapshot_idle_seconds
        self._journal: JournalReader | None = None
        self._ready = asyncio.Event()
        self._tasks: dict[tuple[Peer, int], asyncio.Task[None]] = {}
        self._asked: dict[tuple[Peer, int], asyncio.Queue[str]] = {}

    def serve(self, journal: JournalReader) -> None:
        self._journal = journal
        self._ready.set()

    async def stop(self) -> None:
        """End all calls; their peers are told by the end of the connection."""
        self._ready.clear()
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    # --- told by the hub

    def call(self, peer: Peer, call: frames.Call) -> None:
        if sum(1 for owner, _ in self._tasks if owner is peer) >= MAX_CALLS_PER_PEER:
            _fault(peer, call.number, Overloaded(f"{MAX_CALLS_PER_PEER} journal calls are under way"))
            return
        key = (peer, call.number)
        task = asyncio.create_task(self._answer(peer, call), name=f"skerry-local-{call.method}")
        self._tasks[key] = task
        task.add_done_callback(lambda _: self._tasks.pop(key, None))

    def next(self, peer: Peer, request: frames.Next) -> None:
        asked = self._asked.get((peer, request.number))
        if asked is None:
            _fault(peer, request.number, Disconnected("that snapshot is closed"))
        elif not asked.full():
            asked.put_nowait(request.what)

    def cancel(self, peer: Peer, number: int) -> None:
        task = self._tasks.get((peer, number))
        if task is not None:
            task.cancel()

    def forget(self, peer: Peer) -> None:
        for (owner, _), task in list(self._tasks.items()):
            if owner is peer:
                task.cancel()

    # --- answering

    async def _answer(self, peer: Peer, call: frames.Call) -> None:
        """One call, whatever it raises told to the peer: the edge between two processes."""
        try:
            if call.method == calls.SNAPSHOT:
                await self._snapshot(peer, call)
                return
            arguments = calls.arguments_of(call.method, call.arguments)
            async with asyncio.timeout(calls.SIGNATURES[call.method].seconds):
                journal = await self._opened()
                method: Callable[..., Awaitable[Any]] = getattr(journal, call.method)
                result = await method(*arguments)
            peer.connection.send(frames.Result(call.number, calls.encode_result(call.method, result)))
        except TimeoutError:
            seconds = calls.SECONDS.get(call.method, calls.USUAL_SECONDS)
            _fault(peer, call.number, DeadlineExceeded(call.method, seconds))
        except Exception as error:
            _fault(peer, call.number, error)

    async def _opened(self) -> JournalReader:
        await self._ready.wait()
        assert self._journal is not None
        return self._journal

    async def _snapshot(self, peer: Peer, call: frames.Call) -> None:
        (tables,) = msgspec.json.decode(call.arguments, type=calls.SnapshotArguments)
        key = (peer, call.number)
        async with asyncio.timeout(self._snapshot_idle_seconds):
            journal = await self._opened()
        asked = self._asked[key] = asyncio.Queue(maxsize=4)
        try:
            async with journal.snapshot(tables) as snapshot:
                peer.connection.send(frames.Result(call.number, calls.encode(snapshot.position)))
                pages: dict[str, Any] = {}
                while True:
                    async with asyncio.timeout(self._snapshot_idle_seconds):
                        table = await asked.get()
                    if table not in tables:
                        raise SkerryError(f"table {table!r} is not part of this snapshot")
                    rows = pages.get(table)
                    if rows is None:
                        rows = pages[table] = aiter(snapshot.rows(table))
                    page = await anext(rows, None)
                    data = b"null" if page is None else calls.encode_page(page)
                    peer.connection.send(frames.Result(call.number, data))
        finally:
            del self._asked[key]


def _fault(peer: Peer, number: int, error: BaseException) -> None:
    kind, values = calls.error_values(error)
    peer.connection.send(frames.Fault(number, kind, values))
