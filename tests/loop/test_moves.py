"""Moving a loop's state: whatever is exported, imported, swapped or held, nothing is lost, doubled or early."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.errors import LifecycleError
from skerry.loop import models
from skerry.loop.loop import Loop
from skerry.testing.clock import VirtualLoop, run_virtual

Step = tuple[str, int, bool]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["tick", "before", "timer", "timer", "export", "import", "swap", "erase", "hold", "wait", "wait"]
        ),
        st.integers(0, 7),
        st.booleans(),
    ),
    min_size=3,
    max_size=30,
)


@dataclass
class Thing:
    """One registered callback in the model: where it is and, for a timer, what remains (quarter seconds)."""

    name: int
    kind: str
    at: int
    remaining: int


class Model:
    """Loop 0 runs, loop 1 does not; a held loop does nothing."""

    def __init__(self) -> None:
        self.things: list[Thing] = []
        self.called: list[tuple[int, int]] = []
        self.time = 0
        self.running = [True, False]

    def step(self, quarters: int) -> None:
        fired = []
        for thing in self.things:
            if self.running[thing.at] and (thing.kind != "timer" or thing.remaining <= quarters):
                fired.append(thing)
            elif self.running[thing.at]:
                thing.remaining -= quarters
        for thing in fired:
            self.things.remove(thing)
            self.called.append((thing.name, self.time + (thing.remaining if thing.kind == "timer" else 0)))
        self.time += quarters

    def move(self, how: str, everything: bool) -> None:
        movable = [t for t in self.things if everything or t.kind != "timer"]
        for thing in movable:
            match how:
                case "export":
                    thing.at = 1
                case "import":
                    thing.at = 0
                case "swap":
                    thing.at = 1 - thing.at
                case _ if thing.at == 0:
                    self.things.remove(thing)


@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_every_callback_runs_once_at_its_time(steps: list[Step]) -> None:
    """K-12, property: over any history of moves and holds each callback runs exactly once, after exactly the time
    during which a running loop held it."""

    async def main() -> None:
        virtual = asyncio.get_running_loop()
        assert isinstance(virtual, VirtualLoop)
        loops, model = [Loop(clock=virtual.clock) for _ in range(2)], Model()
        called: list[tuple[int, int]] = []
        loops[0].start()
        for name, (what, number, flag) in enumerate(steps):

            def callback(name: int = name) -> None:
                called.append((name, round(virtual.time() * 4)))

            at = 0 if flag else 1
            match what:
                case "tick" | "before":
                    (loops[at].on_tick if what == "tick" else loops[at].on_before_tick)(callback)
                    model.things.append(Thing(name, what, at, 0))
                case "timer":
                    loops[at].add_timer((number + 1) / 4, callback)
                    model.things.append(Thing(name, what, at, number + 1))
                case "export":
                    loops[0].export_to(loops[1], everything=flag)
                    model.move("export", flag)
                case "import":
                    loops[0].import_from(loops[1], everything=flag)
                    model.move("import", flag)
                case "swap":
                    loops[0].swap(loops[1], everything=flag)
                    model.move("swap", flag)
                case "erase":
                    loops[0].erase(everything=flag)
                    model.move("erase", flag)
                case "hold":
                    (loops[0].resume if loops[0].held else loops[0].hold)()
                    model.running[0] = not loops[0].held
                case _:
                    # A tenth later, so that what is due at the same moment is surely past.
                    await asyncio.sleep(number / 4)
                    await asyncio.sleep(0)
                    await asyncio.sleep(0)
                    model.step(number)
            assert sorted(called) == sorted(model.called) or what != "wait"
        if loops[0].held:
            loops[0].resume()
            model.running[0] = True
        await asyncio.sleep(10.0)
        model.step(40)
        loops[0].stop()
        loops[1].start()
        model.running = [False, True]
        await asyncio.sleep(10.0)
        model.step(40)
        loops[1].stop()
        assert sorted(called) == sorted(model.called)
        assert all(loop.interests.empty for loop in loops)

    run_virtual(main())


@pytest.mark.parametrize("model", models.available())
@pytest.mark.parametrize("how", ["export", "import", "swap"])
def test_streams_and_signals_move_too(model: str, how: str) -> None:
    """A socket and a signal registered with one loop are served by the other after the move."""
    one, two = Loop(model=model), Loop(model=model)
    got: list[object] = []
    here, there = socket.socketpair()
    with here, there:

        def read(sock: socket.socket) -> None:
            got.append((Loop.current() is two, sock.recv(1)))
            two.remove_stream(sock)

        def arrived(number: int) -> None:
            got.append((Loop.current() is two, number))
            two.remove_signal(number)

        one.add_read_stream(here, read)
        one.add_signal(signal.SIGUSR1, arrived)
        match how:
            case "export":
                one.export_to(two, everything=True)
            case "import":
                two.import_from(one, everything=True)
            case _:
                one.swap(two, everything=True)
        one.run(until_idle=True)
        there.send(b"x")
        two.on_start(lambda: signal.raise_signal(signal.SIGUSR1))
        two.run(until_idle=True)
    assert sorted(got, key=str) == [(True, signal.SIGUSR1), (True, b"x")]


@pytest.mark.parametrize("model", models.available())
def test_a_running_loop_gives_and_takes(model: str) -> None:
    """Moves from within a callback of the running loop: the rest of the batch goes with the move."""
    one, two, got = Loop(model=model), Loop(model=model), list[str]()
    one.on_tick(lambda: one.export_to(two, everything=True))
    one.on_tick(lambda: got.append("moved"))
    one.on_after_tick(lambda: got.append("moved after"))
    one.add_timer(0.001, lambda: got.append("moved timer"))
    one.run(until_idle=True)
    assert got == []
    one.on_tick(lambda: one.import_from(two, everything=True))
    one.run(until_idle=True)
    assert got == ["moved", "moved after", "moved timer"]


def test_erase_ends_handles() -> None:
    """After erasing everything no handle is active and an idle loop ends at once."""
    loop = Loop()
    timer = loop.add_periodic_timer(1.0, int)
    here, there = socket.socketpair()
    with here, there:
        stream = loop.add_read_stream(here, print)
        loop.on_tick(int)
        loop.erase()
        assert (loop.interests.count().tick, timer.active, stream.active) == (0, True, True)
        loop.erase(everything=True)
        assert (timer.active, stream.active, loop.interests.empty) == (False, False, True)
        loop.run(until_idle=True)


def test_a_loop_of_another_thread_is_left_alone() -> None:
    """Moving from a loop that runs elsewhere is refused, in words, before anything moves."""
    other, here = Loop(), Loop()
    started = threading.Event()
    other.on_start(started.set)
    thread = threading.Thread(target=other.run)
    thread.start()
    assert started.wait(30.0)
    here.on_tick(int)
    with pytest.raises(LifecycleError, match="another thread"):
        here.export_to(other)
    assert here.interests.count().tick == 1
    other.post(other.stop)
    thread.join(30.0)
    assert not thread.is_alive()


# The failed state's side of it.


async def until(condition: Callable[[], object]) -> None:
    """Wait for what the loop does in its own time; the seconds only end a test that would hang."""
    async with asyncio.timeout(30.0):
        while not condition():  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.001)


async def test_held_interests_do_not_run_and_the_failure_set_does() -> None:
    """K-14: ticks, timers and streams are really held; only what is registered in the failure scope runs."""
    loop, got = Loop(), list[str]()
    told: list[str] = []
    loop.events.on("held", lambda: told.append("held"))
    loop.events.on("resumed", lambda: told.append("resumed"))
    here, there = socket.socketpair()
    with here, there:
        loop.start()
        loop.add_read_stream(here, lambda sock: got.append(f"stream {sock.recv(1)!r}"))
        loop.add_timer(0.001, lambda: got.append("timer"))
        loop.on_tick(lambda: got.append("tick"))
        loop.hold()
        there.send(b"x")
        loop.on_tick(lambda: got.append("tick meanwhile"))

        def solver_tick() -> None:
            got.append("solver tick")
            loop.add_timer(0.0, lambda: got.append("solver timer"))

        with loop.failure_scope():
            loop.on_tick(solver_tick)
        await until(lambda: len(got) == 2)
        await asyncio.sleep(0.02)  # long enough for the others, were they not held
        assert got == ["solver tick", "solver timer"]
        loop.resume()
        await until(lambda: len(got) == 6)
        assert sorted(got[2:]) == sorted(["tick", "tick meanwhile", "timer", "stream b'x'"])
        loop.stop()
    assert told == ["held", "resumed"]


async def test_what_the_failure_set_still_holds_is_kept() -> None:
    """Resuming while a solver's entries wait: they join the normal set."""
    loop, got = Loop(), list[str]()
    loop.start()
    loop.hold()
    with loop.failure_scope():
        loop.on_tick(lambda: got.append("solver"))
        timer = loop.add_timer(0.001, lambda: got.append("solver timer"))
    loop.resume()
    assert timer.active
    await until(lambda: len(got) == 2)
    loop.stop()
    assert got == ["solver", "solver timer"]


async def test_hold_within_a_batch_keeps_its_rest() -> None:
    """A tick that fails and holds the loop: the entries behind it wait, and run after the resume."""
    loop, got = Loop(), list[str]()
    loop.start()
    loop.on_tick(loop.hold)
    loop.on_tick(lambda: got.append("rest"))
    await asyncio.sleep(0.002)
    assert got == []
    with pytest.raises(LifecycleError, match="held"):
        loop.hold()
    loop.resume()
    with pytest.raises(LifecycleError, match="not held"):
        loop.resume()
    await until(lambda: got)
    loop.stop()
    assert got == ["rest"]
