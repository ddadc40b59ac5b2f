"""The way out: hands out proxies and owns everything that they need.

`async with Communicator() as c: proxy = c.proxy(Interface, "App.Server.Obj@tcp -h ... -p ...")`. Proxies of one
object share its connections and what is known about the health of its endpoints. When the block ends all
connections are closed and every task has ended.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, TypeVar

from skerry.errors import LifecycleError
from skerry.tars.client import ObjectClient
from skerry.tars.endpoint import ObjectAddress
from skerry.tars.locator import Locator
from skerry.tars.proxy import changed, make_proxy
from skerry.tars.settings import CallOptions, ClientSettings

T = TypeVar("T")


class Communicator:
    """Proxies and their connections.

    `locator` finds objects whose address has no endpoints. `settings` says how to connect. Further keywords are
    the `CallOptions` that proxies start with, as `timeout_seconds=1`.
    """

    def __init__(
        self, *, locator: Locator | None = None, settings: ClientSettings | None = None, **options: Any
    ) -> None:
        self._locator, self._settings = locator, settings or ClientSettings()
        self._options = changed(CallOptions(), options)
        self._clients: dict[ObjectAddress, ObjectClient] = {}
        self._closed = False

    def proxy(self, interface: type[T], address: str, **options: Any) -> T:
        """A proxy of `interface` for the object at `address`; nothing is connected before the first call.

        Raises EndpointError for a bad address and DeclarationError when `interface` is none.
        """
        return make_proxy(interface, self.client(address), changed(self._options, options))

    def client(self, address: str) -> ObjectClient:
        """The client of an object, shared by all proxies with the same address."""
        if self._closed:
            raise LifecycleError("make a proxy", "closed", ())
        parsed = ObjectAddress.parse(address)
        client = self._clients.get(parsed)
        if client is None:
            client = self._clients[parsed] = ObjectClient(parsed, self._settings, self._locator)
        return client

    @property
    def clients(self) -> tuple[ObjectClient, ...]:
        """Every object that was asked for, with counters and endpoints."""
        return tuple(self._clients.values())

    async def close(self) -> None:
        """Close all connections; calls under way raise ConnectionLost. May be called twice."""
        self._closed = True
        await asyncio.gather(*(client.close() for client in self._clients.values()))

    async def __aenter__(self) -> Communicator:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
