"""One application on each pair of backends: a process that decides, and one that serves (the same one on `memory:`).

Everything is composed as the roles do it, in one loop and without a socket for HTTP. Not here: real processes
(tests/e2e), what happens when parts die (tests/faults).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace

from skerry import App
from skerry.http.application import Application
from skerry.http.auth import Tokens
from skerry.journal.journal import JournalWriter
from skerry.kernel.kernel import Kernel
from skerry.kernel.metrics import register_memory_metrics
from skerry.kernel.routes import declare_routes
from skerry.kernel.settings import Settings
from skerry.roles.consumer import ConsumerRole
from skerry.roles.wiring import open_parts, plan
from skerry.server.websocket import WebSockets
from skerry.testing.client import Client


@dataclass(frozen=True, slots=True)
class Process:
    """One process of the application; `client` asks it over HTTP."""

    kernel: Kernel
    client: Client
    consumer: ConsumerRole | None


@dataclass(frozen=True, slots=True)
class Pair:
    """A pair of backends, empty. `settings` name them."""

    name: str
    settings: Settings

    @property
    def is_shared(self) -> bool:
        """Whether several consumers may work on the journal at a time."""
        return self.name in ("postgresql", "brokerless")

    @asynccontextmanager
    async def process(
        self, app: App, name: str, *, decides: bool, serves: bool = True
    ) -> AsyncIterator[Process]:
        """Run one process until the block ends."""
        settings = replace(self.settings, process=name)
        chosen = plan(
            settings,
            app.declaration.namespace,
            one_process=decides and serves,
            tables=[*app.declaration.tables],
        )
        async with AsyncExitStack() as stack:
            parts = await stack.enter_async_context(
                open_parts(app.declaration, settings, chosen, decides=decides, name=name)
            )
            kernel = Kernel(app.declaration, settings, parts.transport, parts.reader, parts.writer, name=name)
            register_memory_metrics(kernel)
            consumer = ConsumerRole(kernel, shared=parts.shared) if decides else None
            if consumer is not None:
                await consumer.start()
                stack.push_async_callback(consumer.stop)
            if serves:
                await kernel.start_reading()
                stack.push_async_callback(kernel.stop_reading)
                hub = declare_routes(kernel)
                tokens = Tokens.parse(settings.tokens, kernel.clock)
                kernel.application.compile(kernel.services.resolve, tokens, kernel.visibility.gate)
                hub.start()
                stack.push_async_callback(hub.drain)
            client = Client(kernel.application if serves else Application(), websocket=WebSockets())
            await stack.enter_async_context(client)
            yield Process(kernel, client, consumer)

    @asynccontextmanager
    async def running(self, app: App) -> AsyncIterator[tuple[Process, JournalWriter]]:
        """The process that serves, and the writing end of its journal."""
        if self.name == "memory":
            async with self.process(app, "one", decides=True) as one:
                assert one.kernel.writer is not None
                yield one, one.kernel.writer
        else:
            async with (
                self.process(app, "consumer-1", decides=True, serves=False) as decider,
                self.process(app, "server-1", decides=False) as server,
            ):
                assert decider.kernel.writer is not None
                yield server, decider.kernel.writer


async def until(true: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait until it holds; an assertion that never holds ends the test."""
    async with asyncio.timeout(seconds):
        while not true():  # noqa: ASYNC110 - what is waited for is somebody else's state
            await asyncio.sleep(0.005)
