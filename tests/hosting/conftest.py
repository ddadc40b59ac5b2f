"""A hosted WSGI application on a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
import uvloop

from skerry.hosting.settings import HostSettings
from skerry.hosting.wsgi import Wsgi
from skerry.http.application import Application, ApplicationSettings
from skerry.loop.sockets import bind_tcp
from skerry.server.server import HttpServer
from skerry.server.settings import ServerSettings


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Every test of this wing runs on both loops."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


class Hosting:
    """`wsgi` and `server` of the last `serve`."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self.wsgi: Wsgi
        self.server: HttpServer

    async def __call__(
        self,
        application: Any,
        *,
        prefix: str = "/",
        limits: ServerSettings | None = None,
        around: Callable[[Application], None] = lambda application: None,
        **settings: Any,
    ) -> int:
        host = replace(HostSettings(), **settings)
        self.wsgi = Wsgi(application, host, prefix=prefix.rstrip("/").encode())
        http = Application(ApplicationSettings(openapi=None, docs=None))
        around(http)
        http.mount(prefix, self.wsgi, rights=None)
        self.server = server = HttpServer(http, limits)
        sock = bind_tcp("127.0.0.1", 0, setting="bind")
        await server.start([sock])
        self._stack.push_async_callback(server.stop, 2.0)
        return int(sock.getsockname()[1])


@asynccontextmanager
async def hosting() -> AsyncIterator[Hosting]:
    async with AsyncExitStack() as stack:
        yield Hosting(stack)


@pytest.fixture
async def serve() -> AsyncIterator[Hosting]:
    async with hosting() as found:
        yield found
