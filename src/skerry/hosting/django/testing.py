"""Django's live tests on Skerry's own server: a client is answered as by `skerry host`.

class Shop(LiveServerTestCase): ...                            # from here, instead of django.test
class Pages(StaticLiveServerTestCase):                         # or in a class of Django's
    server_thread_class = LiveServer
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from django.core.handlers.wsgi import WSGIHandler
from django.db import connections
from django.test import testcases

from skerry.hosting.release import Release
from skerry.hosting.settings import HostSettings
from skerry.hosting.wsgi import Wsgi
from skerry.http.application import Application, ApplicationSettings
from skerry.loop.sockets import bind_tcp
from skerry.server.server import HttpServer

DRAIN_SECONDS = 5.0
END_SECONDS = 60.0


class LiveServer(testcases.LiveServerThread):  # type: ignore[misc]
    """The thread of a live test case: a loop with our server, and the threads of a hosted application."""

    port: int
    settings = HostSettings()
    """Threads, queue and time of the hosted application."""

    def run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception as error:
            self.error = error
        finally:
            self.is_ready.set()
            connections.close_all()

    def terminate(self) -> None:
        """Answer what is under way, then end."""
        if self.is_alive():
            self._running.call_soon_threadsafe(self._ending.set)
        self.join(END_SECONDS)

    async def _serve(self) -> None:
        self._running, self._ending = asyncio.get_running_loop(), asyncio.Event()
        handler = self.static_handler(testcases._MediaFilesHandler(WSGIHandler()))
        wsgi = Wsgi(_Sharing(handler, self.connections_override or {}), self.settings, release=_release())
        wsgi.drain_seconds = DRAIN_SECONDS
        around = Application(ApplicationSettings(openapi=None, docs=None))
        around.mount("/", wsgi, rights=None)
        server = HttpServer(around)
        sock = bind_tcp(self.host, self.port, setting="port")
        await server.start([sock])
        self.port = sock.getsockname()[1]
        self.is_ready.set()
        try:
            await self._ending.wait()
        finally:
            await server.stop(DRAIN_SECONDS)


class LiveServerTestCase(testcases.LiveServerTestCase):  # type: ignore[misc]
    """Django's, on our server."""

    server_thread_class = LiveServer


class _Sharing:
    """An application whose threads use the test's own connections: those to databases in memory."""

    def __init__(self, application: Callable[..., Any], shared: Mapping[str, Any]) -> None:
        self._application, self._shared = application, shared

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        for alias, connection in self._shared.items():
            connections[alias] = connection
        return self._application(environ, start_response)


@cache
def _release() -> Release:
    """One for all servers of this process: it listens to Django's signals."""
    return Release.of_what_is_loaded()
