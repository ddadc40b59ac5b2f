"""Our WSGI host does what a WSGI host has to do, over its own server and behind ASGI middleware."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send
from tests.hosting.conftest import hosting

from skerry.http.application import Application
from skerry.testing.wsgi import Serve, WsgiSuite


class TestOurs(WsgiSuite):
    """`serve` is the fixture of this directory."""


class Passing:
    """A middleware that does nothing but stand in between."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


def _covered(application: Application) -> None:
    application.middleware(Passing)


class TestBehindMiddleware(WsgiSuite):
    """The same over a scope, `receive` and `send`, as under a foreign ASGI server."""

    keeps_reason = False

    @pytest.fixture
    async def serve(self) -> AsyncIterator[Serve]:
        async with hosting() as found:
            yield partial(found, around=_covered)
