"""What is wrong is known before anything is opened, and a stop is heard whenever it comes."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from pathlib import Path
from typing import Any

import pytest
from tests.roles.control import Control

from livekv import app
from skerry import App, Event
from skerry.errors import SettingsError, SkerryError
from skerry.http.health import Purpose
from skerry.kernel.settings import Settings
from skerry.loop.door import Door
from skerry.loop.handover import JOIN as JOIN_WORD
from skerry.loop.handover import WELCOME
from skerry.roles.running import JOIN, LISTENER, _Process, run_roles
from skerry.testing.program import HttpConnection

ROLES = ("consumer", "server")


def settings(directory: Path, **more: Any) -> Settings:
    return Settings(
        journal=f"sqlite:///{directory}/x.db", data=str(directory), bind="127.0.0.1:0", drain=0.5,
        loop_model="asyncio", **more,
    )  # fmt: skip


@pytest.mark.parametrize("roles", [("server",), ("consumer", "server")])
def test_a_port_in_use_is_found_before_anything_is_opened(tmp_path: Path, roles: tuple[str, ...]) -> None:
    """No file, no lock, no waiting for an owner."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        chosen = Settings(
            journal=f"sqlite:///{tmp_path}/x.db", bind=f"127.0.0.1:{port}", loop_model="asyncio"
        )
        with pytest.raises(SettingsError, match="in use"):
            run_roles(app.declaration, chosen, roles)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("variable", [JOIN, LISTENER])
def test_a_server_of_a_runner_does_not_look_for_a_port(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """Its balancer has the port, or it is given the listening socket."""
    monkeypatch.setenv(variable, "0")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        chosen = Settings(
            journal=f"sqlite:///{tmp_path}/x.db",
            bind=f"127.0.0.1:{taken.getsockname()[1]}",
            loop_model="asyncio",
        )
        _Process(app.declaration, chosen, ("server",), None)._check()


@pytest.mark.parametrize(("given", "namespace"), [("", "livekv"), ("shop", "shop")])
async def test_the_namespace_is_that_of_the_settings_else_the_applications(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, namespace: str
) -> None:
    """By it the journal and the queue are opened."""
    asked: list[str] = []

    def plan(settings: Settings, namespace: str, **options: Any) -> None:
        asked.append(namespace)
        raise SettingsError("journal", "that is enough")

    monkeypatch.setattr("skerry.roles.running.plan", plan)
    with pytest.raises(SettingsError, match="enough"):
        await _Process(app.declaration, settings(tmp_path, namespace=given), ROLES, None)._open()
    assert asked == [namespace]


def test_wrong_tokens_are_found_before_anything_is_opened(tmp_path: Path) -> None:
    """The token itself is not shown."""
    with pytest.raises(SettingsError, match="tokens: entry 1") as caught:
        run_roles(app.declaration, settings(tmp_path, tokens="all:geheim"), ROLES)
    assert "geheim" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


async def test_the_runner_hears_of_its_life(tmp_path: Path) -> None:
    """Ready with gauges and metrics, then ended by its wish with code 0; everything is closed."""
    control = Control()
    process = _Process(app.declaration, settings(tmp_path), ROLES, control)
    running = asyncio.create_task(process.run())
    async with asyncio.timeout(90):
        await control.is_ready.wait()
        assert {"lag", "position", "connections"} <= set(control.gauges())
        assert "skerry_memory_offset" in control.metrics()
        is_ready, report = process._report(Purpose.EVERYTHING)
        assert (is_ready, report["status"]) == (True, "ready")
        assert control.stop is not None
        control.stop(1.0)
        assert await running == 0
    assert control.told == ["ready", "closed"]
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".sockets")]


async def test_a_server_is_ready_when_it_has_joined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a balancer hands connections over, `ready` means that it does: not before it has answered."""
    inner, outer = Door.pair()
    monkeypatch.setenv(JOIN, str(outer.detach()))
    control, links = Control(), asyncio.Queue[socket.socket]()
    door = Door(inner)
    door.open(links.put_nowait)
    running = asyncio.create_task(_Process(app.declaration, settings(tmp_path), ROLES, control).run())
    async with asyncio.timeout(90):
        link = await links.get()
        assert await asyncio.get_running_loop().sock_recv(link, 2) == JOIN_WORD + bytes(
            [len("server/consumer-server")]
        )
        assert control.told == []
        link.send(WELCOME)
        await control.is_ready.wait()
        assert control.stop is not None
        door.shut()
        link.close()
        control.stop(1.0)
        assert await running == 0
    inner.close()


@pytest.mark.parametrize("roles", [("consumer", "server"), ("consumer", "hosted"), ("host",)])
async def test_what_it_hosts_is_shut_down_when_it_never_joins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, roles: tuple[str, ...]
) -> None:
    """Asked to end while no balancer answers: the hosted application, which has started, hears of the end."""
    inner, outer = Door.pair()
    monkeypatch.setenv(JOIN, str(outer.detach()))
    said: list[str] = []

    async def hosted(scope: Any, receive: Any, send: Any) -> None:
        while True:
            said.append((await receive())["type"])
            await send({"type": f"{said[-1]}.complete"})

    application = App("livekv")
    application.host("/shop", hosted)
    control, links = Control(), asyncio.Queue[socket.socket]()
    door = Door(inner)
    door.open(links.put_nowait)
    running = asyncio.create_task(_Process(application.declaration, settings(tmp_path), roles, control).run())
    async with asyncio.timeout(90):
        link = await links.get()  # it would join, and nobody says that it has
        assert said == ["lifespan.startup"]
        assert control.stop is not None
        control.stop(1.0)
        assert await running == 0
    door.shut()
    link.close()
    inner.close()
    assert said == ["lifespan.startup", "lifespan.shutdown"]
    assert control.told == ["closed"]


async def test_it_makes_room_and_takes_over_again(tmp_path: Path) -> None:
    """Asked to, a process lets go of the journal and stands by; called back it works again, with all that it was."""
    old, new = Control(), Control()
    first = asyncio.create_task(_Process(app.declaration, settings(tmp_path), ROLES, old).run())
    async with asyncio.timeout(90):
        await old.is_ready.wait()
        old.on_yield()
        await old.is_waiting.wait()
        second = asyncio.create_task(_Process(app.declaration, settings(tmp_path), ROLES, new).run())
        await new.is_ready.wait()
        assert new.stop is not None
        new.stop(1.0)
        assert await second == 0
        old.is_ready.clear()
        old.on_recall()
        await old.is_ready.wait()
        assert old.told == ["ready", "standby", "ready"]
        assert old.stop is not None
        old.stop(1.0)
        assert await first == 0


async def test_what_cannot_work_fails_before_it_stands_by(tmp_path: Path) -> None:
    """While another process owns the journal: a handler that nothing fills, and a migration that the database refuses,
    are told before anybody is asked to make room."""
    old = Control()
    first = asyncio.create_task(_Process(app.declaration, settings(tmp_path), ROLES, old).run())
    async with asyncio.timeout(90):
        await old.is_ready.wait()
        unfilled, broken = App("livekv"), App("livekv")

        @unfilled.on(Event)
        def listener(event: Event, nothing: Control) -> None: ...

        steps = tmp_path / "steps"
        steps.mkdir()
        (steps / "0001.sql").write_text("create tabel things (id integer primary key)")
        broken.migrations(steps)
        for wrong, why in (
            (unfilled, "nothing fills parameter nothing: there is no service Control"),
            (broken, "step 1 .*syntax error"),
        ):
            control = Control()
            with pytest.raises(SkerryError, match=why):
                await _Process(wrong.declaration, settings(tmp_path), ROLES, control).run()
            assert "standby" not in control.told
        assert old.stop is not None
        old.stop(1.0)
        assert await first == 0


async def test_a_wish_to_end_is_heard_in_standby(tmp_path: Path) -> None:
    """While another process owns the journal: ended at once, without having opened it."""
    first, second = Control(), Control()
    owner = asyncio.create_task(_Process(app.declaration, settings(tmp_path), ROLES, first).run())
    async with asyncio.timeout(90):
        await first.is_ready.wait()
        waiting = asyncio.create_task(_Process(app.declaration, settings(tmp_path), ROLES, second).run())
        await second.is_waiting.wait()
        assert second.stop is not None
        second.stop(1.0)
        assert await waiting == 0
        assert second.told == ["standby", "closed"]
        assert first.stop is not None
        first.stop(1.0)
        assert await owner == 0


async def test_a_signal_is_heard_in_standby(tmp_path: Path) -> None:
    """Without a runner: Ctrl-C while it waits is an end like another, with code 0."""
    first = Control()
    owner = asyncio.create_task(_Process(app.declaration, settings(tmp_path), ROLES, first).run())
    async with asyncio.timeout(90):
        await first.is_ready.wait()
        waiting = asyncio.create_task(_Process(app.declaration, settings(tmp_path), ROLES, None).run())
        await asyncio.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)
        assert await waiting == 0
        assert first.stop is not None
        first.stop(1.0)
        assert await owner == 0


async def test_what_keeps_it_from_starting_is_told_to_the_runner(tmp_path: Path) -> None:
    """As fatal, with its message, and raised."""
    control = Control()
    (tmp_path / "x.db").mkdir()
    with pytest.raises(Exception, match=r"."):
        await _Process(app.declaration, settings(tmp_path), ROLES, control).run()
    [(message, fatal), closed] = control.told
    assert message
    assert fatal
    assert closed == "closed"


async def test_a_cancellation_that_is_no_wish_to_end_is_passed_on(tmp_path: Path) -> None:
    """Nothing swallows it."""
    control = Control()
    running = asyncio.create_task(_Process(app.declaration, settings(tmp_path), ROLES, control).run())
    async with asyncio.timeout(90):
        await control.is_ready.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running


@pytest.mark.parametrize("roles", [("host",), ("consumer", "server"), ("consumer", "hosted")])
async def test_what_it_hosts_starts_again_with_its_role(tmp_path: Path, roles: tuple[str, ...]) -> None:
    """A process that fails and is mended starts its roles again: the hosted applications end and begin with them."""
    said: list[str] = []

    async def hosted(scope: Any, receive: Any, send: Any) -> None:
        while True:
            said.append((await receive())["type"])
            await send({"type": f"{said[-1]}.complete"})

    def plain(environ: Any, start: Any) -> list[bytes]:
        start("200 OK", [("Content-Length", "5")])
        return [b"plain"]

    application = App("livekv")
    application.host("/shop", hosted)
    application.host("/", plain)
    control = Control()
    process = _Process(application.declaration, settings(tmp_path), roles, control)
    running = asyncio.create_task(process.run())
    async with asyncio.timeout(90):
        await control.is_ready.wait()
        runtime = process.runtime
        assert runtime is not None
        control.is_ready.clear()
        runtime.fail(runtime.supervisor.name, RuntimeError("mend me"))
        await control.is_ready.wait()
        assert process._composed is not None
        [(_, role)] = process._composed.listening
        client = HttpConnection(int(role.addresses[0].rpartition(":")[2]))
        assert (await client.ask("GET", "/")).body == b"plain"
        client.close()
        assert control.stop is not None
        control.stop(1.0)
        assert await running == 0
    assert said == ["lifespan.startup", "lifespan.shutdown"] * 2
