"""The journal as a peer has it: every call goes to the consumer that owns the file.

A `JournalReader` for projectors, and what reactors, `skerry journal` and `skerry dead` need besides. It can do
everything but decide: `prepare` and `batch` stay with the owner. Raises Disconnected while the owner is away.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from skerry.backends.local import calls, frames
from skerry.backends.local.peer import LocalPeer
from skerry.errors import Disconnected
from skerry.journal.epochs import Epoch
from skerry.journal.journal import (
    Correction,
    DeadLetter,
    Head,
    Lease,
    LetterHead,
    Outcome,
    Reader,
    Record,
    StoredProjection,
)
from skerry.position import Position


class RemoteJournal:
    """See `skerry.journal.journal.JournalReader`; shares the connection of `peer`."""

    def __init__(self, peer: LocalPeer) -> None:
        self._peer = peer

    async def head(self, at: int | None = None) -> Head:
        return await self._call("head", at)  # type: ignore[no-any-return]

    async def epochs(self) -> Sequence[Epoch]:
        return await self._call("epochs")  # type: ignore[no-any-return]

    async def missed(self, position: Position) -> bool:
        return await self._call("missed", position)  # type: ignore[no-any-return]

    async def read(self, after: int, limit: int) -> Sequence[Record]:
        return await self._call("read", after, limit)  # type: ignore[no-any-return]

    async def outcome(self, command_id: str) -> Outcome | None:
        return await self._call("outcome", command_id)  # type: ignore[no-any-return]

    async def load_projection(self, name: str) -> StoredProjection | None:
        return await self._call("load_projection", name)  # type: ignore[no-any-return]

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

    # --- for reactors and stored projections

    async def save_projection(self, stored: StoredProjection) -> None:
        await self._call("save_projection", stored)

    async def cursor(self, subscriber: str) -> Position | None:
        return await self._call("cursor", subscriber)  # type: ignore[no-any-return]

    async def advance(self, subscriber: str, position: Position) -> None:
        await self._call("advance", subscriber, position)

    async def forget(self, subscriber: str) -> None:
        await self._call("forget", subscriber)

    async def acquire(self, name: str, owner: str, seconds: float) -> Lease | None:
        return await self._call("acquire", name, owner, seconds)  # type: ignore[no-any-return]

    async def release(self, lease: Lease) -> None:
        await self._call("release", lease)

    # --- for people

    async def dead_letters(self, after: str = "", limit: int = 100) -> Sequence[DeadLetter]:
        return await self._call("dead_letters", after, limit)  # type: ignore[no-any-return]

    async def letters(self, after: int = 0, limit: int = 100, waiting: bool = False) -> Sequence[LetterHead]:
        return await self._call("letters", after, limit, waiting)  # type: ignore[no-any-return]

    async def dead_letter(self, command_id: str) -> DeadLetter | None:
        return await self._call("dead_letter", command_id)  # type: ignore[no-any-return]

    async def bury(self, letter: DeadLetter) -> None:
        await self._call("bury", letter)

    async def exhume(self, command_id: str) -> bool:
        return await self._call("exhume", command_id)  # type: ignore[no-any-return]

    async def trim(self, before: Position) -> int:
        return await self._call("trim", before)  # type: ignore[no-any-return]

    async def verify(self) -> Sequence[str]:
        return await self._call("verify")  # type: ignore[no-any-return]

    async def tables(self) -> Sequence[str]:
        return await self._call("tables")  # type: ignore[no-any-return]

    async def readers(self) -> Sequence[Reader]:
        return await self._call("readers")  # type: ignore[no-any-return]

    async def forget_projection(self, name: str) -> None:
        await self._call("forget_projection", name)

    async def correct(self, correction: Correction) -> Position:
        return await self._call("correct", correction)  # type: ignore[no-any-return]

    async def new_epoch(self, reason: str = "asked for", common: int = 0) -> Position:
        return await self._call("new_epoch", reason, common)  # type: ignore[no-any-return]

    # --- the wire

    async def _call(self, method: str, *arguments: Any) -> Any:
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


class RemoteSnapshot:
    """See `skerry.journal.journal.Snapshot`. One page is always read ahead."""

    def __init__(self, journal: RemoteJournal, number: int, position: Position) -> None:
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
