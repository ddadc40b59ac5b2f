"""A request that is passed on to another process, and its answer; and when the channel may be used again."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from skerry.exchange import Fields, Head
from skerry.server.relay import Channel, Relay
from skerry.testing import settle


class Asked:
    """The client's exchange, in memory. `told`: what it was answered."""

    broken = gone = closed = False
    room = True

    def __init__(self, method: str = "GET", body: bytes = b"", *fields: tuple[bytes, bytes]) -> None:
        length = [(b"content-length", b"%d" % len(body))] if body else []
        self.head: Any = Head(method, b"/tea", "1.1", [(b"host", b"shop"), *fields, *length])
        self._body = body
        self.started = self.finished = False
        self.told = list[object]()
        self.done = asyncio.Event()

    @property
    def complete(self) -> bool:
        return not self._body

    def take(self) -> bytes:
        body, self._body = self._body, b""
        return body

    def start(self, status: int, fields: Fields, *, reason: bytes = b"") -> None:
        self.started = True
        self.told.append(status)

    def reply(self, status: int, fields: Fields, data: bytes, *, reason: bytes = b"") -> None:
        self.told += [status, data]
        self._end()

    def write(self, data: bytes) -> None:
        self.told.append(data)

    def finish(self, data: bytes = b"") -> None:
        self.told.append(data)
        self._end()

    def finish_file(self, descriptor: int, offset: int, count: int) -> None:
        raise AssertionError("what comes over a channel is no file")

    def abort(self) -> None:
        self.told.append("aborted")
        self._end()

    def _end(self) -> None:
        self.finished = True
        self.done.set()


class Elsewhere:
    """The other process: the ends of channels that were sent to it."""

    def __init__(self) -> None:
        self.ends: list[socket.socket] = []

    def channel(self) -> Channel:
        return Channel(self.ends.append)

    async def heard(self, number: int = 0) -> bytes:
        """What has come, up to the end of a head at least."""
        end = self.ends[number]
        end.setblocking(False)
        data = b""
        while b"\r\n\r\n" not in data:
            data += await asyncio.get_running_loop().sock_recv(end, 65_536)
        return data

    def close(self) -> None:
        for end in self.ends:
            end.close()


async def answered(asked: Asked, answer: bytes, *, ends: bool = False) -> tuple[Channel, bytes]:
    """The channel after this answer, and what the other process was asked."""
    there = Elsewhere()
    channel = there.channel()
    async with asyncio.timeout(60):
        Relay(asked, channel, there.channel)
        heard = await there.heard()
        there.ends[0].sendall(answer)
        if ends:
            there.close()
        await asked.done.wait()
    there.close()
    return channel, heard


async def test_a_channel_may_be_used_again() -> None:
    """After a whole answer; fields of the client's connection do not travel."""
    asked = Asked("GET", b"", (b"connection", b"keep-alive, x-mine"), (b"x-mine", b"1"), (b"x-other", b"2"))
    channel, heard = await answered(asked, b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ntea")
    assert asked.told == [200, b"tea"]
    assert (channel.user, channel.served, channel.closed) == (None, 1, False)
    assert heard == b"GET /tea HTTP/1.1\r\nhost: shop\r\nx-other: 2\r\n\r\n"
    channel.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n\r\ntea",
        b"HTTP/1.1 200 OK\r\n\r\ntea",
    ],
)
async def test_a_channel_that_ends_with_its_answer_is_closed(answer: bytes) -> None:
    """It says so, or has no length; the answer is whole."""
    asked = Asked()
    channel, _ = await answered(asked, answer, ends=b"Length" not in answer)
    assert asked.told[0] == 200
    assert b"".join(each for each in asked.told if isinstance(each, bytes)) == b"tea"
    assert channel.closed


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\n", b"nonsense\r\n\r\n"]
)
async def test_a_request_that_may_have_had_an_effect_is_not_repeated(answer: bytes) -> None:
    """Its client is told that this is not known, or its answer breaks off."""
    asked = Asked("POST", b"order")
    _, heard = await answered(asked, answer, ends=True)
    assert heard.startswith(b"POST /tea HTTP/1.1\r\n")
    assert asked.told[0] == (200 if b"200" in answer else 502)
    assert asked.told[-1] == "aborted" or b"has ended" in asked.told[-1]  # type: ignore[operator]


async def test_a_safe_request_is_repeated_once() -> None:
    """Where its channel ended without a byte of an answer, over another one; then no more."""
    asked, there = Asked(), Elsewhere()
    async with asyncio.timeout(60):
        Relay(asked, there.channel(), there.channel)
        first = await there.heard(0)
        there.ends[0].close()
        while len(there.ends) < 2:  # noqa: ASYNC110  # a list sets no event
            await asyncio.sleep(0)
        assert await there.heard(1) == first
        there.ends[1].close()
        await asked.done.wait()
    assert asked.told[0] == 502
    assert len(there.ends) == 2


class BrokenOff(Asked):
    """A client that has left before its body was whole."""

    complete = False
    broken = True


async def test_a_body_that_breaks_off_is_the_end_of_what_is_sent() -> None:
    """The other process reads the end of the stream, and while it thinks about that, nothing is done here."""
    asked, there = BrokenOff("POST", b"or", (b"content-length", b"5")), Elsewhere()
    async with asyncio.timeout(60):
        Relay(asked, there.channel(), there.channel)
        assert (await there.heard()).endswith(b"or")
        assert await asyncio.get_running_loop().sock_recv(there.ends[0], 100) == b""
        await settle()
        there.ends[0].sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        await asked.done.wait()
    assert asked.told[0] == 400
    there.close()
