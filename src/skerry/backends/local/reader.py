"""The journal as a peer has it: every call goes to the consumer that owns the file.

A `JournalReader` for projectors, and what reactors, `skerry journal` and `skerry dead` need besides. It can do
everything but decide: `prepare` and `batch` stay with the owner. Raises Disconnected while the owner is away.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import msgspec

from skerry.backends.local import calls, frames
from skerry.backends.local.peer import LocalPeer
from skerry.errors import Disconnected
from skerry.journal.journal import JournalPeer
from skerry.position import Position


class _RemoteJournal:
    """A `JournalPeer`: its methods but `snapshot` are made of `calls.SIGNATURES`."""

    def __init__(self, peer: LocalPeer) -> None:
        self._peer = peer

    @asynccontextmanager
    async def snapshot(self, tables: Sequence[str]) -> AsyncIterator[RemoteSnapshot]:
        peer = self._peer
        connection = peer.wire()
        number = next(peer.calls.numbers)
        try:
            first = self._expect(number)
            arguments = calls.encode([list(tables)])
            connection.send(frames.Call(number, calls.SNAPSHOT, arguments))
            data = await _answered(first, calls.SNAPSHOT, 60.0)
            yield RemoteSnapshot(self, number, msgspec.json.decode(data, type=Position))
        finally:
            peer.calls.waiting.pop(number, None)
            connection.send(frames.Cancel(number))

    async def call(self, method: str, *arguments: Any) -> Any:
        peer = self._peer
        connection = peer.wire()
        number = next(peer.calls.numbers)
        answer = self._expect(number)
        connection.send(frames.Call(number, method, calls.encode(arguments)))
        try:
            # A little longer than the owner waits, so that its own word comes first.
            data = await _answered(answer, method, calls.SIGNATURES[method].seconds + 1.0)
        except asyncio.CancelledError:
            connection.send(frames.Cancel(number))
            raise
        finally:
            peer.calls.waiting.pop(number, None)
        return calls.result_of(method, data)

    def _expect(self, number: int) -> asyncio.Future[frames.Result | frames.Fault]:
        future: asyncio.Future[frames.Result | frames.Fault] = asyncio.get_running_loop().create_future()
        self._peer.calls.waiting[number] = future
        return future

    def next_page(self, number: int, table: str) -> asyncio.Future[frames.Result | frames.Fault]:
        """Ask for a snapshot's next page of `table`; one request at a time."""
        future = self._expect(number)
        self._peer.wire().send(frames.Next(number, table))
        return future


def _remote(name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
    declared = calls.SIGNATURES[name].declared

    async def method(self: _RemoteJournal, *arguments: Any, **named: Any) -> Any:
        bound = declared.bind(*arguments, **named)
        bound.apply_defaults()
        return await self.call(name, *bound.args)

    return method


for each in calls.SIGNATURES:
    setattr(_RemoteJournal, each, _remote(each))


def remote_journal(peer: LocalPeer) -> JournalPeer:
    """A journal whose calls all go to the owner, by the connection of `peer`."""
    return cast(JournalPeer, _RemoteJournal(peer))


class RemoteSnapshot:
    """See `skerry.journal.journal.Snapshot`. One page is always read ahead."""

    def __init__(self, journal: _RemoteJournal, number: int, position: Position) -> None:
        self._journal, self._number = journal, number
        self.position = position

    async def rows(self, table: str) -> AsyncIterator[Sequence[tuple[str, bytes | str, int]]]:
        coming = self._journal.next_page(self._number, table)
        while True:
            page = calls.page_of(await _answered(coming, "a page of the snapshot", 60.0))
            if page is None:
                return
            coming = self._journal.next_page(self._number, table)
            yield page


async def _answered(future: asyncio.Future[frames.Result | frames.Fault], what: str, seconds: float) -> bytes:
    """The answer's bytes. Raises what the owner raised, or Disconnected when no answer came in time."""
    try:
        async with asyncio.timeout(seconds):
            answer = await future
    except TimeoutError as error:
        raise Disconnected(f"the consumer gave no answer to {what} within {seconds:g} s") from error
    match answer:
        case frames.Result(_, data):
            return data
        case frames.Fault(_, kind, values):
            raise calls.error_of(kind, values)
