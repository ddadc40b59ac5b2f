"""The runner with real children: noticed ends, restarts, hung loops, replacement, an orderly end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import pytest

from skerry.process.child import ProcessHung, Spec
from skerry.process.output import Output
from skerry.supervision.failure import name_of

sys.path.insert(0, str(Path(__file__).parent))
from runnerworld import PROGRAM, World, gone, running, spec  # type: ignore[import-not-found]


async def test_children_start_and_end_in_order() -> None:
    """All get ready; at the end each stage drains after the one before it, with its words in the common log."""
    world = World([spec("first", "ready")], [spec("second", "ready")])
    async with running(world) as task:
        await world.until(lambda: world.count("all_ready") == 1)
        pids = [world.pid("first"), world.pid("second")]
    assert task.result() == 0
    assert all(gone(pid) for pid in pids)
    lines = world.written().splitlines()
    assert "first    | ready runs as first" in lines
    assert lines.index("first    | drained") < lines.index("second   | drained")


async def test_a_killed_child_is_noticed_and_restarted_at_once() -> None:
    """Its end comes as a failure that says which signal; a new one takes its place, its neighbour is not touched."""
    world = World([spec("a", "ready"), spec("b", "ready")])
    async with running(world):
        await world.until(lambda: world.count("all_ready") == 1)
        before, neighbour = world.pid("a"), world.pid("b")
        os.kill(before, signal.SIGKILL)
        await world.until(lambda: world.count("ready", "a") == 2)
        assert world.pid("a") != before
        assert world.pid("b") == neighbour
        [slot] = [slot for slot in world.runner.slots if slot.name == "a"]
        assert slot.restarts == 1
        assert slot.last_failure is not None
        assert slot.last_failure.message == "a was killed by SIGKILL"
    assert "up       | a was killed by SIGKILL" in world.written()


async def test_what_fails_is_an_error_to_programs_that_read_the_log() -> None:
    """Where the log is JSON, the runner's own lines have a level: failures are errors, the rest is not."""
    world = World([spec("good", "ready")], [spec("bad", "crash")], as_json=True)
    assert await asyncio.wait_for(asyncio.create_task(world.runner.run()), 90) == 1
    told = [line for text in world.written().splitlines() if (line := json.loads(text))["process"] == "up"]
    errors = [line["message"] for line in told if line["level"] == "error"]
    assert any(message.startswith("giving up: ") for message in errors)
    assert any(message.startswith("bad ") for message in errors)
    assert {line["level"] for line in told} <= {"info", "error"}


async def test_a_child_that_never_gets_ready_is_given_up_with_its_traceback() -> None:
    """After its few tries everything ends with code 1, and the last failure carries the child's own traceback."""
    world = World([spec("good", "ready")], [spec("bad", "crash")])
    task = asyncio.create_task(world.runner.run())
    assert await asyncio.wait_for(task, 90) == 1
    [bad] = [slot for slot in world.runner.slots if slot.name == "bad"]
    assert bad.last_failure is not None
    assert 'raise ValueError("a mistake in the child")' in bad.last_failure.traceback
    assert world.count("ended", "bad") == 2
    assert "never ready in 2 tries" in world.written()


async def test_wrong_settings_end_everything_with_code_2() -> None:
    """A child that refuses its settings is not tried again, and its line is shown."""
    world = World([spec("bad", "settings")])
    assert await asyncio.wait_for(world.runner.run(), 90) == 2
    assert world.count("ended") == 1
    assert "bad      | skerry: bind: something is wrong" in world.written()


async def test_too_many_restarts_are_given_up() -> None:
    """More than the intensity within its time: everything ends with code 1, and who it was is a state and a number."""
    world = World([spec("a", "ready")])
    task = asyncio.create_task(world.runner.run())
    for number in range(1, 7):
        await world.until(lambda number=number: world.count("ready") == number)
        os.kill(world.pid("a"), signal.SIGKILL)
    assert await asyncio.wait_for(task, 90) == 1
    assert world.count("ready") == 6
    assert world.runner.slots[0].state == "crash looping"
    assert 'skerry_crash_looping{process="a"} 1' in world.runner.metrics()


async def test_a_hung_loop_is_dumped_and_ended() -> None:
    """A child whose loop does not run is killed and restarted; the failure has the stack of where it stood."""
    world = World([spec("a", "hang")], hang_seconds=1.5)
    async with running(world):
        await world.until(lambda: world.count("ended") == 1)
        failure = world.runner.slots[0].last_failure
        assert failure is not None
        assert failure.distance(ProcessHung) == 0
        assert "child_program.py" in failure.traceback
        assert "in serve" in failure.traceback
    assert name_of(ProcessHung) == failure.kind


async def test_a_child_that_does_not_drain_is_killed_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The grace is for all; who ignores the wish to end is killed when only what later stages need is left."""
    monkeypatch.setattr("skerry.process.runner.LAST_SECONDS", 60.0)
    world = World([spec("deaf", "deaf")], [spec("good", "ready")], grace_seconds=60.3)
    async with running(world):
        await world.until(lambda: world.count("all_ready") == 1)
    assert "deaf did not end within" in world.written()
    assert "good     | drained" in world.text.getvalue()


async def test_replacing_keeps_the_old_until_the_new_is_ready() -> None:
    """A roll replaces every child, the old one ends only after the new one is ready, and nobody counts as failed."""
    world = World([spec("a", "ready")], [spec("b", "ready")])
    async with running(world):
        await world.until(lambda: world.count("all_ready") == 1)
        before = {name: world.pid(name) for name in ("a", "b")}
        assert await world.runner.rollout.roll()
        for name, pid in before.items():
            assert world.pid(name) != pid
            assert gone(pid)
        assert world.count("ended") == 0
        assert [slot.restarts for slot in world.runner.slots] == [0, 0]


@pytest.fixture
def owned(tmp_path: Path) -> Path:
    """What one child at a time owns."""
    (tmp_path / "owned.manner").write_text("good")
    return tmp_path / "owned"


async def test_a_successor_on_standby_takes_over(owned: Path) -> None:
    """A child that waits for what its predecessor owns gets it; the predecessor stays for a while, then it ends."""
    world = World([spec("owner", "owner", str(owned))])
    async with running(world):
        await world.until(lambda: world.count("all_ready") == 1)
        before = world.pid("owner")
        assert await asyncio.wait_for(world.runner.rollout.roll(), 90)
        assert world.pid("owner") != before
        [slot] = world.runner.slots
        assert slot.ready
        assert slot.predecessor is not None
        assert slot.predecessor.pid == before
        assert await asyncio.wait_for(world.runner.rollout.roll(), 90), (
            "the one that stands by is in nobody's way"
        )
        assert gone(before)
        assert world.count("ended") == 0


@pytest.mark.parametrize("manner", ["dies standing by", "dies as owner"])
async def test_the_one_before_works_again_when_its_successor_dies(owned: Path, manner: str) -> None:
    """Whenever the new one dies before it is ready: the old process, with the old code, gets back what it let go of,
    the roll says that it did not go through, and nobody is restarted."""
    world = World([spec("other", "ready")], [spec("owner", "owner", str(owned))])
    async with running(world):
        await world.until(lambda: world.count("all_ready") == 1)
        before, other = world.pid("owner"), world.pid("other")
        owned.with_suffix(".manner").write_text(manner)
        assert not await asyncio.wait_for(world.runner.rollout.roll(), 90)
        await world.until(lambda: world.runner.slots[1].ready)
        assert (world.pid("owner"), world.pid("other")) == (before, other)
        assert [slot.restarts for slot in world.runner.slots] == [0, 0]
        assert world.runner.rollout.halfway == ""
        owned.with_suffix(".manner").write_text("good")
        assert await asyncio.wait_for(world.runner.rollout.roll(), 90), "mended"
        assert world.pid("owner") != before


async def test_a_successor_may_still_die_when_it_is_ready(
    owned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until it has decided something the one before stands by, and works again; what runs which code is said."""
    monkeypatch.setattr("skerry.process.rollout.TRIAL_SECONDS", 1000.0)
    world = World([spec("other", "ready")], [spec("owner", "owner", str(owned))])
    async with running(world):
        await world.until(lambda: world.count("all_ready") == 1)
        before = world.pid("owner")
        assert await asyncio.wait_for(world.runner.rollout.roll(), 90)
        os.kill(world.pid("owner"), signal.SIGKILL)
        await world.until(lambda: world.runner.slots[1].ready and world.pid("owner") == before)
        assert world.runner.rollout.halfway.startswith(
            "the replacement stopped halfway: other new, owner as before"
        )
        assert [slot.restarts for slot in world.runner.slots] == [0, 0]
    assert "before it had decided anything: the one before it works again" in world.written()


async def test_one_that_lets_nothing_go_is_ended(owned: Path) -> None:
    """A predecessor that does not make room in time makes it by its end."""
    owned.with_suffix(".manner").write_text("deaf")
    world = World([spec("owner", "owner", str(owned))], replaced_seconds=0.3)
    async with running(world):
        await world.until(lambda: world.count("all_ready") == 1)
        before = world.pid("owner")
        assert await asyncio.wait_for(world.runner.rollout.roll(), 90)
        assert gone(before)


async def test_one_stands_by_for_another_and_is_replaced_first(owned: Path) -> None:
    """Two for one thing: all is ready with one on standby, and after a roll both run the new program."""
    world = World([spec("one", "owner", str(owned)), spec("two", "owner", str(owned))])
    for slot in world.runner.slots:
        object.__setattr__(slot.spec, "role", "owner")
    async with running(world):
        await world.until(lambda: world.count("all_ready") == 1)
        before = {world.pid("one"), world.pid("two")}
        assert await asyncio.wait_for(world.runner.rollout.roll(), 90)
        assert not before & {world.pid("one"), world.pid("two")}
        await world.until(lambda: {slot.state for slot in world.runner.slots} == {"ready", "standby"})


async def test_many_wishes_are_one_roll_and_one_more(owned: Path) -> None:
    """What is wished for while a roll goes on is granted by the next one, however often it was wished for."""
    world = World([spec("a", "ready")])
    async with running(world):
        await world.until(lambda: world.count("all_ready") == 1)
        rolls = [asyncio.create_task(world.runner.rollout.roll()) for _ in range(10)]
        assert await asyncio.wait_for(asyncio.gather(*rolls), 90) == [True] * 10
        assert world.count("rolled") == 2
        assert world.count("replaced", "a") == 2


async def test_a_bad_successor_leaves_the_old_one(tmp_path: Path) -> None:
    """When the new program does not come up, the last good one stays; the roll says so and stops there."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.read_text())
    world = World([Spec("a", "x", [sys.executable, str(program), "ready"])])
    async with running(world):
        await world.until(lambda: world.count("all_ready") == 1)
        pid = world.pid("a")
        program.write_text("raise SyntaxWarning('broken')\n")
        assert not await world.runner.rollout.roll()
        assert world.pid("a") == pid
        assert not gone(pid)
    assert "a stays as it is: its successor ended with exit code 1" in world.written()


async def test_a_killed_old_one_is_followed_by_its_successor(tmp_path: Path) -> None:
    """When the present child dies while its successor starts, the successor takes its place: not two of them."""
    world = World([spec("a", "ready")])
    async with running(world):
        await world.until(lambda: world.count("all_ready") == 1)
        rolling = asyncio.create_task(world.runner.rollout.roll())
        while world.runner.slots[0].successor is None:  # noqa: ASYNC110 - set by the roll's first step
            await asyncio.sleep(0)
        os.kill(world.pid("a"), signal.SIGKILL)
        assert await asyncio.wait_for(rolling, 90)
        assert world.count("started") == 1
        assert not gone(world.pid("a"))


async def test_failures_of_parts_come_with_their_traceback() -> None:
    """What fails inside a child and does not end it is known to the runner too, as it was."""
    world = World([spec("a", "failing")])
    async with running(world):
        await world.until(lambda: world.count("all_ready") == 1)
        failure = world.runner.slots[0].last_failure
        assert failure is not None
        assert failure.component == "a: hub"
        assert failure.distance(LookupError) == 0
        assert 'raise LookupError("a part of the child")' in failure.traceback


async def test_a_burst_loses_nothing_to_a_quick_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Far more lines at once than may wait to be written: the child waits for them to be, and each is there."""
    monkeypatch.setattr("skerry.process.output._STALLED_SECONDS", 1000.0)  # however busy the machine is
    monkeypatch.setattr("skerry.process.child.LONGEST_PAUSE", 1000.0)
    with (tmp_path / "log").open("w") as stream:
        world = World([spec("a", "burst")])
        world.runner._output = output = Output(stream, limit_bytes=800_000)
        async with running(world):
            await world.until(lambda: world.count("ready", "a") == 1)
            while world.runner.slots[0].state != "standby":
                await asyncio.wait_for(world.runner.slots.change(), 60)
        output.close(60)
    lines = (tmp_path / "log").read_text().splitlines()
    assert [line for line in lines if "| line " in line] == [f"a        | line {n}" for n in range(50_000)]


async def test_metrics_of_all_have_the_process_label() -> None:
    """A child asks for the numbers of all and gets them under one TYPE, each with its process."""
    world = World([spec("a", "ready")], [spec("b", "ready")], [spec("asking", "gather")])
    async with running(world):
        await world.until(lambda: world.count("all_ready") == 1)
        async with asyncio.timeout(90):
            while "|pid" not in world.text.getvalue():  # noqa: ASYNC110 - written by a thread
                await asyncio.sleep(0.01)
    [answer] = [line for line in world.written().splitlines() if "# TYPE pid gauge" in line]
    assert answer.count("# TYPE pid gauge") == 1
    assert 'pid{process="asking",a="b"}' in answer
    assert 'skerry_process_restarts_total{process="b"} 0' in answer


async def test_the_second_wish_kills() -> None:
    """`kill` ends everything at once, whatever the children do; said again, the last stage has no moment more."""
    world = World([spec("deaf", "deaf")], grace_seconds=300.0)
    task = asyncio.create_task(world.runner.run())
    await world.until(lambda: world.count("all_ready") == 1)
    pid = world.pid("deaf")
    world.runner.stop()
    world.runner.kill(130)
    world.runner.kill(130)
    await asyncio.wait_for(task, 60)
    assert gone(pid)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's end")
async def test_children_do_not_outlive_a_killed_runner(tmp_path: Path) -> None:
    """A runner killed with -9 leaves no child behind."""
    program = tmp_path / "runner.py"
    program.write_text(
        "import asyncio, sys\n"
        "from skerry.process.child import Spec\n"
        "from skerry.process.output import Output\n"
        "from skerry.process.runner import Runner\n"
        f"spec = Spec('a', 'x', [sys.executable, {str(PROGRAM)!r}, 'ready'])\n"
        "async def main():\n"
        "    runner = Runner([[spec]], Output(sys.stdout))\n"
        "    runner.events.on('all_ready', lambda: print(runner.slots[0].child.pid, flush=True))\n"
        "    await runner.run()\n"
        "asyncio.run(main())\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(program), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    pid = 0
    async with asyncio.timeout(90):
        while not pid:
            said = (await process.stdout.readline()).decode().strip()
            pid = int(said) if said.isdigit() else 0
        process.kill()
        await process.communicate()
        while not gone(pid):  # noqa: ASYNC110 - a process that is not ours
            await asyncio.sleep(0.01)
