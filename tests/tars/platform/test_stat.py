"""Call statistics: what a server and its callers report, in the platform's buckets and batches, and what it costs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import skerry.tars
from skerry.tars.call import Call
from skerry.tars.communicator import Communicator
from skerry.tars.platform.identity import Identity
from skerry.tars.platform.reporting import ReportSettings
from skerry.tars.platform.stat import BUCKETS, MOST_ENTRIES, STAT, Statistics
from skerry.tars.server import Server
from skerry.tars.settings import ClientSettings
from skerry.tars.wire.packet import RequestPacket
from skerry.testing.tars import TarsPlatform
from skerry.testing.tars.records import Total

NAME = "Demo.PyServer.EchoObj"
idl: Any = skerry.tars.load_text(
    "module Demo { interface Echo { string echo(string text); int fail(int code); void tell(string text); }; };"
).Demo


class EchoServant(idl.Echo):  # type: ignore[misc]
    async def echo(self, text: str) -> str:
        return text

    async def fail(self, code: int) -> int:
        raise skerry.tars.ServantError(code, "as asked")

    async def tell(self, text: str) -> None:
        return


@asynccontextmanager
async def reporting(
    platform: TarsPlatform, identity: Identity, settings: ReportSettings | None = None
) -> AsyncIterator[Statistics]:
    async with Communicator(timeout_seconds=30) as quiet:
        proxy = quiet.proxy(STAT.StatF, platform.address("stat"), context=dict(identity.context))
        yield Statistics(identity, proxy, settings, version="0.1")


def request(function: str = "echo", version: int = 1, packet_type: int = 0) -> Call:
    packet = RequestPacket(servant=NAME, function=function, version=version, packet_type=packet_type)
    return Call(packet, ("10.0.0.9", 1), 0.0)


async def test_both_sides_of_a_call(tars_platform: TarsPlatform, identity: Identity) -> None:
    """A server counts its functions by who called, a client the functions that it calls, with place and code."""
    async with reporting(tars_platform, identity) as statistics:
        server = Server(observer=statistics)
        server.add(EchoServant(), f"{NAME}@tcp -h 127.0.0.1 -p 0 -t 60000")
        settings = ClientSettings(observer=statistics)
        async with server, Communicator(settings=settings, timeout_seconds=30) as communicator:
            echo = communicator.proxy(idl.Echo, server.address(NAME))
            for _ in range(3):
                await echo.echo("x")
            try:
                await echo.fail(5)
            except skerry.tars.RemoteError:
                pass
            await skerry.tars.configure(echo, one_way=True).tell("x")
            await echo.echo("y")  # behind the one-way call on the same connection
        await statistics.report()
    stat = tars_platform.stat
    served = stat.totals(False)
    assert (served["echo"].succeeded, served["fail"].failed, served["tell"].succeeded) == (4, 1, 1)
    called = stat.totals(True, slave="Demo.PyServer")
    assert (called["echo"].succeeded, called["fail"].failed) == (4, 1)
    heads = {(head.interfaceName, client): head for head, _, client in stat.entries}
    head = heads["fail", True]
    assert (head.masterName, head.slaveName, head.slaveIp) == (
        "Demo.PyServer@0.1",
        "Demo.PyServer",
        "127.0.0.1",
    )
    assert (head.masterIp, head.slavePort, head.returnValue) == ("n1", server.endpoints[0].port, 5)
    head = heads["echo", False]
    assert (head.masterName, head.slaveName, head.masterIp) == (
        "stat_from_server",
        "Demo.PyServer",
        "127.0.0.1",
    )
    assert heads["tell", False].masterName == "one_way_client"


async def test_buckets_and_extremes(tars_platform: TarsPlatform, identity: Identity) -> None:
    """A call is in the first bucket above its time, a very slow one in the last; all buckets are told; the shortest
    time is the shortest that is not 0; time-outs and failures have no time."""
    async with reporting(tars_platform, identity) as statistics:
        for milliseconds in (0, 4, 5, 49, 2999, 3000, 60_000):
            statistics.served(request(), 0, milliseconds / 1000 + 0.0001)
        statistics.served(request(), -6, 1.0)
        statistics.served(request(), -99, 1.0)
        statistics.routed("GET /items/{id}", 200, 0.0061)
        statistics.routed("GET /items/{id}", 404, 9.0)
        statistics.called("Demo.X.Obj", "f", "", -7, 3.0)
        statistics.called("Demo.X.Obj", "f", "", -8, 3.0)
        await statistics.report()
    bodies = {(head.interfaceName, head.returnValue): body for head, body, _ in tars_platform.stat.entries}
    body = bodies["echo", 0]
    assert body.intervalCount == dict.fromkeys(BUCKETS, 0) | {5: 2, 10: 1, 50: 1, 3000: 3}
    assert (body.count, body.timeoutCount, body.execCount) == (7, 1, 1)
    assert (body.minRspTime, body.maxRspTime, body.totalRspTime) == (4, 60_000, 66_057)
    assert tars_platform.stat.totals(False)["GET /items/{id}"] == Total(1, 0, 1, 6)
    assert (bodies["f", -7].timeoutCount, bodies["f", -8].execCount) == (1, 1)


async def test_batches_and_cuts(tars_platform: TarsPlatform) -> None:
    """No report is larger than allowed; names and addresses are cut; a set stands behind the module."""
    identity = Identity("Demo", "PyServer", "n" * 60, "web.north.1")
    async with reporting(tars_platform, identity, ReportSettings(batch_bytes=500)) as statistics:
        for number in range(10):
            statistics.served(request(f"function{number}" + "x" * 200), 0, 0.001)
        await statistics.report()
        await statistics.report()  # nothing more
    heads = [head for head, _, _ in tars_platform.stat.entries]
    assert (len(heads), tars_platform.stat.reports) == (10, 10)
    assert {len(head.interfaceName) for head in heads} == {127}
    assert (heads[0].slaveName, heads[0].slaveSetArea) == ("Demo.PyServer.webnorth1", "north")
    assert len(heads[0].slaveIp) == 50


async def test_many_callers_are_not_told_apart_for_ever(
    tars_platform: TarsPlatform, identity: Identity
) -> None:
    """The memory for an interval is bounded: callers beyond the limit are counted together."""
    async with reporting(tars_platform, identity) as statistics:
        for number in range(MOST_ENTRIES + 500):
            statistics.routed("GET /", 200, 0.001, peer=f"10.0.{number >> 8}.{number & 255}")
        assert len(statistics._served) == MOST_ENTRIES + 1
        assert statistics._served["stat_from_server", "GET /", ""].succeeded == 500
        assert statistics.uncounted == 0


async def test_a_stat_that_is_away_costs_its_reports(tars_platform: TarsPlatform, identity: Identity) -> None:
    """A failed report is counted and said; the next one tells what came since."""
    async with reporting(tars_platform, identity) as statistics:
        statistics._proxy = skerry.tars.configure(statistics._proxy, timeout_seconds=0.2)
        tars_platform.take_away("stat")
        statistics.served(request(), 0, 0.001)
        await statistics.reporting.now()
        assert (statistics.reporting.failed, bool(statistics.reporting.problem)) == (1, True)
        tars_platform.bring_back("stat")
        statistics._proxy = skerry.tars.configure(statistics._proxy, timeout_seconds=30)
        statistics.served(request(), 0, 0.001)
        statistics.served(request(), 0, 0.001)
        await statistics.reporting.now()
    assert tars_platform.stat.totals(False)["echo"].succeeded == 2
    assert statistics.reporting.problem == ""


async def test_it_reports_by_itself_and_at_the_end(tars_platform: TarsPlatform, identity: Identity) -> None:
    """Every interval, and what is left when it stops."""
    async with reporting(tars_platform, identity, ReportSettings(interval_seconds=0.05)) as statistics:
        statistics.start()
        statistics.served(request(), 0, 0.001)
        await tars_platform.until(lambda: tars_platform.stat.reports)
        await statistics.stop(30)
    async with reporting(tars_platform, identity) as statistics:
        statistics.start()
        statistics.served(request(version=3), 0, 0.001)
        await statistics.stop(30)
    assert {head.masterName for head, _, _ in tars_platform.stat.entries} == {
        "stat_from_server",
        "tup_client",
    }


async def test_what_is_counted_elsewhere(tars_platform: TarsPlatform, identity: Identity) -> None:
    """It is asked for before each report, and once more when it ends: quick answers, failures and time-outs."""
    told = iter([[("GET /a", 200, 3), ("GET /a", 404, 2), ("GET /a", 504, 1)], [("GET /a", 200, 4)], []])

    def tally() -> list[tuple[str, int, int]]:
        return next(told)

    async with reporting(tars_platform, identity) as statistics:
        statistics.watch(tally)
        statistics.routed("GET /a", 200, 0.007)
        await statistics.report()
        found = tars_platform.stat.totals(False, "Demo.PyServer")["GET /a"]
        assert (found.succeeded, found.failed, found.timed_out) == (4, 2, 1)
        statistics.unwatch(tally)
        await statistics.report()
        assert tars_platform.stat.totals(False, "Demo.PyServer")["GET /a"].succeeded == 8
        await statistics.report()
