"""Call statistics for `tars.tarsstat.StatObj`: how often, how long, how it ended, by caller and callee.

Counts in memory, two additions and a search per call, and sends the sums every interval. A `Statistics` is the observer
of a `Server` (`served`), of a communicator (`called`) and of hosted HTTP routes (`routed`). Not for single calls:
that is tracing.

Source: TarsCpp `StatReport` and `Current::reportToStat`: names, cuts, buckets, batches. Time-outs and failures only
count; a call slower than the last bucket is in the last one (Tars.js; TarsCpp leaves it out).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from skerry.tars.call import Call
from skerry.tars.endpoint import Endpoint, EndpointError
from skerry.tars.platform.identity import Identity
from skerry.tars.platform.interfaces import interfaces
from skerry.tars.platform.reporting import LAST_SECONDS, Reporting, ReportSettings
from skerry.tars.wire.packet import ReturnCode

STAT: Any = interfaces("StatF")
BUCKETS = (5, 10, 50, 100, 200, 500, 1000, 2000, 3000)
NAME_LENGTH, ADDRESS_LENGTH = 127, 50
ENTRY_BYTES = 100
MOST_ENTRIES = 4096
"""Beyond these in one interval, callers are no longer told apart; then new functions are not counted."""

TOO_LATE = 504
"""The status of an answer that counts as a time-out."""
_LAST = len(BUCKETS) - 1
_TIMEOUTS = frozenset({int(ReturnCode.INVOKE_TIMEOUT), int(ReturnCode.QUEUE_TIMEOUT)})


class _Sum:
    """What is known of one kind of call."""

    __slots__ = ("buckets", "failed", "longest", "shortest", "succeeded", "timed_out", "total")

    def __init__(self) -> None:
        self.succeeded = self.timed_out = self.failed = self.total = self.longest = self.shortest = 0
        self.buckets = [0] * len(BUCKETS)

    def add(self, milliseconds: int) -> None:
        self.succeeded += 1
        self.total += milliseconds
        if milliseconds > self.longest:
            self.longest = milliseconds
        if milliseconds and (milliseconds < self.shortest or not self.shortest):
            self.shortest = milliseconds
        at = bisect_right(BUCKETS, milliseconds)
        self.buckets[at if at < _LAST else _LAST] += 1

    def body(self) -> Any:
        return STAT.StatMicMsgBody(
            count=self.succeeded,
            timeoutCount=self.timed_out,
            execCount=self.failed,
            intervalCount=dict(zip(BUCKETS, self.buckets, strict=True)),
            totalRspTime=self.total,
            maxRspTime=self.longest,
            minRspTime=self.shortest,
        )


class Statistics:
    """The sums of this process. `proxy` is one of StatF, over a communicator that is not observed; `version` is told
    with the callers' reports. `uncounted`: calls that found no room."""

    def __init__(
        self,
        identity: Identity,
        proxy: Any,
        settings: ReportSettings | None = None,
        version: str = "",
    ) -> None:
        self._identity, self._proxy, self._version = identity, proxy, version
        self._settings = settings or ReportSettings()
        self._served: dict[tuple[str, str, str], _Sum] = {}
        self._called: dict[tuple[str, str, str, int], _Sum] = {}
        self.uncounted = 0
        self._tallies: list[Callable[[], Iterable[tuple[str, int, int]]]] = []
        self.reporting = Reporting("stat", self.report, self._settings.interval_seconds)

    def start(self) -> None:
        """Begin to report, in the running loop."""
        self.reporting.start()

    async def stop(self, seconds: float = LAST_SECONDS) -> None:
        """Report once more, for so long at most, and end."""
        await self.reporting.stop(seconds)

    def served(self, call: Call, code: int, seconds: float) -> None:
        """A servant's function has ended (`Observer` of a server)."""
        request = call.request
        if request.packet_type == 1:
            master = "one_way_client"
        else:
            master = "tup_client" if request.version in (2, 3) else "stat_from_server"
        found = self._served.get((master, request.function, call.peer[0]))
        if found is None:
            found = self._new_served(master, request.function, call.peer[0])
        if code == 0:
            found.add(int(seconds * 1000))
        elif code in _TIMEOUTS:
            found.timed_out += 1
        else:
            found.failed += 1

    def routed(self, route: str, status: int, seconds: float, peer: str = "") -> None:
        """A hosted application has answered. `route` is the template (`GET /items/{id}`), never the path itself, which
        would be counted apart for each item; a status from 400 on is a failure, 504 a time-out."""
        found = self._of_route(route, peer)
        if status < 400:
            found.add(int(seconds * 1000))
        elif status == TOO_LATE:
            found.timed_out += 1
        else:
            found.failed += 1

    def _of_route(self, route: str, peer: str) -> _Sum:
        found = self._served.get(("stat_from_server", route, peer))
        return self._new_served("stat_from_server", route, peer) if found is None else found

    def called(self, servant: str, function: str, endpoint: str, code: int, seconds: float) -> None:
        """A call to another server has ended (`CallObserver` of a communicator)."""
        key = (servant, function, endpoint, code)
        found = self._called.get(key)
        if found is None:
            if len(self._called) >= MOST_ENTRIES:
                self.uncounted += 1
                return
            found = self._called[key] = _Sum()
        if code == 0:
            found.add(int(seconds * 1000))
        elif code in _TIMEOUTS:
            found.timed_out += 1
        else:
            found.failed += 1

    def watch(self, tally: Callable[[], Iterable[tuple[str, int, int]]]) -> None:
        """Ask this before each report for answers that were not told one by one: route, status, how many since the
        last time. Each of them took less than a millisecond."""
        self._tallies.append(tally)

    def unwatch(self, tally: Callable[[], Iterable[tuple[str, int, int]]]) -> None:
        """Take over what it counted until now, and do not ask it again."""
        self._tallies.remove(tally)
        self._take(tally)

    def _take(self, tally: Callable[[], Iterable[tuple[str, int, int]]]) -> None:
        for route, status, count in tally():
            found = self._of_route(route, "")
            if status < 400:
                found.succeeded += count
                found.buckets[0] += count
            elif status == TOO_LATE:
                found.timed_out += count
            else:
                found.failed += count

    async def report(self) -> None:
        """Send the sums and begin new ones. Raises CallError; what was not sent is lost then."""
        for tally in self._tallies:
            self._take(tally)
        served, self._served = self._served, {}
        called, self._called = self._called, {}
        server = ((self._server_head(*key), total) for key, total in served.items())
        client = ((self._client_head(*key), total) for key, total in called.items())
        for from_client, entries in ((False, server), (True, client)):
            for batch in self._batches(entries):
                await self._proxy.reportMicMsg(batch, from_client)

    def _new_served(self, master: str, function: str, peer: str) -> _Sum:
        if len(self._served) >= MOST_ENTRIES:
            peer = ""
            if (found := self._served.get((master, function, peer))) is not None:
                return found
            if len(self._served) >= 2 * MOST_ENTRIES:
                self.uncounted += 1
                return _Sum()
        found = self._served[master, function, peer] = _Sum()
        return found

    def _server_head(self, master: str, function: str, peer: str) -> Any:
        name, area, group = self._identity.set_parts
        return STAT.StatMicMsgHead(
            masterName=master,
            slaveName=_cut(self._identity.reported_module),
            interfaceName=_cut(function),
            masterIp=_cut(peer, ADDRESS_LENGTH),
            slaveIp=_cut(self._identity.node, ADDRESS_LENGTH),
            slavePort=0,
            returnValue=0,
            slaveSetName=name,
            slaveSetArea=area,
            slaveSetID=group,
            tarsVersion="",
        )

    def _client_head(self, servant: str, function: str, endpoint: str, code: int) -> Any:
        host, port, division = _place(endpoint)
        slave = ".".join(servant.split(".")[:2])
        name, area, group = division.split(".") if division.count(".") == 2 else ("", "", "")
        mine = self._identity.reported_module
        return STAT.StatMicMsgHead(
            masterName=_cut(f"{mine}@{self._version}" if self._version else mine),
            slaveName=_cut(f"{slave}.{name}{area}{group}" if name else slave),
            interfaceName=_cut(function),
            masterIp=_cut(self._identity.node, ADDRESS_LENGTH),
            slaveIp=_cut(host, ADDRESS_LENGTH),
            slavePort=port,
            returnValue=code,
            slaveSetName=name,
            slaveSetArea=area,
            slaveSetID=group,
            tarsVersion=self._version,
        )

    def _batches(self, entries: Iterator[tuple[Any, _Sum]]) -> Iterator[dict[Any, Any]]:
        """Heads and bodies in pieces of the allowed size, at least one in each."""
        batch: dict[Any, Any] = {}
        size = 0
        for head, total in entries:
            length = ENTRY_BYTES + len(head.masterName) + len(head.slaveName) + len(head.interfaceName)
            length += len(head.slaveSetName) + len(head.slaveSetArea) + len(head.slaveSetID)
            if batch and (size + length > self._settings.batch_bytes or head in batch):
                yield batch
                batch, size = {}, 0
            batch[head] = total.body()
            size += length
        if batch:
            yield batch


def _cut(text: str, length: int = NAME_LENGTH) -> str:
    return text.strip("\r\t ")[:length]


def _place(endpoint: str) -> tuple[str, int, str]:
    """Host, port and set of an endpoint's text; nothing of an empty one (nobody was reached)."""
    try:
        parsed = Endpoint.parse(endpoint)
    except EndpointError:
        return "", 0, ""
    return parsed.host, parsed.port, parsed.set_division
