"""A whole application for a test: commands, memory, reactors and HTTP, on `memory:`, without a socket.

    async with running(app) as world:
        answer = await world.client.put("/values/mykey", body="myvalue")
        assert answer.status == 200
        await world.commands.send(PutValue("other", "x"))      # straight to the bus
        assert world.service(Values).get("other")

It is composed as `skerry run` composes it (roles/composition.py): the same roles, supervision, routes and services.
With `clock=VirtualClock()` what the application's time says is up to the test (`await world.clock.advance(60)`), and
`replace={Mailer: FakeMailer()}` puts an object of the test's in place of a service.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import TypeVar

from skerry.app import App
from skerry.backends.memory.journal import MemoryJournal
from skerry.backends.memory.transport import MemoryHub
from skerry.bus.bus import CommandBus, QueryBus
from skerry.clock import Clock, SystemClock
from skerry.http.hub import Hub
from skerry.journal.journal import JournalWriter, Record
from skerry.kernel.kernel import Kernel
from skerry.kernel.runtime import Runtime
from skerry.kernel.settings import Settings
from skerry.roles.composition import Composition, compose
from skerry.roles.consumer import ConsumerRole
from skerry.roles.server import ServerRole
from skerry.roles.wiring import Parts
from skerry.server.settings import ServerSettings
from skerry.testing.client import Client

T = TypeVar("T")
logger = logging.getLogger("skerry.testing")
PATIENCE = ServerSettings(gone_seconds=1.0)
"""Streams that a test leaves are ended after a second."""


class World:
    """A running application. `client` asks it over HTTP, `commands` and `queries` are its buses."""

    def __init__(self, composition: Composition, client: Client) -> None:
        assert composition.kernel is not None
        self.composition, self.client = composition, client
        self.kernel: Kernel = composition.kernel
        consumer, server = composition.roles
        assert isinstance(consumer, ConsumerRole)
        assert isinstance(server, ServerRole)
        self.consumer, self.server = consumer, server

    @property
    def hub(self) -> Hub:
        """The listeners of the stream of events."""
        assert self.server.hub is not None
        return self.server.hub

    @property
    def runtime(self) -> Runtime:
        """The process: its state, its supervisors, its loop."""
        return self.composition.runtime

    @property
    def commands(self) -> CommandBus:
        """Sends commands and waits for their outcomes."""
        return self.kernel.commands

    @property
    def queries(self) -> QueryBus:
        """Asks queries."""
        return self.kernel.queries

    @property
    def clock(self) -> Clock:
        """The time of the process."""
        return self.kernel.clock

    @property
    def journal(self) -> JournalWriter:
        """The journal."""
        assert self.kernel.writer is not None
        return self.kernel.writer

    def service(self, kind: type[T]) -> T:
        """The object that a handler or view gets for a parameter of that type: a projection, a bus, ..."""
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
    replace: Mapping[type, object] | None = None,
) -> AsyncIterator[World]:
    """Run `app` until the block ends. `token`: sent with the client's requests. `journal`: instead of memory, for an
    application in SQL mode: `SqliteJournal(str(tmp_path / "a.db"), "test")`. `replace`: objects that views, handlers
    and all others get for a type, instead of what the application makes. Raises DeclarationError for an application
    that contradicts itself, as at a real start."""
    chosen = settings or Settings(journal="memory:", transport="memory:", warm_start=False)
    chosen = chosen.over(app.declaration.settings).over((PATIENCE,))
    time = clock or SystemClock()
    async with AsyncExitStack() as stack:
        kept = await stack.enter_async_context(journal or MemoryJournal(clock=time))
        transport = MemoryHub().endpoint("test")
        await transport.start()
        stack.push_async_callback(transport.stop)
        composition = compose(
            app.declaration, chosen, ("consumer", "server"), Parts(transport, kept, kept),
            name="test", clock=time, replace=replace, hard_exit=_note_stuck,
        )  # fmt: skip
        await composition.runtime.start()
        stack.push_async_callback(composition.runtime.destroy)
        [(_, server)] = composition.listening
        assert isinstance(server, ServerRole)
        client = await stack.enter_async_context(Client(server.http, token=token))
        yield World(composition, client)


def _note_stuck(code: int) -> None:
    logger.critical(
        "the application could not end by itself; as a process it would have ended with code %d", code
    )
