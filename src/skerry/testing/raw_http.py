"""HTTP/1.1 spoken by hand over a socket: what goes over the wire is what the test wrote, and answers are read as
they come.

Not here: requests as clients send them (`client`), connections without a socket (`wire`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

SECONDS = 60.0
"""How long an answer may take on a machine that is busy."""


@dataclass
class RawAnswer:
    """An answer as it came. `ended`: the connection was closed before the body was complete."""

    status: int
    reason: str
    headers: dict[str, str]
    body: bytes = b""
    ended: bool = False


@dataclass
class RawConnection:
    """One connection to a port of this machine."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    informed: list[int] = field(default_factory=list)
    """Statuses of answers before the final one (100)."""

    @classmethod
    async def open(cls, port: int) -> RawConnection:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def send(self, *lines: str, body: bytes = b"") -> None:
        """A request: its first line, its fields (Host is added), its body."""
        first, *fields = lines
        self.writer.write("\r\n".join([first, "Host: test", *fields, "", ""]).encode("latin-1") + body)
        await self.writer.drain()

    async def head(self) -> RawAnswer:
        async with asyncio.timeout(SECONDS):
            while True:
                first, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                _, status, reason = first.split(" ", 2)
                if not status.startswith("1"):
                    break
                self.informed.append(int(status))
        headers: dict[str, str] = {}
        for line in filter(None, lines):
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        return RawAnswer(int(status), reason, headers)

    async def answer(self, *, method: str = "GET") -> RawAnswer:
        """A whole answer, framed as it says."""
        found = await self.head()
        if method == "HEAD" or found.status in (204, 304):
            return found
        try:
            async with asyncio.timeout(SECONDS):
                if found.headers.get("transfer-encoding") == "chunked":
                    while (chunk := await self.chunk()) is not None:
                        found.body += chunk
                elif "content-length" in found.headers:
                    found.body = await self.reader.readexactly(int(found.headers["content-length"]))
                else:
                    found.body = await self.reader.read()
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            found.body += getattr(error, "partial", b"")
            found.ended = True
        return found

    async def chunk(self) -> bytes | None:
        async with asyncio.timeout(SECONDS):
            size = int((await self.reader.readuntil(b"\r\n")).split(b";")[0], 16)
            data = await self.reader.readexactly(size)
            await self.reader.readexactly(2)
        return data if size else None

    async def ask(self, *lines: str, body: bytes = b"") -> RawAnswer:
        await self.send(*lines, body=body)
        return await self.answer(method=lines[0].partition(" ")[0])

    def close(self) -> None:
        self.writer.close()


async def ask(port: int, *lines: str, body: bytes = b"") -> RawAnswer:
    """One request on a connection of its own."""
    wire = await RawConnection.open(port)
    try:
        return await wire.ask(*lines, body=body)
    finally:
        wire.close()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that another thread does."""
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110  # a thread sets no asyncio event
            await asyncio.sleep(0.01)
