"""A Skerry App at an HTTP adapter of a Tars service: a server role whose connections come from the adapter's socket.

Its memory, buses, health and stream of events are those of every server. Not here: who decides its commands, which is
a consumer beside the processes that serve (`process/tars.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial

from skerry.hosting.host import Host
from skerry.hosting.settings import HostSettings
from skerry.http.routes import Found, Missing, Mount, Route
from skerry.kernel.routes import ProcessInfo
from skerry.roles.exhaustion import Exhaustion
from skerry.roles.hosts import answer_hosted, hosted_answers
from skerry.roles.kind import RoleContext
from skerry.roles.server import ServerRole
from skerry.roles.tars_http import IDLE_SECONDS, HttpAdapter
from skerry.roles.tars_web import BROKEN_OFF, platform_finding
from skerry.server.server import HttpServer
from skerry.server.websocket import WebSockets, WebSocketSettings
from skerry.tars.listener import ListenerState
from skerry.tars.platform.services import Services
from skerry.tars.web.timely import LATE, Timely


class AppAdapter(ServerRole):
    """`way`: the adapter. What routes answer is in the statistics of `services`."""

    def __init__(
        self, context: RoleContext, way: HttpAdapter, services: Services, exhaustion: Exhaustion
    ) -> None:
        self._way, self._services = way, services
        self._tally, self._failed = Tally(), 0
        runtime = context.runtime
        around = ProcessInfo(
            lambda: runtime.reasons,
            all_metrics=context.all_metrics,
            checks={"platform": lambda: platform_finding(services.problems)},
        )
        super().__init__(context.kernel, around=around, exhaustion=exhaustion)

    def _server(self) -> HttpServer:
        settings = self.kernel.settings
        return HttpServer(
            self.kernel.application,
            self._way.limits,
            websocket=WebSockets(settings.of(WebSocketSettings)),
            tls=self._way.tls,
            on_answer=self._answered,
            around=partial(Timely, seconds=settings.of(HostSettings).timeout),
        )

    def _address(self) -> str:
        return self._way.adapter.endpoint.listens_on

    async def start(self) -> None:
        """Load memory, then listen."""
        answer_hosted(
            self.kernel.declaration.http,
            self._hosted_answered,
            late=LATE,
            queue_seconds=self._way.adapter.queue_timeout_seconds,
        )
        await super().start()
        self._tally = Tally(self.kernel.application.table.routes, self.http.state.counts)
        if self._services.statistics is not None:
            self._services.statistics.watch(self._take)
        self._way.open(self.http)

    async def hold(self) -> None:
        self._way.hold()

    async def resume(self) -> None:
        self._way.resume()

    async def stop(self) -> None:
        """Accept nothing more, answer what is under way, stop reading along."""
        self._way.close()
        await super().stop()
        if self._services.statistics is not None:
            self._services.statistics.unwatch(self._take)

    async def _hand_on(self) -> float:
        return min(IDLE_SECONDS, self.drain / 2)

    @property
    def state(self) -> ListenerState:
        """As an adapter of servants tells it."""
        counters = self._way.counters
        counters.connections = self._way.connections
        if self.http.status != "new":
            counters.requests = self.http.answered + hosted_answers(self.kernel.application)
            counters.failed = self._failed + self._tally.failed
            counters.succeeded = max(0, counters.requests - counters.failed)
        return ListenerState(
            self._way.adapter.servant, self._way.adapter.endpoint, counters.connections, 0, 0, counters,
            self._way.most_connections,
        )  # fmt: skip

    def _answered(self, found: Found | Mount | Missing, status: int, seconds: float, on_lane: bool) -> None:
        if isinstance(found, Mount):
            if not (isinstance(found.app, Host) and found.app.kind == "wsgi"):  # which tells of its own
                self._tell(f"{found.root_path}/", status, seconds)
            return
        if on_lane:
            self._tally.note_told(found, status)
        self._tell(_route_of(found), status, seconds, counted=on_lane)

    def _hosted_answered(self, route: str, status: int, seconds: float) -> None:
        self._tell(route, status or BROKEN_OFF, seconds)

    def _tell(self, route: str, status: int, seconds: float, *, counted: bool = False) -> None:
        if status >= 400 and not counted:
            self._failed += 1
        if status == LATE:
            self._way.counters.queue_timeouts += 1
        if self._services.statistics is not None:
            self._services.statistics.routed(route, status, seconds)

    def _take(self) -> Iterable[tuple[str, int, int]]:
        return self._tally.take()


class Tally:
    """What routes of the lane have answered since the last time, but for what was told one by one. `misses`: answers
    that belong to no route, by status."""

    def __init__(self, routes: Iterable[Route] = (), misses: dict[int, int] | None = None) -> None:
        self._counts = {_route_of(Found(each)): each.counts for each in routes if each.lane}
        self._counts["/"] = {} if misses is None else misses
        self._taken: dict[tuple[str, int], int] = {}

    def note_told(self, found: Found | Missing, status: int) -> None:
        """It is counted, and was told already."""
        key = _route_of(found), status
        self._taken[key] = self._taken.get(key, 0) + 1

    def take(self) -> Iterator[tuple[str, int, int]]:
        """Route, status, how many."""
        for route, counts in self._counts.items():
            for status, count in list(counts.items()):
                new = count - self._taken.get((route, status), 0)
                if new > 0:
                    self._taken[route, status] = count
                    yield route, status, new

    @property
    def failed(self) -> int:
        """Answers of the lane from status 400 on."""
        return sum(
            count for counts in self._counts.values() for status, count in counts.items() if status >= 400
        )


def _route_of(found: Found | Missing) -> str:
    """As statistics name it: `GET /items/{id}`; `/` where there is none."""
    if isinstance(found, Missing):
        return "/"
    return f"{'/'.join(sorted(found.route.methods))} {found.route.path}"
