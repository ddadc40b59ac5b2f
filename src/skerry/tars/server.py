"""A Tars server: servants, each at one or more endpoints, from start to drain.

Declares and orders; the work is in `listener`, `adapter` and `protocol`. A whole program:

    server = Server()
    server.add(HelloServant(), "Demo.HelloServer.HelloObj@tcp -h 127.0.0.1 -p 9000 -t 60000")
    asyncio.run(server.run())
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType

from skerry.errors import DeclarationError, LifecycleError
from skerry.injection import Resolve
from skerry.tars.access import EVERYBODY, AccessList
from skerry.tars.account import Account
from skerry.tars.adapter import Adapter, Observer
from skerry.tars.dyeing import Dyeing
from skerry.tars.endpoint import Endpoint, ObjectAddress
from skerry.tars.limits import AdapterLimits
from skerry.tars.listener import Door, Listener, ListenerState
from skerry.tars.servant import Servant, no_services

log = logging.getLogger("skerry.tars.server")


@dataclass(frozen=True, slots=True)
class _Place:
    servant: Servant
    endpoint: Endpoint
    limits: AdapterLimits
    door: Door
    threads: int


class Server:
    """Servants and their endpoints.

    `threads` bounds the pool in which plain functions run; `drain_seconds` is how long `stop` waits for calls
    under way; `required_set` (`name.area.group`) refuses callers of another set; `observer` is told of every
    call that reached a function; `reuse_port` lets several processes listen on one port.
    """

    def __init__(
        self,
        *,
        limits: AdapterLimits | None = None,
        threads: int = 16,
        drain_seconds: float = 10.0,
        required_set: str = "",
        observer: Observer | None = None,
        reuse_port: bool = False,
    ) -> None:
        self._limits = limits or AdapterLimits()
        self._threads, self._drain_seconds = threads, drain_seconds
        self._required_set, self._observer, self._reuse_port = required_set, observer, reuse_port
        self.dyeing = Dyeing()
        """Which calls are dyed here."""
        self._places: list[_Place] = []
        self._listeners: list[Listener] = []
        self._pools: dict[int, ThreadPoolExecutor] = {}
        self._state = "created"

    def add(
        self,
        servant: object,
        address: str,
        *,
        limits: AdapterLimits | None = None,
        tls: ssl.SSLContext | None = None,
        access: AccessList | None = None,
        threads: int = 0,
        shared: socket.socket | None = None,
        account: Account | None = None,
        resolve: Resolve = no_services,
    ) -> None:
        """Serve `servant` at `App.Server.Obj@tcp -h ... -p ...[:udp ...]`; each endpoint has limits of its own.

        `access`: which addresses may connect. `threads`: a pool of its own for plain functions (0: the server's).
        `shared`: a socket for the endpoint that is bound already, as by a parent process whose children all accept
        from it; it is closed when this server stops listening. `account`: what clients of endpoints with `-e 1` prove.
        `resolve` gives the services that functions take by their type; in a test `{Database: fake}.__getitem__`.

        Raises DeclarationError when the servant does not implement its interface, or nothing fills a parameter,
        EndpointError for a bad address. Port 0 takes a free port; `endpoints` tells which.
        """
        if self._state != "created":
            raise LifecycleError("add a servant", self._state, ())
        parsed = ObjectAddress.parse(address)
        if not parsed.endpoints:
            raise DeclarationError(
                f"{address}: say where to listen, as {parsed.name}@tcp -h 127.0.0.1 -p 9000"
            )
        implementation = Servant.of(parsed.name, servant, resolve)
        door = Door(tls, access or EVERYBODY, shared, self._reuse_port, account)
        for endpoint in parsed.endpoints:
            self._places.append(_Place(implementation, endpoint, limits or self._limits, door, threads))

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """The endpoints on which it listens, in the order of `add`; with real ports once started."""
        if self._listeners:
            return tuple(listener.endpoint for listener in self._listeners)
        return tuple(place.endpoint for place in self._places)

    def address(self, name: str) -> str:
        """The address under which clients reach the servant of that name: `name@tcp -h ... -p ...`."""
        found = tuple(state.endpoint for state in self.states() if state.object_name == name)
        if not found:
            raise DeclarationError(f"no servant {name} is being served")
        return str(ObjectAddress(name, found))

    def states(self) -> tuple[ListenerState, ...]:
        """The state and counters of every endpoint."""
        return tuple(listener.state for listener in self._listeners)

    async def start(self) -> None:
        """Listen everywhere or nowhere: when one endpoint cannot be bound the others are closed again."""
        if self._state != "created":
            raise LifecycleError("start", self._state, ())
        if not self._places:
            raise DeclarationError("a Tars server without servants: call add() first")
        loop = asyncio.get_running_loop()
        self._state = "started"
        try:
            for place in self._places:
                pool = self._pool_of(place) if place.servant.needs_threads else None
                adapter = Adapter(
                    place.servant, place.limits, loop, pool, self._observer, self._required_set, self.dyeing
                )
                listener = Listener(adapter, place.endpoint, loop, place.door)
                await listener.start()
                self._listeners.append(listener)
                log.info("%s listens on %s", place.servant.name, listener.endpoint)
        except BaseException:
            await self.close()
            raise

    def hold(self) -> None:
        """Take no new connections from shared sockets for now; those that are open are served."""
        for listener in self._listeners:
            listener.hold()

    def resume(self) -> None:
        """The reverse of `hold`."""
        for listener in self._listeners:
            listener.resume()

    async def stop(self, drain_seconds: float | None = None) -> bool:
        """Drain, then close: stop listening, tell clients to reconnect elsewhere, finish calls in progress
        within `drain_seconds`, cancel the rest. True when nothing had to be cancelled."""
        if self._state != "started":
            return True
        self._state = "draining"
        seconds = self._drain_seconds if drain_seconds is None else drain_seconds
        for listener in self._listeners:
            listener.stop_listening()
        drained = await asyncio.gather(*(listener.drain(seconds) for listener in self._listeners))
        await self.close()
        return all(drained)

    async def close(self) -> None:
        """End at once; calls under way are cancelled and answered with an error."""
        self._state = "stopped"
        await asyncio.gather(*(listener.close() for listener in self._listeners))
        for pool in self._pools.values():
            pool.shutdown(wait=False, cancel_futures=True)

    def _pool_of(self, place: _Place) -> ThreadPoolExecutor:
        """Of its own, or the one that all others share."""
        key = id(place.servant) if place.threads else 0
        if key not in self._pools:
            self._pools[key] = ThreadPoolExecutor(place.threads or self._threads, thread_name_prefix="tars")
        return self._pools[key]

    async def run(self, started: Callable[[Server], None] | None = None) -> None:
        """Start, serve until SIGINT or SIGTERM, drain. `started` is called once it listens. A second signal
        ends the drain."""
        loop = asyncio.get_running_loop()
        await self.start()
        stop, hurry = asyncio.Event(), asyncio.Event()

        def on_signal() -> None:
            (hurry if stop.is_set() else stop).set()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, on_signal)
        try:
            if started is not None:
                started(self)
            await stop.wait()
            draining = loop.create_task(self.stop())
            impatient = loop.create_task(hurry.wait())
            await asyncio.wait({draining, impatient}, return_when=asyncio.FIRST_COMPLETED)
            impatient.cancel()
            if not draining.done():
                draining.cancel()
            await asyncio.gather(draining, impatient, return_exceptions=True)
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)
            await self.close()

    async def __aenter__(self) -> Server:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
