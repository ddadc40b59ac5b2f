"""One process on memory: a consumer, and a socket for the role that serves beside it."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from skerry import App
from skerry.backends.memory.journal import MemoryJournal
from skerry.backends.memory.transport import MemoryHub
from skerry.kernel.kernel import Kernel
from skerry.kernel.metrics import register_memory_metrics
from skerry.kernel.settings import Settings
from skerry.loop.sockets import bind_tcp
from skerry.roles.consumer import ConsumerRole
from skerry.roles.server import ServerRole

R = TypeVar("R", bound=ServerRole)


@dataclass
class OneProcess:
    kernel: Kernel
    consumer: ConsumerRole
    listener: socket.socket
    stack: AsyncExitStack

    @property
    def port(self) -> int:
        return int(self.listener.getsockname()[1])

    async def serve(self, kind: type[R]) -> R:
        """A role of this kind that is started, and stopped with the process."""
        role = kind(self.kernel, [self.listener])
        await role.start()
        self.stack.push_async_callback(role.stop)
        return role


@asynccontextmanager
async def one_process(
    app: App, journal: MemoryJournal | None = None, *, drain: float = 1.0, **settings: Any
) -> AsyncIterator[OneProcess]:
    """The consumer works; nothing serves yet."""
    chosen = Settings(journal="memory:", transport="memory:", warm_start=False, drain=drain, **settings)
    async with AsyncExitStack() as stack:
        journal = await stack.enter_async_context(journal or MemoryJournal())
        transport = MemoryHub().endpoint("one")
        await transport.start()
        stack.push_async_callback(transport.stop)
        kernel = Kernel(app.declaration, chosen, transport, journal, journal, name="one")
        register_memory_metrics(kernel)
        consumer = ConsumerRole(kernel)
        await consumer.start()
        stack.push_async_callback(consumer.stop)
        listener = stack.enter_context(bind_tcp("127.0.0.1", 0))
        yield OneProcess(kernel, consumer, listener, stack)
