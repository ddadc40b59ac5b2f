"""The tars role in one process: composed as every role is, held and started again while its process is being mended."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.roles.control import Control

from skerry import App, tars
from skerry.backends.memory.journal import MemoryJournal
from skerry.backends.memory.transport import MemoryHub
from skerry.clock import SystemClock
from skerry.hosting.settings import HostSettings
from skerry.http import Problem
from skerry.kernel.settings import Settings
from skerry.loop.sockets import bind_tcp
from skerry.roles.composition import Composition, compose
from skerry.roles.tars import Connected, Inheritance, TarsRole, Work, declaration_of, tars_kind
from skerry.roles.wiring import Parts
from skerry.tars.platform.services import Services
from skerry.testing.tars import TarsPlatform
from skerry.testing.tars.node import configuration_for

demo: Any = tars.load_text("module Demo { interface Hello { string hello(string name); }; };").Demo


class Greeting:
    """What the service provides."""

    word = "Hello"


class HelloServant(demo.Hello):  # type: ignore[misc]
    async def hello(self, name: str, greeting: Greeting) -> str:
        return f"{greeting.word} {name}!"


def web(environ: dict[str, Any], start: Any) -> list[bytes]:
    start("200 OK", [("Content-Type", "text/plain")])
    return [b"web"]


class World:
    """One process of a service that has a servant and a web application, or an App. `ports` by object."""

    def __init__(self, composition: Composition, control: Control, ports: dict[str, int]) -> None:
        self.composition, self.control, self.ports = composition, control, ports
        [role] = composition.roles
        assert isinstance(role, TarsRole)
        self.role = role

    async def hello(self) -> str:
        async with tars.Communicator(timeout_seconds=30) as communicator:
            address = f"Demo.PyServer.HelloObj@tcp -h 127.0.0.1 -p {self.ports['HelloObj']} -t 60000"
            return str(await communicator.proxy(demo.Hello, address).hello("role"))

    async def get(self, path: str = "/") -> httpx.Response:
        async with httpx.AsyncClient(timeout=30, trust_env=False) as client:
            return await client.get(f"http://127.0.0.1:{self.ports['WebObj']}{path}")


@asynccontextmanager
async def serving(
    folder: Path, application: Any, platform: TarsPlatform | None = None, **options: Any
) -> AsyncIterator[World]:
    service = tars.Service(version="7")
    service.provides()(Greeting)
    service.servant("HelloObj", HelloServant())
    service.http("WebObj", application)
    configuration = configuration_for("PyServer", ["HelloObj"], web=["WebObj"], base_path=str(folder))
    if platform is not None:
        configuration = configuration.changed(client=platform.client_configuration("Demo.PyServer"))
    sockets: dict[str, socket.socket] = {}
    for adapter in configuration.adapters:
        host, port = adapter.endpoint.host, adapter.endpoint.port
        sockets[adapter.name] = bind_tcp(host, port, setting="endpoint", listen=False)
    control, connected = Control(), Connected(Services(configuration))
    work = Work(service, connected, {"WebObj": application}, control, Inheritance(sockets))
    settings = Settings(journal="memory:", transport="memory:", drain=1.0, warm_start=False, **options)
    parts, hub = None, MemoryHub().endpoint("test")
    if work.app is not None:
        await hub.start()
        journal = await MemoryJournal(clock=SystemClock()).__aenter__()
        parts = Parts(hub, journal, journal)
    composed = compose(declaration_of(work), settings, (tars_kind(work),), parts, name="worker")
    await composed.runtime.start()
    try:
        ports = {each.object_name: each.endpoint.port for each in configuration.adapters}
        yield World(composed, control, ports)
    finally:
        composed.runtime.end(0, "the test is over")
        await composed.runtime.destroy()
        await connected.end()
        for each in sockets.values():
            each.close()
        if work.app is not None:
            await hub.stop()


async def test_a_process_that_is_mended_serves_again(tmp_path: Path) -> None:
    """Held it takes no new connections; started again, as by the guard of its runtime, it serves as before, and the
    platform's services have gone on."""
    async with serving(tmp_path, web) as world:
        assert (await world.hello(), (await world.get()).text) == ("Hello role!", "web")
        assert world.composition.gauges()["requests"] == 2
        assert "Demo.PyServer.WebObj at " in await world.control.on_ask("tars.viewstatus")
        platform = world.role.service.platform
        await world.role.hold()
        held = socket.create_connection(("127.0.0.1", world.ports["WebObj"]), timeout=30)
        await world.role.resume()
        held.close()
        await world.role.stop()
        await world.role.start()
        assert (await world.hello(), (await world.get()).text) == ("Hello role!", "web")
        assert world.role.service.platform is platform
        assert world.composition.health.report()[0]


async def test_an_app_in_the_role(
    tmp_path: Path, tars_platform: TarsPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is a server role within: what is supervised beside servers runs, and it is started again with the others. All
    that it answers is in the statistics: the lane, tasks, what it hosts, misses."""
    app, begun = App("shop"), list[str]()

    @app.get("/lane")
    def lane() -> str:
        return "from memory"

    @app.get("/refused")
    def refused() -> asyncio.Future[str]:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[str] = loop.create_future()
        loop.call_soon(answer.set_exception, Problem(409, "a rule"))
        return answer

    @app.get("/task")
    async def task() -> str:
        return "from a task"

    app.host("/old", web)
    monkeypatch.setattr(
        "skerry.server.lane.QUICK_SECONDS", -1.0
    )  # an answer that was waited for is told by itself

    @app.supervise(ends=True)
    async def beside() -> None:
        begun.append("beside")

    async with serving(tmp_path, app, tars_platform) as world:
        assert (await world.get("/lane")).text == "from memory"
        assert (await world.get("/health/ready")).json()["checks"]["platform"]["ready"]
        assert begun == ["beside"]
        await world.role.hold()
        await world.role.resume()
        assert (await world.get("/lane")).text == "from memory"
        await world.role.stop()
        await world.role.start()
        assert (await world.get("/lane")).text == "from memory"
        assert await world.hello() == "Hello role!"
        assert {metric.name for metric in world.composition.metrics()} >= {"skerry_http_answers_total"}
        for path in ("/task", "/old/a", "/old/b", "/nowhere", "/refused"):
            await world.get(path)
        counters = world.role._states()[-1].counters
        assert (counters.requests, counters.failed) == (6, 2)  # since it was started again
    totals = tars_platform.stat.totals(False, "Demo.PyServer")
    assert {route: (each.succeeded, each.failed) for route, each in totals.items()} == {
        "GET /lane": (3, 0), "GET /health/ready": (1, 0), "GET /task": (1, 0), "GET /old": (2, 0),
        "/": (0, 1), "hello": (1, 0), "GET /refused": (0, 1),
    }  # fmt: skip


async def test_an_answer_of_an_app_that_does_not_come_is_504(
    tmp_path: Path, tars_platform: TarsPlatform
) -> None:
    """A view, a mounted application and one in threads have as long as the service says; all count as time-outs."""
    app, go, ended = App("shop"), threading.Event(), list[str]()

    async def hangs(where: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(where)

    @app.get("/view")
    async def view() -> str:
        await hangs("view")
        return "never"

    async def mounted(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await hangs("mounted")

    def threaded(environ: dict[str, Any], start: Any) -> list[bytes]:
        go.wait(60)
        return web(environ, start)

    app.mount("/mounted", mounted)
    app.host("/threaded", threaded)
    async with serving(tmp_path, app, tars_platform, sections=(HostSettings(timeout=0.1),)) as world:
        for path in ("/view", "/mounted/", "/threaded/"):
            assert (await world.get(path)).status_code == 504, path
        assert ended == ["view", "mounted"]
        go.set()
        counters = world.role._states()[-1].counters
        assert (counters.queue_timeouts, counters.failed) == (3, 3)
    totals = tars_platform.stat.totals(False, "Demo.PyServer")
    assert {route: each.timed_out for route, each in totals.items()} == {
        "GET /view": 1, "/mounted/": 1, "GET /threaded": 1,
    }  # fmt: skip
