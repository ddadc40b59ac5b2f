"""A servant with one function of every kind, for the tests of client and server."""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

import skerry.tars
from skerry.tars.call import current
from skerry.tars.call_errors import ServantError
from skerry.tars.servant import lane
from skerry.tars.server import Server
from skerry.tars.wire.packet import FrameSplitter, RequestPacket, ResponsePacket, decode_reply, encode_request

OBJECT = "Test.Probe.ProbeObj"
ON_FREE_PORT = f"{OBJECT}@tcp -h 127.0.0.1 -p 0 -t 60000"

idl: Any = skerry.tars.load(Path(__file__).parent / "Probe.tars")


class ProbeServant(idl.Test.Probe):  # type: ignore[misc]
    """`gate(name)` waits until the test opens `gates[name]`; `entered[name]` says that it waits."""

    def __init__(self) -> None:
        self.gates: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self.entered: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self.calls: list[str] = []
        self.cancelled: list[str] = []

    async def echo(self, text: str) -> str:
        self.calls.append(text)
        return text

    async def gate(self, name: str) -> str:
        self.calls.append(name)
        self.entered[name].set()
        try:
            await self.gates[name].wait()
        except asyncio.CancelledError:
            self.cancelled.append(name)
            raise
        return name

    async def divide(self, a: int, b: int) -> tuple[int, int]:
        return a // b, a % b

    async def named(self, item: Any) -> Any:
        return idl.Test.Item(id=item.id + 1, name=item.name)

    async def nothing(self) -> None:
        self.calls.append("nothing")

    def thread(self) -> str:
        current()  # the call is known in the thread too
        return threading.current_thread().name

    @lane
    def lane(self, number: int) -> int:
        if number < 0:
            raise ValueError("negative")
        return number * 2

    async def about(self) -> dict[str, str]:
        call = current()
        call.reply_context["answered"] = "by probe"
        remaining = call.remaining_seconds()
        return {
            **{f"context.{key}": value for key, value in call.context.items()},
            **{f"status.{key}": value for key, value in call.status.items()},
            "function": call.function,
            "servant": call.servant,
            "peer": call.peer[0],
            "remaining": "none" if remaining is None else f"{remaining:.1f}",
        }

    async def refuse(self, code: int, text: str) -> int:
        raise ServantError(code, text)

    async def routed(self, user: int) -> int:
        self.calls.append(f"routed {user}")
        return user

    async def blob(self, size: int) -> bytes:
        return bytes(size)


Serve = Callable[..., Awaitable[tuple[Server, ProbeServant, str]]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Start a server of its own: `server, servant, address = await serve(limits=...)`; closed after the test."""
    async with AsyncExitStack() as stack:

        async def start(
            address: str = ON_FREE_PORT, *, tls: Any = None, **options: Any
        ) -> tuple[Server, ProbeServant, str]:
            options.setdefault("drain_seconds", 0.5)
            server, servant = Server(**options), ProbeServant()
            server.add(servant, address, tls=tls)
            await server.start()
            stack.push_async_callback(server.close)
            return server, servant, server.address(address.partition("@")[0])

        yield start


@pytest.fixture(scope="session")
def probe() -> Any:
    """The interface class."""
    return idl.Test.Probe


@pytest.fixture(scope="session")
def make_servant() -> type[ProbeServant]:
    """The servant class."""
    return ProbeServant


Until = Callable[[Callable[[], bool]], Awaitable[None]]


@pytest.fixture(scope="session")
def until() -> Until:
    """Wait for something that sockets bring about, a minute at most."""

    async def wait(truth: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not truth():  # noqa: ASYNC110  the other side of a socket sets no event
                await asyncio.sleep(0.001)

    return wait


class Raw:
    """A plain socket that speaks frames, and the requests for it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self.writer = reader, writer
        self._splitter = FrameSplitter()
        self._ready: list[bytes] = []

    @classmethod
    async def to(cls, server: Server, index: int = 0) -> Raw:
        endpoint = server.endpoints[index]
        return cls(*await asyncio.open_connection(endpoint.host, endpoint.port))

    def send(self, *packets: RequestPacket) -> None:
        self.writer.write(b"".join(encode_request(packet) for packet in packets))

    async def reply(self) -> ResponsePacket | None:
        """The next packet, None when the server closed."""
        while not self._ready:
            data = await self._reader.read(65536)
            if not data:
                return None
            self._ready = self._splitter.feed(data)
        return decode_reply(self._ready.pop(0))

    async def replies(self, count: int) -> list[ResponsePacket]:
        got = [await self.reply() for _ in range(count)]
        assert all(reply is not None for reply in got)
        return [reply for reply in got if reply is not None]

    @staticmethod
    def ping(number: int = 1, **fields: Any) -> RequestPacket:
        return RequestPacket(**{"request_id": number, "servant": OBJECT, "function": "tars_ping", **fields})

    @staticmethod
    def ask(number: int, function: str, *arguments: Any, **fields: Any) -> RequestPacket:
        body = idl.Test.Probe.__tars_interface__.functions[function].encode_args(arguments)
        return RequestPacket(
            **{"request_id": number, "servant": OBJECT, "function": function, "body": body, **fields}
        )


@pytest.fixture(scope="session")
def wire() -> type[Raw]:
    """`raw = await wire.to(server)`, `raw.send(wire.ping(), wire.ask(2, "echo", "x"))`, `await raw.replies(2)`."""
    return Raw
