"""An HTTP server on sockets that somebody else opened: listening ones, or single connections accepted elsewhere.

Not here: signals, binding, processes; a role does those. The server starts and stops its application's mounts with
itself, sweeps slow connections, and can hold (accept nothing, keep what is open), resume and drain.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import time
from collections.abc import Iterable, Iterator, Sequence

from skerry.emitter import EventEmitter
from skerry.errors import LifecycleError
from skerry.http.application import Application
from skerry.loop.pacing import call_in_step
from skerry.loop.passing import Passed
from skerry.loop.proxy_head import ProxyReport
from skerry.loop.sockets import bound_unsent
from skerry.server.arrival import arrive, comes_from
from skerry.server.moving import Moves, Moving
from skerry.server.protocol import Connection
from skerry.server.settings import ServerSettings
from skerry.server.state import Around, OnAnswer, Served, State, WebSocketFactory
from skerry.server.websocket import WebSockets
from skerry.telemetry import Metric, Sample

logger = logging.getLogger("skerry.server")
ACCEPT_AGAIN_SECONDS = 1.0
"""The pause after descriptors or memory have run out."""


class HttpServer:
    """Serves one application. Emits on `emitter`: `started`, `connection`, `held`, `resumed`, `draining`, `drained`,
    `stopped` (no arguments), `slow_view` (view name, seconds).

    Start it in the loop that shall serve; `start` compiles an application that is not yet compiled. `websocket` makes
    the protocol of an upgraded connection: `WebSockets()`, with its settings, unless given. `tls`: a context in
    the place of one by the settings' certificate. `moves`: where connections go whose requests other processes answer.
    `on_answer` is told of each answer, but for those of the lane within QUICK_SECONDS, which are only counted. `around`
    makes what stands around everything that answers off the lane.
    """

    def __init__(
        self,
        application: Application,
        settings: ServerSettings | None = None,
        *,
        emitter: EventEmitter | None = None,
        websocket: WebSocketFactory | None = None,
        tls: ssl.SSLContext | None = None,
        moves: Moves | None = None,
        on_answer: OnAnswer | None = None,
        around: Around | None = None,
    ) -> None:
        self.application = application
        self.moves = moves
        self.settings = settings or ServerSettings()
        self.emitter = emitter or EventEmitter()
        self.status = "new"
        self._websocket = websocket or WebSockets()
        self._on_answer, self._around = on_answer, around
        self._tls = tls or self.settings.tls()
        # A handshake is the first part of a request.
        self._handshake_seconds = None if self._tls is None else self.settings.head_seconds
        self._sockets: list[socket.socket] = []
        self._servers: list[asyncio.Server] = []
        outside = self.settings.outside
        self._trusted = None if outside is None else outside.trusted
        self._accepting: dict[asyncio.Task[None], socket.socket] = {}
        self._attaching: set[asyncio.Task[None]] = set()
        self._arriving: set[Served] = set()
        self._state: State | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._empty = asyncio.Event()

    @property
    def state(self) -> State:
        if self._state is None:
            raise LifecycleError("use the server", self.status, ("start",))
        return self._state

    @property
    def connections(self) -> int:
        """Open connections, websockets included, and those that are just being attached: a balancer goes by it."""
        if self._state is None:
            return 0
        known = self._state.connections
        return len(known) + len(self._arriving - known)

    @property
    def answered(self) -> int:
        """Requests that were answered so far."""
        if self._state is None:
            return 0
        routes = sum(sum(route.counts.values()) for route in self.application.table.routes)
        return routes + sum(self._state.counts.values())

    @property
    def addresses(self) -> list[str]:
        """What the listening sockets are bound to, as URLs."""
        scheme = "http" if self._tls is None else "https"
        found = []
        for each in self._sockets:
            name = each.getsockname()
            if isinstance(name, str):
                found.append(f"{scheme}+unix:{name}")
            else:
                host = f"[{name[0]}]" if ":" in name[0] else name[0]
                found.append(f"{scheme}://{host}:{name[1]}")
        return found

    async def start(self, sockets: Sequence[socket.socket] = ()) -> None:
        """Start the mounts, then accept on `sockets` (bound and listening or not; closed by `stop`).

        Raises LifecycleError when it runs already or a mounted application refuses to start.
        """
        if self.status != "new":
            raise LifecycleError("start", self.status, ())
        if not self.application.compiled:
            self.application.compile()
        self.status = "starting"
        try:
            await self.application.startup()
        except BaseException:
            self.status = "stopped"
            raise
        self._state = State(
            self.application,
            self.settings,
            websocket=self._websocket,
            on_slow=lambda view, seconds: self.emitter.emit("slow_view", view, seconds),
            on_answer=self._on_answer,
            on_closed=self._note_closed,
            around=self._around,
        )
        self._sockets = list(sockets)
        await self._accept()
        self._tick()
        self.status = "started"
        self.emitter.emit("started")

    def connection(self) -> Connection:
        """A protocol for one new connection."""
        self.emitter.emit("connection")
        return Connection(self.state) if self.moves is None else Moving(self.state, self.moves)

    def attach(self, sock: socket.socket, passed: Passed | None = None, *, kept: bool = False) -> None:
        """Serve a connection that another process accepted. The socket is ours from now on. `kept`: it was served
        there, and may be as idle as one that was served here; so is what another process has `passed` on."""
        if self.status != "started" and self.status != "held":
            sock.close()
            return
        if len(self._attaching) >= self.settings.max_connections:
            self.state.refused += 1  # all of them in a handshake
            sock.close()
            return
        relayed = passed is not None and passed.relayed
        connection = Connection(self.state) if relayed else self.connection()
        if kept or passed is not None:
            connection.http.requests = 1
        if passed is not None:
            connection.arrived(passed.ends, passed.data, relayed=relayed)
        self._arriving.add(connection)
        expects_head = passed is None and not kept and comes_from(sock, self._trusted)
        tls = self._tls if passed is None else None
        attaching = self._attach(sock, connection, tls, expects_head=expects_head)
        task = asyncio.get_running_loop().create_task(attaching, name="attach")
        self._attaching.add(task)
        task.add_done_callback(self._attaching.discard)
        task.add_done_callback(lambda _: self._arriving.discard(connection))

    async def _attach(
        self, sock: socket.socket, connection: Connection, tls: ssl.SSLContext | None, *, expects_head: bool
    ) -> None:
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        try:
            if expects_head:
                connection.arrived(*await self._arrive(sock))
            seconds = None if tls is None else self._handshake_seconds
            await loop.connect_accepted_socket(
                lambda: connection, sock, ssl=tls, ssl_handshake_timeout=seconds
            )
        except OSError as error:  # the client left or said nothing, or TLS failed
            logger.debug("a connection could not be attached: %s", error)
            sock.close()
        except ValueError as error:
            logger.warning("a trusted proxy began a connection with %s", error)
            sock.close()

    async def _arrive(self, sock: socket.socket) -> tuple[ProxyReport | None, bytes]:
        try:
            return await arrive(sock, self.settings.head_seconds)
        except asyncio.CancelledError:
            sock.close()
            raise

    async def hold(self) -> None:
        """Accept nothing more; what is open goes on, new clients wait in the kernel's queue."""
        if self.status != "started":
            raise LifecycleError("hold", self.status, ())
        self.status = "held"
        await self._stop_accepting()
        self.emitter.emit("held")

    async def resume(self) -> None:
        """Accept again after `hold`."""
        if self.status != "held":
            raise LifecycleError("resume", self.status, ())
        await self._accept()
        self.status = "started"
        self.emitter.emit("resumed")

    async def drain(self, seconds: float | None = None, *, idle_seconds: float = 0.0) -> bool:
        """Accept nothing more, let every request under way be answered, close. True when all ended in time.

        After the deadline (`drain_seconds` unless given) what is left is cut off. Connections between two requests are
        closed at once; with `idle_seconds` they may bring one more, which is answered with `Connection: close`.
        """
        state = self.state
        if self.status == "stopped":
            return True
        self.status = "draining"
        self.emitter.emit("draining")
        await self._stop_accepting()
        if self._attaching:  # they were accepted already
            await asyncio.wait(self._attaching, timeout=1.0)
        state.draining = True
        for sock in self._sockets:
            sock.close()
        if idle_seconds > 0:
            await self._last_requests(state, idle_seconds)
        state.closing = True
        for connection in list(state.connections):
            connection.shutdown()
        limit = self.settings.drain_seconds if seconds is None else seconds
        try:
            async with asyncio.timeout(limit):
                while state.connections:
                    self._empty.clear()
                    await self._empty.wait()
                while state.tasks:
                    await asyncio.wait(state.tasks)
        except TimeoutError:
            logger.warning(
                "%d connections did not end within %g s and are cut", len(state.connections), limit
            )
            return False
        self.emitter.emit("drained")
        return True

    async def _last_requests(self, state: State, seconds: float) -> None:
        """Let the answers that have not begun say that they are the last, and give the other connections a while to
        bring one more request: they were promised that they may."""
        for each in list(state.connections):
            if isinstance(each, Connection):
                each.http.part()
            elif not each.idle:
                each.shutdown()
        try:
            async with asyncio.timeout(seconds):
                while state.connections:
                    self._empty.clear()
                    await self._empty.wait()
        except TimeoutError:
            pass  # they had nothing to say

    async def release_idle(self) -> list[tuple[socket.socket, Passed | None]]:
        """Release the connections that are between two requests, for another process to serve, with what has to go
        with them (see `Connection.release`); the others are left to `drain`."""
        if self._attaching:
            await asyncio.wait(self._attaching, timeout=1.0)
        released: list[tuple[socket.socket, Passed | None]] = []
        for each in list(self.state.connections):
            if isinstance(each, Connection):
                passed = each.passed
                taken = each.release()
                if taken is not None:
                    released.append((taken, passed))
        return released

    async def stop(self, seconds: float | None = None, *, idle_seconds: float = 0.0) -> None:
        """Drain, cut what is left, stop the mounts. May be called again."""
        if self.status == "new":
            self.status = "stopped"
        if self.status == "stopped":
            return
        if self._state is not None:
            await self.drain(seconds, idle_seconds=idle_seconds)
            await self._cut(self._state)
            self._state.close()
        if self._timer is not None:
            self._timer.cancel()
        await self.application.shutdown()
        self.status = "stopped"
        self.emitter.emit("stopped")

    async def _cut(self, state: State) -> None:
        for connection in list(state.connections):
            connection.give_up()
        tasks = [*state.tasks, *self._attaching]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=5.0)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        for sock in self._sockets:
            bound_unsent(sock)
            if self._trusted is not None:
                own = sock.dup()
                own.setblocking(False)
                own.listen(self.settings.backlog)
                task = loop.create_task(self._take(own), name="accept")
                self._accepting[task] = own
                continue
            # A duplicate, so that closing the acceptor (hold) leaves the socket and its queue alone.
            server = await loop.create_server(
                self.connection,
                sock=sock.dup(),
                ssl=self._tls,
                backlog=self.settings.backlog,
                ssl_handshake_timeout=self._handshake_seconds,
            )
            self._servers.append(server)

    async def _take(self, listener: socket.socket) -> None:
        """Accept by hand: a proxy's head comes before what a transport would read."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, _ = await loop.sock_accept(listener)
            except ConnectionAbortedError:
                continue
            except OSError as error:  # out of descriptors or memory
                logger.error("cannot accept: %s; what comes waits in the kernel", error.strerror or error)
                await asyncio.sleep(ACCEPT_AGAIN_SECONDS)
                continue
            self.attach(sock)

    async def _stop_accepting(self) -> None:
        for server in self._servers:
            server.close()
        self._servers.clear()
        accepting, self._accepting = self._accepting, {}
        for task in accepting:
            task.cancel()
        if accepting:
            await asyncio.wait(accepting)
        for listener in accepting.values():
            listener.close()

    def _note_closed(self) -> None:
        if self._state is not None and not self._state.connections:
            self._empty.set()

    def _tick(self) -> None:
        state, settings = self.state, self.settings
        state.tick()
        now = time.monotonic()
        for connection in list(state.connections):
            connection.sweep(now)
        state.applications.sweep(now)
        state.review()
        self._note_closed()
        shortest = min(
            settings.head_seconds,
            settings.body_seconds,
            settings.keep_alive_seconds,
            settings.stall_seconds,
            settings.linger_seconds,
        )
        self._timer = call_in_step(state.loop, min(1.0, shortest / 4), self._tick)

    def collect(self) -> Iterator[Metric]:
        """This server's numbers, as plain values."""
        state = self.state
        running = state.applications
        for name, text, number in (
            ("skerry_http_connections", "Open connections, websockets included.", len(state.connections)),
            ("skerry_http_websockets", "Open connections that are websockets.", state.websockets),
            ("skerry_http_streams", "Answers whose body goes on.", len(running.streams) + len(state.followed)),
            ("skerry_http_pending", "ASGI requests whose answer has not begun.", len(running.pending)),
            ("skerry_http_abandoned", "ASGI applications that run on for nobody.", len(running.abandoned)),
            ("skerry_http_kept_answers", "Answers kept until an event.", len(state.lane.kept.answers)),
        ):  # fmt: skip
            yield Metric(name, "gauge", text, (Sample(name, (), float(number)),))
        if self.moves is not None:
            yield from self.moves.collect()
        name, limits = "skerry_http_limit", self.settings
        yield Metric(
            name, "gauge", "What these numbers may be at most.",
            tuple(Sample(name, (("of", of),), float(limit)) for of, limit in (
                ("connections", limits.max_connections), ("pending", limits.max_pending),
                ("abandoned", limits.max_abandoned),
            )),
        )  # fmt: skip
        name = "skerry_http_answers_total"
        yield Metric(name, "counter", "Answers by route and status.", tuple(self._answers(name)))
        name = "skerry_http_request_seconds"
        times = (("lane", state.lane_times()), ("application", state.asgi_seconds))
        yield Metric(
            name, "histogram", "From a request to its answer on the lane, to the head of its answer off it.",
            tuple(each for side, of in times for each in of.samples(name, (("side", side),))),
        )  # fmt: skip
        for name, text, value in (
            ("skerry_http_refused_total", "Connections and requests refused before a view.", state.refused),
            ("skerry_http_timed_out_total", "Requests that took too long to arrive.", state.timed_out),
            ("skerry_http_slow_views_total", "Lane views that held the loop too long.", state.slow),
            (
                "skerry_http_cancelled_total",
                "ASGI applications cancelled after their client had gone.",
                running.cancelled,
            ),
        ):
            yield Metric(name, "counter", text, (Sample(name, (), float(value)),))

    def _answers(self, name: str) -> Iterable[Sample]:
        for route in self.application.table.routes:
            for status, count in sorted(route.counts.items()):
                methods = "/".join(sorted(route.methods))
                labels = (("method", methods), ("route", route.path), ("status", str(status)))
                yield Sample(name, labels, float(count))
        for status, count in sorted(self.state.counts.items()):
            yield Sample(name, (("method", ""), ("route", ""), ("status", str(status))), float(count))
