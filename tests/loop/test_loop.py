"""One suite for all models: what a loop promises, whatever it waits with."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
import time
from contextvars import ContextVar
from pathlib import Path

import pytest

from skerry.emitter import AsyncEventEmitter
from skerry.errors import LifecycleError
from skerry.loop import models
from skerry.loop.loop import Loop
from skerry.testing.clock import VirtualClock, VirtualLoop, run_virtual


@pytest.fixture(params=models.available())
def loop(request: pytest.FixtureRequest) -> Loop:
    """A loop of each model in turn."""
    return Loop(model=request.param)


def test_the_phases_of_one_iteration(loop: Loop) -> None:
    """start, before, tick, after, stop; what is added while its queue drains comes in the next iteration."""
    order: list[str] = []

    def before() -> None:
        order.append("before")
        loop.on_before_tick(lambda: order.append("next before"))
        loop.on_tick(lambda: order.append("tick from before"))

    def tick() -> None:
        order.append("tick")
        loop.on_tick(lambda: order.append("next tick"))
        loop.on_tick(lambda: loop.on_tick(loop.stop))

    loop.on_stop(lambda: order.append("stop"))
    loop.on_after_tick(lambda: order.append("after"))
    loop.on_tick(tick)
    loop.on_before_tick(before)
    loop.on_start(lambda: order.append("start"))
    loop.run()
    assert order == [
        "start",
        "before",
        "tick",
        "tick from before",
        "after",
        "next before",
        "next tick",
        "stop",
    ]


def test_start_and_stop_run_once(loop: Loop) -> None:
    """K-10: nothing is installed at each start; a second run finds the queues as they were left."""
    order: list[str] = []
    loop.on_start(lambda: order.append("start"))
    loop.on_stop(lambda: order.append("stop"))
    for _ in range(3):
        loop.run(until_idle=True)
        assert loop.interests.count().timers == 0
    assert order == ["start", "stop"]


@pytest.mark.parametrize("phase", ["on_before_tick", "on_tick", "on_after_tick"])
def test_nothing_starves(loop: Loop, phase: str) -> None:
    """K-9: a callback that always queues itself again lets timers and streams through."""
    got: set[str] = set()
    here, there = socket.socketpair()
    rounds = 0

    def again() -> None:
        nonlocal rounds
        rounds += 1
        if len(got) == 2 or rounds > 100_000:
            loop.stop()
        else:
            getattr(loop, phase)(again)

    with here, there:
        here.setblocking(False)
        there.send(b"x")
        loop.add_timer(0.0, lambda: got.add("timer"))

        def read(resource: object) -> None:
            got.add("stream")
            reading.cancel()

        reading = loop.add_read_stream(here, read)
        again()
        loop.run()
    assert got == {"timer", "stream"}
    assert rounds < 1000


def test_a_timer_after_blocking_work_is_not_early(loop: Loop) -> None:
    """K-8: the due time counts from the moment of the call, not from a reading before the work."""
    times: list[float] = []

    def work() -> None:
        time.sleep(0.03)
        times.append(time.monotonic())
        loop.add_timer(0.02, ring)

    def ring() -> None:
        times.append(time.monotonic())
        loop.stop()

    loop.on_tick(work)
    loop.run()
    assert times[1] - times[0] >= 0.02


def test_many_short_timers_are_never_early(loop: Loop) -> None:
    """Also where the machinery counts whole milliseconds."""
    early: list[float] = []

    def add(seconds: float) -> None:
        due = time.monotonic() + seconds

        def ring() -> None:
            if time.monotonic() < due:
                early.append(seconds)

        loop.add_timer(seconds, ring)

    for number in range(60):
        add(number * 0.00037)
    loop.run(until_idle=True)
    assert early == []
    assert loop.interests.count().timers == 0


def test_a_periodic_timer_does_not_drift(loop: Loop) -> None:
    """Ten calls every 5 ms with 2 ms of work in each end on the tenth point of the grid."""
    calls: list[float] = []
    began = time.monotonic()

    def work() -> None:
        calls.append(time.monotonic() - began)
        time.sleep(0.002)
        if timer.missed + len(calls) >= 10:
            loop.stop()

    timer = loop.add_periodic_timer(0.005, work)
    loop.run()
    ended = time.monotonic() - began
    # Every call is at or after a grid point of its own, however late the machine is: none was made up.
    assert all(call >= number * 0.005 - 1e-6 for number, call in enumerate(calls, 1))
    # Nor was one counted as missed that has not passed; the machine may have paused in the last call.
    assert timer.missed + len(calls) <= int(ended / 0.005 + 1e-3) + 1
    assert timer.interval == 0.005
    assert timer.active


def test_a_periodic_timer_is_called_on_its_grid_only() -> None:
    """K-8, in virtual time: 50 ms with 120 ms of work in each call; what passed meanwhile is skipped, not made up."""

    async def main() -> None:
        running = asyncio.get_running_loop()
        assert isinstance(running, VirtualLoop)
        clock, calls = running.clock, list[float]()
        loop = Loop(clock=clock)

        def work() -> None:
            calls.append(round(clock.monotonic(), 6))
            clock.jump(0.12)

        loop.start()
        timer = loop.add_periodic_timer(0.05, work)
        await asyncio.sleep(0.7)
        loop.stop()
        assert calls == [0.05, 0.2, 0.35, 0.5, 0.65]
        assert timer.missed == 2 * len(calls)

    run_virtual(main())


def test_callbacks_run_in_the_context_they_were_registered_in(loop: Loop) -> None:
    """A context variable (a trace, a request) goes along with every kind of callback."""
    variable: ContextVar[str] = ContextVar("variable", default="nobody")
    seen: list[str] = []
    here, there = socket.socketpair()

    def see(what: str) -> None:
        seen.append(f"{what} {variable.get()}")

    def read(sock: object) -> None:
        see("stream")
        stream.cancel()

    with here, there:
        there.send(b"x")
        variable.set("tick")
        loop.on_tick(lambda: see("tick"))
        variable.set("timer")
        loop.add_timer(0.001, lambda: see("timer"))
        variable.set("stream")
        stream = loop.add_read_stream(here, read)
        variable.set("nobody")
        loop.run(until_idle=True)
    assert sorted(seen) == ["stream stream", "tick tick", "timer timer"]


def test_a_timer_cancelled_in_its_own_callback(loop: Loop) -> None:
    """It is not called again, and an idle loop ends."""
    calls: list[int] = []

    def ring() -> None:
        calls.append(1)
        timer.cancel()

    timer = loop.add_periodic_timer(0.001, ring)
    loop.run(until_idle=True)
    assert calls == [1]


def test_read_and_write_streams(loop: Loop) -> None:
    """Each callback of a stream is called with it, in order; removal ends them; an idle loop ends."""
    got: list[object] = []
    here, there = socket.socketpair()
    with here, there:
        for sock in (here, there):
            sock.setblocking(False)

        def write(sock: socket.socket) -> None:
            sock.send(b"hello")
            loop.remove_write_stream(sock)

        def read(sock: socket.socket) -> None:
            got.append(sock.recv(9))
            loop.remove_stream(sock)

        loop.add_read_stream(here, lambda sock: got.append(sock is here))
        loop.add_read_stream(here, read)
        loop.add_write_stream(there, write)
        loop.run(until_idle=True)
    assert got == [True, b"hello"]


def test_pipes_and_files(loop: Loop, tmp_path: Path) -> None:
    """A pipe's end and a file on disk (always ready) are streams too."""
    got: list[bytes] = []
    reading, writing = os.pipe()
    os.write(writing, b"pipe")
    path = tmp_path / "file"
    path.write_bytes(b"file")

    def read_pipe(descriptor: int) -> None:
        got.append(os.read(descriptor, 9))
        loop.remove_read_stream(descriptor)

    with path.open("rb") as file:

        def read_file(resource: object) -> None:
            data = file.read()
            if data:
                got.append(data)
            else:
                loop.remove_read_stream(file)

        loop.add_read_stream(reading, read_pipe)
        loop.add_read_stream(file, read_file)
        loop.run(until_idle=True)
    os.close(reading)
    os.close(writing)
    assert sorted(got) == [b"file", b"pipe"]


def test_more_descriptors_than_select_can_take(loop: Loop) -> None:
    """K-13: 1,024 descriptors are no limit, except for `select` itself, which says so."""
    got: list[int] = []
    opened: list[tuple[int, int]] = []

    def read(descriptor: int) -> None:
        got.append(descriptor)
        loop.remove_read_stream(descriptor)

    def add() -> None:
        opened.extend(os.pipe() for _ in range(600))
        reading, writing = opened[-1]
        os.write(writing, b"x")
        if loop.model == "select":
            with pytest.raises(ValueError, match="another loop model"):
                loop.add_read_stream(reading, read)
        else:
            loop.add_read_stream(reading, read)

    try:
        loop.on_start(add)
        loop.run(until_idle=True)
    finally:
        for pair in opened:
            for descriptor in pair:
                os.close(descriptor)
    assert opened[-1][0] > 1024
    assert got == ([] if loop.model == "select" else [opened[-1][0]])


def test_signals(loop: Loop) -> None:
    """K-13: a signal is a callback in the loop, every one registered; afterwards the default is back."""
    got: list[int] = []
    before = signal.getsignal(signal.SIGUSR1)
    loop.add_signal(signal.SIGUSR1, got.append)
    loop.add_signal(signal.SIGUSR1, lambda number: loop.remove_signal(signal.SIGUSR1))
    loop.on_tick(lambda: os.kill(os.getpid(), signal.SIGUSR1))
    loop.run(until_idle=True)
    assert got == [signal.SIGUSR1]
    assert signal.getsignal(signal.SIGUSR1) == before


def test_an_error_does_not_end_the_loop(loop: Loop) -> None:
    """Ticks, timers, streams and tasks that fail are reported with their callback; the others go on."""
    errors: list[str] = []
    loop.on_error = lambda error, callback: errors.append(str(error))
    here, there = socket.socketpair()

    def fail(where: str) -> None:
        raise ValueError(where)

    async def fail_later() -> None:
        await asyncio.sleep(0)
        fail("task")

    def fail_stream(sock: object) -> None:
        reading.cancel()
        fail("stream")

    with here, there:
        there.send(b"x")
        loop.on_start(lambda: fail("start"))
        loop.on_stop(lambda: fail("stop"))
        loop.on_tick(lambda: fail("tick"))
        loop.on_tick(fail_later)
        loop.on_after_tick(lambda: fail("after"))
        loop.add_timer(0.001, lambda: fail("timer"))
        reading = loop.add_read_stream(here, fail_stream)
        loop.run(until_idle=True)
    assert sorted(errors) == ["after", "start", "stop", "stream", "task", "tick", "timer"]
    assert errors[0] == "start"
    assert errors[-1] == "stop"


def test_without_on_error_asyncio_hears_of_it(loop: Loop) -> None:
    """Nothing is silent: the asyncio loop's exception handler gets it; a failing `on_error` is reported too."""
    heard: list[dict[str, object]] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: heard.append(context))
        loop.on_tick(lambda: 1 / 0)
        await asyncio.sleep(0.001)
        loop.on_error = lambda error, callback: [][1]
        loop.on_tick(lambda: 1 / 0)
        await asyncio.sleep(0.001)

    loop.run(main)
    assert [type(one["exception"]) for one in heard] == [ZeroDivisionError, IndexError]


def test_running_is_right_after_an_exception(loop: Loop) -> None:
    """K-11: when something ends `run`, the loop is not running, keeps what was queued, and can run again."""
    got: list[int] = []

    def interrupt() -> None:
        raise KeyboardInterrupt

    loop.on_tick(interrupt)
    loop.on_tick(lambda: got.append(1))
    with pytest.raises(KeyboardInterrupt):
        loop.run()
    assert not loop.running
    with pytest.raises(LifecycleError, match="no Loop"):
        Loop.current()
    loop.run(until_idle=True)
    assert got == [1]

    async def main() -> None:
        raise LookupError

    with pytest.raises(LookupError):
        loop.run(main)
    assert not loop.running


def test_stop_lets_the_iteration_end(loop: Loop) -> None:
    """What is in the running iteration runs, what was added meanwhile stays queued."""
    got: list[str] = []

    def stop() -> None:
        loop.stop()
        loop.stop()
        got.append("stopping")
        loop.on_before_tick(lambda: got.append("later"))

    loop.on_before_tick(stop)
    loop.on_after_tick(lambda: got.append("after"))
    loop.run()
    assert got == ["stopping", "after"]
    assert loop.interests.count().before_tick == 1


def test_main_and_current(loop: Loop) -> None:
    """`run(main)` gives what main returned; within it and its callbacks `Loop.current()` is this loop."""
    seen: list[bool] = []

    async def main() -> int:
        loop.on_tick(lambda: seen.append(Loop.current() is loop and loop.running))
        await asyncio.sleep(0.001)
        return 7

    assert loop.run(main) == 7
    assert seen == [True]


def test_stop_cancels_main(loop: Loop) -> None:
    """A main that never ends does not keep a stopped loop."""
    ended: list[bool] = []

    async def main() -> None:
        loop.add_timer(0.001, loop.stop)
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    assert loop.run(main) is None
    assert ended == [True]


def test_coroutine_callbacks_end_before_run_does(loop: Loop) -> None:
    """A task that a callback began is the loop's own: `run` waits for it."""
    got: list[int] = []

    async def work() -> None:
        await asyncio.sleep(0.002)
        got.append(1)

    loop.on_tick(work)
    loop.on_after_tick(loop.stop)
    loop.run()
    assert got == [1]


def test_a_periodic_coroutine_does_not_overlap(loop: Loop) -> None:
    """A point that comes while the last call still runs is missed, and counted."""
    running, most = 0, 0

    async def work() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1

    timer = loop.add_periodic_timer(0.002, work)
    loop.add_timer(0.04, loop.stop)
    loop.run()
    assert most == 1
    assert timer.missed > 0


def test_tick_is_one_iteration_that_does_not_wait(loop: Loop) -> None:
    """On a stopped loop and on a running one: what is queued, due and ready; nothing else."""
    got: list[str] = []
    here, there = socket.socketpair()

    def tick() -> None:
        got.append("tick")
        loop.on_tick(tick)
        with pytest.raises(LifecycleError, match="iteration"):
            loop.tick()

    with here, there:
        there.send(b"x")
        loop.add_timer(3600.0, lambda: got.append("never"))
        loop.add_timer(0.0, lambda: got.append("timer"))

        def read(sock: object) -> None:
            got.append("stream")
            stream.cancel()

        stream = loop.add_read_stream(here, read)
        loop.on_tick(tick)
        loop.tick()
        assert sorted(got) == ["stream", "tick", "timer"]
        assert not loop.running
        loop.tick()
        assert got[3:] == ["tick"]

        async def main() -> None:
            loop.tick()

        loop.run(main)
        assert got[3:5] == ["tick", "tick"]


def test_ticks_of_a_foreign_loop_keep_timers_and_tasks() -> None:
    """Between two ticks timers go on, and a coroutine function's task is still there; no tick waits for either."""
    clock = VirtualClock()
    loop = Loop(clock=clock)
    got: list[str] = []
    gate: list[asyncio.Event] = []

    async def work() -> None:
        gate.append(asyncio.Event())
        got.append("begun")
        await gate[0].wait()
        got.append("done")

    loop.on_tick(work)
    loop.add_timer(1.0, lambda: got.append("timer"))
    loop.tick()
    assert got == ["begun"]
    clock.jump(1.0)
    gate[0].set()
    loop.tick()
    assert sorted(got) == ["begun", "done", "timer"]
    assert not loop.running
    loop.run(until_idle=True)
    loop.tick()
    loop.stop()
    with pytest.raises(LifecycleError):
        Loop.current()


async def test_within_asyncio_one_is_told_to_start(loop: Loop) -> None:
    """`run` and `tick` where an asyncio loop runs (a notebook): what to call instead, and nothing is left behind."""
    for call in (loop.run, loop.tick):
        with pytest.raises(LifecycleError, match="start"):
            call()
    loop.start()
    loop.stop()


def test_a_forgotten_stop_ends_with_the_asyncio_loop(loop: Loop) -> None:
    """When the adopted loop was closed, this one is not running, is not the current one, and can be used again."""

    async def main() -> None:
        loop.add_timer(60.0, lambda: None)
        loop.start()

    asyncio.run(main())
    assert not loop.running
    with pytest.raises(LifecycleError):
        Loop.current()
    asyncio.run(main())
    assert loop.interests.count().timers == 2


def test_a_forked_child_runs_none_of_its_parent_s_loops(loop: Loop) -> None:
    """`Loop.current()` in a child that was forked within a loop finds none."""

    async def main() -> int:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                Loop.current()
                os.write(writing, b"parent's")
            except LifecycleError:
                os.write(writing, b"none")
            finally:
                os._exit(0)
        os.close(writing)
        assert os.read(reading, 100) == b"none"
        os.close(reading)
        return os.waitpid(child, 0)[1]  # noqa: ASYNC222 - it has said its last word

    assert loop.run(main) == 0


def test_a_descriptor_s_number_may_be_used_again(loop: Loop) -> None:
    """A socket closed without `remove_read_stream`: another one that gets its number is read all the same."""
    got: list[str] = []

    def main() -> None:
        old, old_peer = socket.socketpair()
        loop.add_read_stream(old, lambda _: got.append("old"))
        number = old.fileno()
        old.close()
        new, new_peer = socket.socketpair()
        assert number in (new.fileno(), new_peer.fileno())
        here, there = (new, new_peer) if new.fileno() == number else (new_peer, new)
        kept.extend((old_peer, here, there))

        def read(sock: socket.socket) -> None:
            got.append(sock.recv(1).decode())
            loop.remove_stream(sock)
            loop.stop()

        loop.add_read_stream(here, read)
        there.send(b"n")

    kept: list[socket.socket] = []
    loop.on_start(main)
    loop.run()
    for each in kept:
        each.close()
    assert got == ["n"]


def test_post_from_another_thread(loop: Loop) -> None:
    """`post` wakes a waiting loop, and works before it runs."""
    threads: list[int] = []
    loop.post(lambda: threads.append(threading.get_ident()))

    def end() -> None:
        threads.append(threading.get_ident())
        loop.stop()

    def post() -> None:
        loop.post(end)

    thread = threading.Thread(target=post)
    loop.on_start(thread.start)
    loop.run()
    thread.join()
    assert threads == [threading.get_ident()] * 2


def test_an_async_emitter_delivers_through_the_loop(loop: Loop) -> None:
    """`AsyncEventEmitter(loop.on_tick)`: each call is an entry, coroutine functions run as tasks, errors are told."""
    emitter, got, errors = AsyncEventEmitter(loop.on_tick), list[str](), list[str]()
    loop.on_error = lambda error, callback: errors.append(str(error))

    async def listener(value: str) -> None:
        await asyncio.sleep(0.001)
        got.append(f"coroutine {value}")
        raise ValueError("listener")

    emitter.on("x", listener)
    emitter.on("x", lambda value: got.append(f"plain {value}"))
    emitter.emit("x", "1")
    assert got == []
    loop.run(until_idle=True)
    assert (got, errors) == (["plain 1", "coroutine 1"], ["listener"])


async def test_start_adopts_the_running_loop() -> None:
    """`start` works within any asyncio program, once per asyncio loop; `stop` releases everything."""
    one, two, got = Loop(), Loop(), list[str]()
    told: list[str] = []
    one.events.on("started", lambda: told.append("started"))
    one.events.on("stopped", lambda: told.append("stopped"))
    one.on_tick(lambda: got.append("tick"))
    one.start()
    with pytest.raises(LifecycleError, match="adopted"):
        two.start()
    with pytest.raises(LifecycleError, match="running"):
        one.start()
    with pytest.raises(LifecycleError, match="running"):
        one.run()
    await asyncio.sleep(0)
    one.stop()
    assert (got, told, one.running) == (["tick"], ["started", "stopped"], False)
    two.start()
    assert Loop.current() is two
    two.stop()


async def test_drain_cancels_what_takes_too_long() -> None:
    """Tasks have an owner and an end."""
    loop, ended = Loop(), list[str]()

    async def endless() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")

    loop.start()
    loop.on_tick(endless)
    await asyncio.sleep(0.001)
    loop.stop()
    await loop.drain(0.001)
    assert ended == ["cancelled"]
    assert not loop._tasks
