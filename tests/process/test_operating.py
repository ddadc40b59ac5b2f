"""What operators order of a runner, with real children: stop, restart, scale, reload; over its socket."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from skerry.errors import SettingsError
from skerry.process import control
from skerry.process.child import Spec
from skerry.process.operating import Operator
from skerry.process.orders import AnyOrder, Outcome, Reload, Restart, Scale, Stop, scaling

sys.path.insert(0, str(Path(__file__).parent))
from runnerworld import PROGRAM, World, gone, running, spec  # type: ignore[import-not-found]


class Desk:
    """An operator of a world, what the files of settings say, and what was told."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.environment: Mapping[str, str] = {}
        self.wrong = ""
        self.kind = "ready"
        self.told: list[str] = []
        self.operator = Operator(world.runner, self._read, self._specs)

    def _read(self) -> Mapping[str, str]:
        if self.wrong:
            raise SettingsError("wait", self.wrong)
        return self.environment

    def _specs(self, role: str, count: int) -> Sequence[Spec]:
        command = [sys.executable, str(PROGRAM), self.kind]
        return [Spec(f"{role}-{number}", role, command) for number in range(1, count + 1)]

    async def order(self, order: AnyOrder) -> Outcome:
        async with asyncio.timeout(120):
            return await self.operator.act(order, self.told.append)

    @property
    def states(self) -> dict[str, str]:
        return {slot.name: slot.state for slot in self.world.runner.slots}


async def test_a_stopped_process_stays_away_until_it_is_wished_for() -> None:
    """Stopped, it is neither restarted nor a failure; a restart of it starts it, a replacement of all does too; and one
    that works is replaced by a restart, its neighbour is not touched."""
    world = World([spec("a", "ready"), spec("b", "ready")])
    desk = Desk(world)
    async with running(world):
        await world.until(lambda: world.count("all_ready") == 1)
        first, neighbour = world.pid("a"), world.pid("b")
        assert (await desk.order(Stop("a"))).code == 0
        assert gone(first)
        assert desk.states == {"a": "stopped", "b": "ready"}
        assert (await desk.order(Restart("a"))).code == 0
        second = world.pid("a")
        assert (await desk.order(Restart("a"))).code == 0
        assert gone(second)
        assert world.pid("b") == neighbour
        assert (await desk.order(Stop("a"))).code == 0
        assert (await desk.order(Reload(wait=True))) == Outcome(0, "done")
        assert desk.states == {"a": "ready", "b": "ready"}
        assert world.pid("b") != neighbour
        assert world.count("ended") == 0
        assert [slot.restarts for slot in world.runner.slots] == [0, 0]
        answer = await desk.order(Stop("c"))
        assert answer == Outcome(2, "there is no process 'c'; there are a, b")


async def test_a_stopped_process_that_does_not_start_is_still_stopped(tmp_path: Path) -> None:
    """With a broken application a restart says so and changes nothing; nothing is tried again by itself."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.read_text())
    world = World([Spec("a", "x", [sys.executable, str(program), "ready"])], [spec("b", "ready")])
    desk = Desk(world)
    async with running(world) as task:
        await world.until(lambda: world.count("all_ready") == 1)
        program.write_text("raise SyntaxWarning('broken')\n")
        pid = world.pid("a")
        answer = await desk.order(Restart("a"))
        assert answer == Outcome(1, "a was not restarted; it is ready, as before")
        assert world.pid("a") == pid
        await desk.order(Stop("a"))
        answer = await desk.order(Restart("a"))
        assert answer == Outcome(1, "a was not restarted; it is stopped, as before")
        assert "a does not start: it ended with exit code 1" in desk.told
        assert (await desk.order(Reload(wait=True))).text.startswith("the replacement stopped halfway: b new")
        assert desk.states == {"a": "stopped", "b": "ready"}
        program.write_text(PROGRAM.read_text())
        assert (await desk.order(Restart("a"))).code == 0
        assert world.runner.rollout.halfway == "", "everything is new now"
        assert not task.done()


async def test_scaling_adds_what_works_and_removes_what_is_too_much() -> None:
    """Those that are there stay as they are; new ones end with their stage; one that does not get ready is given up and
    costs nothing; one that comes again is supervised as any other."""
    command = [sys.executable, str(PROGRAM), "ready"]
    world = World([Spec("server-1", "server", command)], [Spec("consumer-1", "consumer", command)])
    desk = Desk(world)
    async with running(world) as task:
        await world.until(lambda: world.count("all_ready") == 1)
        first = world.pid("server-1")
        assert await desk.order(Scale("server", 3)) == Outcome(0, "server: 3")
        assert [slot.name for slot in world.runner.slots.stages[0]] == ["server-1", "server-2", "server-3"]
        assert set(desk.states.values()) == {"ready"}
        removed = world.pid("server-3")
        assert (await desk.order(Scale("server", 2))).code == 0
        assert gone(removed)
        desk.kind = "crash"
        answer = await desk.order(Scale("server", 4))
        assert answer == Outcome(1, "a new server did not get ready; those that were there stay")
        assert list(desk.states) == ["server-1", "server-2", "consumer-1"]
        desk.kind = "ready"
        assert (await desk.order(Scale("server", 3))).code == 0
        assert world.pid("server-1") == first
        assert world.count("ended") == 0
        os.kill(world.pid("server-3"), 9)
        await world.until(lambda: world.count("started", "server-3") == 1)
        assert not task.done()


async def test_a_wrong_setting_replaces_nothing() -> None:
    """The files are read before anybody is replaced; what is right in them goes to every new child."""
    world = World([spec("a", "ready")])
    desk = Desk(world)
    async with running(world):
        await world.until(lambda: world.count("all_ready") == 1)
        before = world.pid("a")
        desk.wrong = "'x' is not a number"
        assert await desk.order(Reload(wait=True)) == Outcome(2, "wait: 'x' is not a number")
        await desk.operator.roll_and_say()  # what a SIGHUP does
        assert world.pid("a") == before
        desk.wrong, desk.environment = "", {"SKERRY_WAIT": "3"}
        assert (await desk.order(Reload(wait=True))).code == 0
        assert desk.told == ["replacing every process", "every process was replaced"]
        [slot] = world.runner.slots
        assert slot.child is not None
        assert slot.child.spec.environment == {"SKERRY_WAIT": "3"}
        assert (await desk.order(Reload())).code == 0
        await world.until(lambda: world.count("rolled") == 2)
    assert "up       | nothing is replaced: wait: 'x' is not a number" in world.written()


def test_what_can_be_scaled_is_said() -> None:
    """A wrong word or number is a line that says what would be right."""
    assert scaling("servers=4") == Scale("server", 4)
    for text in ("server=4", "servers", "servers=-1", "servers=many", "balancers=2"):
        with pytest.raises(SettingsError):
            scaling(text)


async def test_orders_go_over_the_socket_of_the_runner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is its user's alone; progress comes before the outcome; and a runner that does not know an order says so."""
    monkeypatch.setenv("SKERRY_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setattr(control, "BEAT_SECONDS", 0.01)
    world = World([spec("a", "ready")])
    desk = Desk(world)
    listening = control.Control(lambda: control.status_of(world.runner, "a:app", "", ""), desk.operator.act)
    await listening.start()
    try:
        path = control.runner_directory(os.getpid()) / control.SOCKET_NAME
        assert path.stat().st_mode & 0o777 == 0o600
        async with running(world):
            await world.until(lambda: world.count("all_ready") == 1)
            before = world.pid("a")
            told: list[str] = []

            def give(order: AnyOrder) -> Outcome:
                return control.order(os.getpid(), order, told.append)

            assert await asyncio.to_thread(give, Reload(wait=True)) == Outcome(0, "done")
            assert told == ["replacing every process", "every process was replaced"]
            assert world.pid("a") != before
            monkeypatch.setattr(listening, "_act", None)
            assert (await asyncio.to_thread(give, Stop("a"))).code == 2
    finally:
        await listening.stop()
    assert control.order(os.getpid(), Stop("a"), told.append).code == 1, "it has ended"


async def test_nobody_else_may_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer of another user gets no answer, and nothing is done."""
    monkeypatch.setenv("SKERRY_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setattr(control, "peer_is_same_user", lambda connection: False)
    acted: list[AnyOrder] = []

    async def act(order: AnyOrder, tell: object) -> Outcome:
        acted.append(order)
        return Outcome(0, "")

    listening = control.Control(lambda: (_ for _ in ()).throw(AssertionError), act)
    await listening.start()
    outcome = await asyncio.to_thread(control.order, os.getpid(), Stop("a"), lambda text: None)
    await listening.stop()
    assert outcome.code == 1
    assert acted == []
