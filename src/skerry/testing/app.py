"""A whole application for a test: commands, memory, reactors and HTTP, on `memory:`, without a socket.

    async with running(app) as world:
        answer = await world.client.put("/values/mykey", body="myvalue")
        assert answer.status == 200
        await world.commands.send(PutValue("other", "x"))      # straight to the bus
        assert world.service(Values).get("other")

Everything is real: the same consumer, projector, lane and protocol as in production. With `clock=VirtualClock()`
what the application's time says is up to the test (`await world.clock.advance(60)`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import TypeVar

from skerry.app import App
from skerry.backends.memory.journal import MemoryJournal
from skerry.backends.memory.transport import MemoryHub
from skerry.bus.bus import CommandBus, QueryBus
from skerry.clock import Clock, SystemClock
from skerry.http.auth import Tokens
from skerry.http.hub import Hub
from skerry.journal.journal import JournalWriter, Record
from skerry.kernel.kernel import Kernel
from skerry.kernel.routes import declare_routes
from skerry.kernel.settings import Settings
from skerry.roles.bridging import bridged
from skerry.roles.consumer import ConsumerRole
from skerry.server.websocket import WebSockets, WebSocketSettings
from skerry.testing.client import Client

T = TypeVar("T")


class World:
    """A running application. `client` asks it over HTTP, `commands` and `queries` are its buses."""

    def __init__(self, kernel: Kernel, consumer: ConsumerRole, client: Client, hub: Hub) -> None:
        self.kernel, self.consumer, self.client, self.hub = kernel, consumer, client, hub

    @property
    def commands(self) -> CommandBus:
        return self.kernel.commands

    @property
    def queries(self) -> QueryBus:
        return self.kernel.queries

    @property
    def clock(self) -> Clock:
        return self.kernel.clock

    @property
    def journal(self) -> JournalWriter:
        assert self.kernel.writer is not None
        return self.kernel.writer

    def service(self, kind: type[T]) -> T:
        """What a handler or view would get for an annotation of that type: a projection, a bus, ..."""
        return self.kernel.services.resolve(kind)

    async def events(self) -> list[Record]:
        """Every event so far, as it stands in the journal."""
        found: list[Record] = []
        while page := await self.journal.read(found[-1].offset if found else 0, 1000):
            found += page
        return found


@asynccontextmanager
async def running(
    app: App,
    *,
    settings: Settings | None = None,
    clock: Clock | None = None,
    token: str | None = None,
    journal: AbstractAsyncContextManager[JournalWriter] | None = None,
) -> AsyncIterator[World]:
    """Run `app` until the block ends. `token`: sent with the client's requests. `journal`: instead of memory, for an
    application in SQL mode: `SqliteJournal(str(tmp_path / "a.db"), "test")`. Raises DeclarationError for an
    application that contradicts itself, as at a real start."""
    chosen = settings or Settings(journal="memory:", transport="memory:", warm_start=False)
    chosen = chosen.over(app.declaration.settings)
    time = clock or SystemClock()
    async with AsyncExitStack() as stack:
        kept = await stack.enter_async_context(journal or MemoryJournal(clock=time))
        transport = MemoryHub().endpoint("test")
        await transport.start()
        stack.push_async_callback(transport.stop)
        kernel = Kernel(app.declaration, chosen, transport, kept, kept, clock=time, name="test")
        consumer = ConsumerRole(kernel)
        await consumer.start()
        stack.push_async_callback(consumer.stop)
        await kernel.start_reading()
        stack.push_async_callback(kernel.stop_reading)
        stack.enter_context(bridged(kernel))
        hub = declare_routes(kernel)
        tokens = Tokens.parse(chosen.tokens, time)
        kernel.application.compile(kernel.services.resolve, tokens, kernel.visibility.gate)
        hub.start()
        stack.push_async_callback(hub.drain)
        client = Client(kernel.application, websocket=WebSockets(chosen.of(WebSocketSettings)), token=token)
        await stack.enter_async_context(client)
        yield World(kernel, consumer, client, hub)
