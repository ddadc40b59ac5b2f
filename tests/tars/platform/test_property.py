"""Properties: policies and their texts, what a server tells of itself, what is asked of functions."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from skerry.errors import SettingsError
from skerry.tars.adapter import Counters
from skerry.tars.communicator import Communicator
from skerry.tars.endpoint import Endpoint
from skerry.tars.listener import ListenerState
from skerry.tars.platform.identity import Identity
from skerry.tars.platform.property import MOST_PROPERTIES, PROPERTY, Properties, Property
from skerry.tars.platform.reporting import ReportSettings
from skerry.testing.tars import TarsPlatform


@asynccontextmanager
async def reporting(
    platform: TarsPlatform, identity: Identity, settings: ReportSettings | None = None
) -> AsyncIterator[Properties]:
    async with Communicator(timeout_seconds=30) as quiet:
        proxy = quiet.proxy(PROPERTY.PropertyF, platform.address("property"))
        yield Properties(identity, proxy, settings)


def test_policies_and_their_texts() -> None:
    """Decimal texts; the interval begins anew with each report; without a value since then there is nothing to tell."""
    one = Property(("Sum", "Avg", "Max", "Min", "Count"))
    one.report(-3)
    one.report(10.5)
    one.distribution(7, (1, 10, 100))
    one.distribution(10, ())
    one.distribution(1e6, ())
    assert dict(one.take()) == {
        "Sum": "7.5", "Avg": "3.75", "Max": "10.5", "Min": "-3", "Count": "2", "Distr": "1|0,10|2,100|1",
    }  # fmt: skip
    assert one.take() == []
    one.sum(1e20)
    assert ("Sum", "100000000000000000000") in one.take()
    with pytest.raises(SettingsError, match="ascend"):
        Property().distribution(1, (3, 2))


async def test_what_is_told(tars_platform: TarsPlatform, identity: Identity) -> None:
    """One's own sums from any thread, the process, gauges and a server's adapters, in version 2 of the head."""
    state = ListenerState(
        "Demo.PyServer.EchoObj", Endpoint("tcp", "h", 1), 5, 1, 2, Counters(queue_timeouts=3), 10
    )
    async with reporting(tars_platform, identity) as properties:
        properties.watch(lambda: [state])
        properties.gauge("leakSlope", lambda: 0.25)
        properties.gauge("nothingNow", lambda: None)
        threads = [threading.Thread(target=_count, args=(properties,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        properties.sample()
        properties.sample()
        await properties.report()
    values = tars_platform.property.values("Demo.PyServer")
    assert values["orders"] == {"Sum": "4000"}
    assert values["leakSlope"] == {"Avg": "0.25", "Max": "0.25", "Min": "0.25"}
    assert int(values["memoryUsage"]["Min"]) > 1_000_000
    assert {"cpuUsage", "threads"} <= set(values)
    adapter = "Demo.PyServer.EchoObjAdapter"
    assert values[f"{adapter}.queue"]["Max"] == "2"
    assert values[f"{adapter}.connectRate"] == {"Avg": "500"}
    assert values[f"{adapter}.timeoutNum"] == {"Sum": "3"}
    assert "nothingNow" not in values
    head = tars_platform.property.entries[0][0]
    assert (head.moduleName, head.ip, head.iPropertyVer) == ("Demo.PyServer", "n1", 2)


def _count(properties: Properties) -> None:
    for _ in range(1000):
        properties.property("orders").sum(1)


async def test_a_gauge_that_raises_is_dropped(tars_platform: TarsPlatform, identity: Identity) -> None:
    """With a line in the log, once; the others go on."""
    async with reporting(tars_platform, identity) as properties:
        properties.gauge("broken", lambda: 1 / 0)
        properties.sample()
        properties.sample()
        await properties.report()
    assert "memoryUsage" in tars_platform.property.values()


async def test_it_samples_and_reports_by_itself(tars_platform: TarsPlatform, identity: Identity) -> None:
    """The lag of the loop needs the loop."""
    async with reporting(tars_platform, identity, ReportSettings(interval_seconds=0.05)) as properties:
        properties.start()
        await tars_platform.until(lambda: "eventloopLag" in tars_platform.property.values())
        await properties.stop(30)


def test_names_are_bounded(identity: Identity) -> None:
    """Whoever makes names of values is told."""
    properties = Properties(identity, None)
    for number in range(MOST_PROPERTIES):
        properties.property(f"p{number}")
    with pytest.raises(SettingsError, match="do not make names of values"):
        properties.property("one more")
