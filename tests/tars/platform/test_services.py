"""A server on its platform: everything at once, and what it costs when services are away."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import skerry.tars
from skerry.errors import SettingsError
from skerry.tars.call_errors import CallError
from skerry.tars.communicator import Communicator
from skerry.tars.endpoint import parse_endpoints
from skerry.tars.locator import Located
from skerry.tars.platform import log as remote_log
from skerry.tars.platform.cache import EndpointCache
from skerry.tars.platform.configuration import Configuration
from skerry.tars.platform.property import Property
from skerry.tars.platform.services import Services
from skerry.tars.server import Server
from skerry.testing.tars import TarsPlatform

NAME = "Demo.PyServer.EchoObj"
idl: Any = skerry.tars.load_text("module Demo { interface Echo { string echo(string text); }; };").Demo


class EchoServant(idl.Echo):  # type: ignore[misc]
    async def echo(self, text: str) -> str:
        logging.getLogger("tests.echo").info("echoing %s", text)
        return text


@pytest.fixture(autouse=True)
def logs_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(remote_log, "GATHER_SECONDS", 0.01)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    remote_log.install(None)


async def test_all_services_at_once(tars_platform: TarsPlatform, tmp_path: Path) -> None:
    """Found by name, configured, logged, counted on both sides, measured: all from one file, and its text is enough."""
    configuration = Configuration.parse(tars_platform.configuration(tmp_path).text())
    tars_platform.config.put("Demo", "PyServer", "flags.json", '{"a": 1}')
    seen: list[str] = []
    services = Services(configuration, version="1.2")
    assert services.properties is not None
    services.properties.adopt(declared := {"orders": Property()})
    declared["orders"].sum(3)
    server = Server(observer=services)
    server.add(EchoServant(), f"{NAME}@tcp -h 127.0.0.1 -p 0 -t 60000")
    await services.start([("flags.json", seen.append)])
    async with server:
        tars_platform.registry.register(NAME, str(server.endpoints[0]))
        echo = skerry.tars.configure(services.communicator.proxy(idl.Echo, NAME), timeout_seconds=30)
        for number in range(3):
            assert await echo.echo(str(number)) == str(number)

        def in_a_thread() -> Any:
            return services.blocking().proxy(idl.Echo, NAME, timeout_seconds=30).echo("thread")

        assert await asyncio.to_thread(in_a_thread) == "thread"
        assert services.blocking() is services.blocking()
    assert seen == ['{"a": 1}']
    assert services.problems == ()
    services.properties.sample()
    await services.stop(60)
    text = tars_platform.log.text("", "Demo.PyServer")
    assert [f"echoing {number}" in text for number in range(3)] == [True] * 3
    assert tars_platform.stat.totals(False)["echo"].succeeded == 4
    assert tars_platform.stat.totals(True)["echo"].succeeded == 4
    assert set(tars_platform.stat.totals(True)) == {"echo"}  # calls to the platform itself are not counted
    values = tars_platform.property.values("Demo.PyServer")
    assert values["orders"] == {"Sum": "3"}
    assert "memoryUsage" in values
    assert (tmp_path / "bin" / "flags.json").read_text(encoding="utf-8") == '{"a": 1}'
    assert NAME in (tmp_path / "data" / "PyServer.tarsdat").read_text(encoding="utf-8")


async def test_the_whole_platform_away(tars_platform: TarsPlatform, tmp_path: Path) -> None:
    """A server starts with its local copies, serves, finds by its cache, says what does not work, and ends in time."""
    configuration = tars_platform.configuration(tmp_path)
    server = Server()
    server.add(EchoServant(), f"{NAME}@tcp -h 127.0.0.1 -p 0 -t 60000")
    async with server:
        cache = EndpointCache(tmp_path / "data" / "PyServer.tarsdat", configuration.client.locator)
        cache.put(NAME, Located(parse_endpoints(str(server.endpoints[0]))))
        (tmp_path / "bin").mkdir()
        (tmp_path / "bin" / "flags.json").write_text('{"a": "local"}', encoding="utf-8")
        for service in ("registry", "config", "log", "stat", "property"):
            tars_platform.take_away(service)
        seen: list[str] = []
        services = Services(configuration)
        _hurry(services)
        await services.start([("flags.json", seen.append)])
        assert seen == ['{"a": "local"}']
        async with Communicator(locator=services.locator, timeout_seconds=30) as communicator:
            assert await communicator.proxy(idl.Echo, NAME).echo("x") == "x"
        await tars_platform.until(lambda: services.log is not None and services.log.problem)
        assert services.statistics is not None
        await services.statistics.reporting.now()
        services.statistics.routed("GET /", 200, 0.001)
        await services.statistics.reporting.now()
        told = "\n".join(services.problems)
        assert [name for name in ("registry", "config", "log", "stat") if name in told] == [
            "registry", "config", "log", "stat",
        ]  # fmt: skip
        assert "problem: config: flags.json is the local copy" in services.status()
        await services.stop(0.4)


def _hurry(services: Services) -> None:
    """No long time-outs: nobody answers in this test."""

    def quick(part: Any) -> None:
        part._proxy = skerry.tars.configure(part._proxy, timeout_seconds=0.2)

    for part in (services.statistics, services.properties, services.log, services.files):
        quick(part)
    assert services.locator is not None
    services.locator._query = skerry.tars.configure(services.locator._query, timeout_seconds=0.2)


async def test_the_status_counts_the_calls_of_this_process(tmp_path: Path) -> None:
    """By object, with what became of them: `tars.viewstatus` shows it."""
    services = Services(Configuration("Demo", "PyServer", base_path=str(tmp_path)))
    await services.start()
    nobody = services.communicator.proxy(idl.Echo, "Demo.EchoServer.EchoObj@tcp -h 127.0.0.1 -p 1 -t 3000")
    with pytest.raises(CallError):
        await nobody.echo("x")
    shown = re.sub(r"\d+ connections failed", "N connections failed", services.status())
    assert shown == (
        "calls of Demo.EchoServer.EchoObj: 1, 0 succeeded, 0 time-outs, 0 errors of the server, N connections failed, "
        "0 lost, 0 tried again, 0 replies for nobody"
    )
    await services.stop()


async def test_what_is_not_named_is_not_there(tmp_path: Path) -> None:
    """A file without platform services is served, nothing is attached to the root logger; without remote files nothing
    is asked."""
    before = logging.getLogger().handlers[:]
    services = Services(Configuration("Demo", "PyServer", base_path=str(tmp_path), log="tars.tarslog.LogObj"))
    await services.start()
    assert (services.statistics, services.properties, services.log, services.locator) == (None,) * 4
    assert logging.getLogger().handlers == before
    assert services.status() == ""
    await services.stop()
    with pytest.raises(SettingsError, match="log level"):
        Services(Configuration("Demo", "PyServer"), log_level="LOUD")


async def test_a_sibling_has_fetched_it(tars_platform: TarsPlatform, tmp_path: Path) -> None:
    """Processes of one server that are told to reload at once may be refused (429): the copy of one that was not is
    taken by the others."""
    configuration = dataclasses.replace(tars_platform.configuration(tmp_path), log="")
    tars_platform.config.put("Demo", "PyServer", "flags.json", "1")
    one, two = Services(configuration), Services(configuration)
    first: list[str] = []
    second: list[str] = []
    await one.start([("flags.json", first.append)])
    await two.start([("flags.json", second.append)])
    tars_platform.config.put("Demo", "PyServer", "flags.json", "2")
    assert (await one.files.refresh("flags.json")).startswith("[succ]")
    tars_platform.config.limit = 0
    assert "429" in await two.files.refresh("flags.json")
    assert (first, second) == (["1", "2"], ["1", "2"])
    await one.stop()
    await two.stop()
