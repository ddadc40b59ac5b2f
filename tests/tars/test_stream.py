"""One write for all that is sent in one turn; nothing is written after the end."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from skerry.tars.stream import FrameStream


class Transport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.ended = ""

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))

    def close(self) -> None:
        self.ended += "closed"

    def abort(self) -> None:
        self.ended += "aborted"


@pytest.fixture
async def stream() -> FrameStream:
    made = FrameStream(asyncio.get_running_loop(), 1000)
    made.connection_made(Transport())
    return made


def transport(stream: FrameStream) -> Transport:
    assert isinstance(stream.transport, Transport)
    return stream.transport


async def test_sends_of_one_turn_are_one_write(stream: FrameStream) -> None:
    """Three frames, one write, in order; the next turn writes again."""
    for frame in (b"a", b"b", b"c"):
        stream.send(frame)
    assert transport(stream).written == []
    await asyncio.sleep(0)
    stream.send(b"d")
    await asyncio.sleep(0)
    assert transport(stream).written == [b"abc", b"d"]


async def test_close_writes_what_is_gathered(stream: FrameStream) -> None:
    """Then it closes, once; what is sent later is dropped."""
    stream.send(b"last")
    stream.close()
    stream.close()
    stream.send(b"too late")
    await asyncio.sleep(0)
    assert transport(stream).written == [b"last"]
    assert transport(stream).ended == "closed"


async def test_abort_drops_what_is_gathered(stream: FrameStream) -> None:
    """Cut means cut."""
    stream.send(b"lost")
    stream.abort()
    await asyncio.sleep(0)
    assert transport(stream).written == []
    assert transport(stream).ended == "aborted"
