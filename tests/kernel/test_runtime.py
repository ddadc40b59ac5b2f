"""The runtime: its states, a failed state that really holds, recovery, and an end that always comes."""

from __future__ import annotations

import asyncio
import inspect
import socket
import subprocess
import sys
import textwrap
import warnings
from typing import Any

import pytest

from skerry.emitter import EventEmitter
from skerry.errors import LifecycleError
from skerry.kernel.lifecycle import State
from skerry.kernel.runtime import SOFTWARE, Limits, Runtime
from skerry.loop.loop import Loop
from skerry.supervision import solvers
from skerry.supervision.failure import Failure
from skerry.supervision.policy import Intensity
from skerry.supervision.solvers import Hands
from skerry.testing.clock import VirtualLoop, run_virtual


class Part:
    """A role that writes down what it is told, and fails or hangs where told to."""

    def __init__(self, name: str, journal: list[str]) -> None:
        self.name, self.journal = name, journal
        self.bad: dict[str, list[Exception | None]] = {}

    async def _do(self, what: str) -> None:
        self.journal.append(f"{what} {self.name}")
        if self.bad.get(what):
            error = self.bad[what].pop(0)
            if error is None:
                await asyncio.Event().wait()
            else:
                raise error

    async def start(self) -> None:
        await self._do("start")

    async def hold(self) -> None:
        await self._do("hold")

    async def resume(self) -> None:
        await self._do("resume")

    async def stop(self) -> None:
        await self._do("stop")


def made(*names: str, **settings: Any) -> tuple[Runtime, list[str], dict[str, Part]]:
    """A runtime in virtual time with parts of these names, and their journal."""
    running = asyncio.get_running_loop()
    assert isinstance(running, VirtualLoop)
    journal: list[str] = []
    parts = {name: Part(name, journal) for name in names}
    runtime = Runtime("app", list(parts.values()), clock=running.clock, **settings)
    return runtime, journal, parts


async def left_failed(runtime: Runtime) -> None:
    """Return when the failed state has been left (or the runtime ends)."""
    while runtime._episode is not None:
        await asyncio.wait((runtime._episode,))
        await asyncio.sleep(0)


def test_states_and_their_events() -> None:
    """start, stop, destroy, create: roles in order and in reverse, each transition told as three events."""

    async def main() -> None:
        runtime, journal, _ = made("a", "b")
        for verb in ("start", "stop", "destroy", "create"):
            for event in (f"before_{verb}", verb, f"after_{verb}"):
                runtime.events.on(event, lambda event=event: journal.append(f"{event} [{runtime.state}]"))
        await runtime.start()
        await runtime.stop()
        await runtime.start()
        journal.clear()
        await runtime.stop()
        await runtime.destroy()
        runtime.create()
        await runtime.start()
        assert journal == [
            "before_stop [started]", "stop b", "stop a", "stop [stopped]", "after_stop [stopped]",
            "before_destroy [stopped]", "destroy [destroyed]", "after_destroy [destroyed]",
            "before_create [destroyed]", "create [created]", "after_create [created]",
            "before_start [created]", "start a", "start b", "start [started]", "after_start [started]",
        ]  # fmt: skip
        assert runtime.ready
        assert runtime.loop.running
        with pytest.raises(LifecycleError, match="possible now: stop, fail, destroy"):
            await runtime.start()
        with pytest.raises(LifecycleError, match="cannot create"):
            runtime.create()
        await runtime.destroy()
        assert not runtime.loop.running
        with pytest.raises(LifecycleError, match="possible now: create"):
            runtime.fail("x", ValueError())

    run_virtual(main())


def test_a_start_that_fails_leaves_nothing() -> None:
    """The roles before it are stopped, the loop is released, the state is what it was, the error is the caller's."""

    async def main() -> None:
        runtime, journal, parts = made("a", "b")
        parts["b"].bad["start"] = [OSError("port taken")]
        with pytest.raises(OSError, match="port taken"):
            await runtime.start()
        assert journal == ["start a", "start b", "stop b", "stop a"]
        assert (runtime.state, runtime.loop.running, runtime.reasons) == (State.CREATED, False, ("created",))
        await runtime.start()
        assert runtime.ready
        await runtime.destroy()

    run_virtual(main())


def test_the_failed_state_holds_everything_and_resumes() -> None:
    """K-14: ticks, timers and streams are held, roles are told, the failure set works, readiness says why; then
    everything goes on, nothing lost."""

    async def main() -> None:
        runtime, journal, _ = made("server", "consumer")
        loop, gate = runtime.loop, asyncio.Event()
        here, there = socket.socketpair()

        async def mending(failure: Failure, hands: Hands) -> None:
            loop.on_tick(lambda: journal.append("failure tick"))
            loop.add_timer(1.0, gate.set)
            await gate.wait()
            journal.append(f"mended {failure.message}")

        runtime.guard.rule(OSError, mending)
        for event in ("before_fail", "fail", "after_fail", "before_resume", "resume", "after_resume"):
            runtime.events.on(event, lambda *_, event=event: journal.append(event))
        with here, there:
            await runtime.start()
            journal.clear()
            loop.add_read_stream(here, lambda sock: journal.append(f"read {sock.recv(1)!r}"))
            loop.add_timer(0.5, lambda: journal.append("timer"))
            runtime.fail("disk", OSError("full"))
            await asyncio.sleep(0.0)
            loop.on_tick(lambda: journal.append("tick"))
            there.send(b"x")
            await asyncio.sleep(0.1)
            assert (runtime.state, runtime.reasons) == (State.FAILED, ("failed: disk: OSError: full",))
            await left_failed(runtime)
            expected = ["before_fail", "fail", "after_fail", "hold consumer", "hold server"]
            expected += ["failure tick", "mended full", "before_resume", "resume server", "resume consumer"]
            expected += ["resume", "after_resume"]
            assert journal[: len(expected)] == expected
            assert runtime.ready
            await asyncio.sleep(1.0)
            assert sorted(journal[-3:]) == ["read b'x'", "tick", "timer"]
            await runtime.destroy()

    run_virtual(main())


def test_a_failing_callback_is_handled_without_stopping_work() -> None:
    """A tick, a timer, a stream, a task, a listener, an event's listener: each is reported; the runtime goes on."""

    async def main() -> None:
        runtime, _, _ = made("a")
        heard: list[str] = []
        runtime.supervisor.events.on("failure", lambda failure: heard.append(str(failure)))
        emitter = EventEmitter()
        runtime.watch("emitter", emitter)

        def fail(*_args: object) -> None:
            raise ValueError("x")

        async def failing() -> None:
            fail()

        emitter.on("news", fail)
        runtime.events.on("start", fail)
        await runtime.start()
        runtime.loop.on_tick(fail)
        runtime.loop.on_tick(failing)
        runtime.loop.add_timer(0.5, fail)
        emitter.emit("news")
        forgotten = asyncio.get_running_loop().create_task(failing(), name="forgotten")
        await asyncio.sleep(1.0)
        del forgotten
        await runtime.supervisor.settled()
        assert sorted(text.partition(":")[0].rpartition(".")[2] for text in heard) == [
            "emitter", "event start", "fail", "fail", "failing", "forgotten",
        ]  # fmt: skip
        assert runtime.state is State.STARTED
        await runtime.destroy()

    run_virtual(main())


def test_a_warning_is_not_a_failure() -> None:
    """K-23: a callback that warns has not failed."""

    async def main() -> None:
        runtime, _, _ = made("a")
        heard: list[Failure] = []
        runtime.supervisor.events.on("failure", heard.append)
        await runtime.start()
        runtime.loop.on_tick(lambda: warnings.warn("old", DeprecationWarning, stacklevel=1))
        with pytest.warns(DeprecationWarning, match="old"):
            await asyncio.sleep(1.0)
        assert heard == []
        await runtime.destroy()

    run_virtual(main())


def test_a_role_that_keeps_failing_leads_to_the_failed_state_and_all_are_started_again() -> None:
    """Two levels: the role is restarted; beyond its intensity everything is held and started anew."""

    async def main() -> None:
        runtime, journal, parts = made("a", "b")
        await runtime.start()
        journal.clear()
        runtime.report("b", ConnectionError("once"))
        await runtime.supervisor.settled()
        assert journal == ["stop b", "start b"]
        journal.clear()
        parts["b"].bad["start"] = [OSError(str(n)) for n in range(19)]  # the budget's rest
        runtime.report("b", ConnectionError("often"))
        await runtime.supervisor.settled()
        await left_failed(runtime)
        assert journal[-6:] == ["hold b", "hold a", "stop b", "stop a", "start a", "start b"]
        assert runtime.ready
        await runtime.destroy()

    run_virtual(main())


def test_several_failures_at_once_are_all_handled() -> None:
    """K-16: failures during the failed state, and of the solver itself, are handled before work goes on."""

    async def main() -> None:
        runtime, journal, _ = made("a")
        handled: list[str] = []

        async def mending(failure: Failure, hands: Hands) -> None:
            if failure.message == "1":
                runtime.fail("third", ValueError("3"))
            await asyncio.sleep(1.0)
            handled.append(failure.message)

        runtime.guard.rule(ValueError, mending)
        await runtime.start()
        runtime.fail("first", ValueError("1"))
        runtime.fail("second", ValueError("2"))
        await left_failed(runtime)
        assert handled == ["1", "2", "3"]
        assert journal.count("hold a") == journal.count("resume a") == 1
        assert runtime.ready
        await runtime.destroy()

    run_virtual(main())


def test_a_role_that_is_destroyed_meanwhile_is_not_missed() -> None:
    """A role that a solver ends for good in the failed state is not told to resume; the others are."""

    async def main() -> None:
        runtime, journal, _ = made("a", "b")

        async def mending(failure: Failure, hands: Hands) -> None:
            await runtime.supervisor.destroy("a")

        runtime.guard.rule(ValueError, mending)
        await runtime.start()
        journal.clear()
        runtime.fail("x", ValueError())
        await left_failed(runtime)
        assert journal == ["hold b", "hold a", "stop a", "resume b"]
        assert runtime.ready
        await runtime.destroy()

    run_virtual(main())


def test_loops_are_not_nested() -> None:
    """K-15: after fifty failures the stack is as deep as after one."""

    async def main() -> None:
        runtime, _, _ = made()
        depths: list[int] = []
        runtime.guard.rule(ValueError, lambda failure, hands: depths.append(len(inspect.stack(0))))
        await runtime.start()
        for number in range(50):
            runtime.fail("x", ValueError(number))
            await left_failed(runtime)
        assert len(depths) == 50
        assert len(set(depths)) == 1
        await runtime.destroy()

    run_virtual(main())


@pytest.mark.parametrize("bad", [OSError("no"), None])
@pytest.mark.parametrize("verb", ["hold", "resume"])
def test_a_role_that_fails_or_hangs_at_hold_or_resume_keeps_nobody(verb: str, bad: Exception | None) -> None:
    """The others are held and resumed; the runtime recovers."""

    async def main() -> None:
        runtime, journal, parts = made("a", "b")
        await runtime.start()
        parts["b"].bad[verb] = [bad]
        runtime.fail("x", ValueError("x"))
        await left_failed(runtime)
        assert journal[2:] == ["hold b", "hold a", "resume a", "resume b"]
        assert runtime.ready
        await runtime.destroy()

    run_virtual(main())


async def hanging(failure: Failure, hands: Hands) -> None:
    await asyncio.Event().wait()


def raising(failure: Failure, hands: Hands) -> None:
    raise RuntimeError("solver")


@pytest.mark.parametrize(
    ("solver", "after", "message"),
    [
        (hanging, 60.0, "solver hanging took longer than 60 s (began with disk: ValueError: x)"),
        (raising, 0.0, "solver (began with disk: ValueError: x)"),
        (solvers.escalate, 0.0, "x (began with disk: ValueError: x)"),
    ],
)
def test_a_root_that_cannot_recover_ends(solver: Any, after: float, message: str) -> None:
    """K-17: a solver that hangs, fails or escalates at the root ends the process with a message and code 70."""

    async def main() -> None:
        runtime, journal, _ = made("a")
        runtime.guard.rule(ValueError, solver)
        runtime.events.on("start", lambda: runtime.fail("disk", ValueError("x")))
        began = asyncio.get_running_loop().time()
        assert await runtime.serve() == SOFTWARE
        assert asyncio.get_running_loop().time() - began == after
        assert runtime.exit is not None
        assert message in runtime.exit.message
        assert journal == ["start a", "hold a", "stop a"]
        assert (runtime.state, runtime.loop.running) == (State.DESTROYED, False)

    run_virtual(main())


def test_recoveries_have_a_budget() -> None:
    """A runtime that fails over and over ends instead of cycling for ever."""

    async def main() -> None:
        runtime, _, _ = made("a", recoveries=Intensity(2, 600.0))
        failed: list[Failure] = []

        def again(failure: Failure) -> None:
            failed.append(failure)

        runtime.events.on("fail", again)
        runtime.supervisor.rule(ValueError, solvers.escalate)
        for event in ("start", "resume"):
            runtime.events.on(event, lambda: runtime.report("a", ValueError("always")))
        assert await runtime.serve() == SOFTWARE
        assert len(failed) == 3
        assert runtime.exit is not None
        assert "restarted 2 times in 600 s" in runtime.exit.message

    run_virtual(main())


def test_the_whole_recovery_has_a_deadline() -> None:
    """However many failures keep coming, the failed state is left: here by ending."""

    async def main() -> None:
        runtime, _, _ = made("a", limits=Limits(recovery_seconds=10.0))

        async def endless(failure: Failure, hands: Hands) -> None:
            await asyncio.sleep(1.0)
            runtime.fail("again", ValueError("again"))

        runtime.guard.rule(ValueError, endless)
        runtime.events.on("start", lambda: runtime.fail("disk", ValueError("x")))
        assert await runtime.serve() == SOFTWARE
        assert runtime.exit is not None
        assert runtime.exit.message == "could not recover within 10 s from disk: ValueError: x"

    run_virtual(main())


def test_stopping_while_failed() -> None:
    """`stop` and `end` work in the failed state; what was held stays with the loop."""

    async def main() -> None:
        runtime, journal, _ = made("a")
        runtime.guard.rule(ValueError, hanging)
        await runtime.start()
        runtime.loop.add_timer(5.0, lambda: journal.append("timer"))
        runtime.fail("disk", ValueError("x"))
        await asyncio.sleep(1.0)
        assert runtime.state is State.FAILED
        await runtime.stop()
        assert (runtime.state, runtime.loop.held) == (State.STOPPED, False)
        assert runtime.loop.interests.count().timers == 1
        await runtime.destroy()
        assert runtime.loop.interests.empty
        assert "timer" not in journal

    run_virtual(main())


def test_a_new_start_knows_nothing_of_failures_before_it() -> None:
    """Those that were not handled when it was stopped, or that came while a start failed, do not fail the next one."""

    async def main() -> None:
        runtime, journal, parts = made("a", "b")
        runtime.events.on("fail", lambda failure: journal.append(f"failed: {failure.component}"))
        await runtime.start()
        runtime.fail("disk", ValueError("x"))
        runtime.fail("net", ValueError("y"))
        await runtime.stop()
        await runtime.start()
        await asyncio.sleep(1.0)
        assert runtime.ready
        await runtime.stop()

        parts["b"].bad["start"] = [None]
        starting = asyncio.create_task(runtime.start())
        await asyncio.sleep(0.1)
        runtime._failing(Failure.of("roles", ValueError("gave up"), at=0.0))
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        await runtime.start()
        await asyncio.sleep(1.0)
        assert runtime.ready
        assert not [line for line in journal if line.startswith("failed")]
        await runtime.destroy()

    run_virtual(main())


def test_what_serves_is_stopped_when_it_is_cancelled() -> None:
    """While a role starts, and while all work: what has begun ends in order, and the cancellation goes on."""

    async def main() -> None:
        for hangs in ([None], []):
            runtime, journal, parts = made("a", "b")
            parts["b"].bad["start"] = list(hangs)
            serving = asyncio.create_task(runtime.serve())
            await asyncio.sleep(1.0)
            serving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await serving
            assert journal == ["start a", "start b", "stop b", "stop a"]
            assert runtime.state is not State.STARTED

    run_virtual(main())


def test_a_role_that_hangs_at_stop_does_not_keep_the_process() -> None:
    """Each role's stop has a deadline, the end as a whole too; the exit code stays what it was to be."""

    async def main() -> None:
        runtime, journal, parts = made("a", "b", limits=Limits(role_seconds=3.0))
        parts["b"].bad["stop"] = [None]
        runtime.events.on("after_start", lambda: runtime.end(0, "done"))
        assert await runtime.serve() == 0
        assert journal == ["start a", "start b", "stop b", "stop a"]
        assert asyncio.get_running_loop().time() == 3.0
        assert runtime.reasons == ("ending: done",)

    run_virtual(main())


async def test_requests_are_answered_while_everything_fails() -> None:
    """A tick, a timer, a task, a listener fail, then the failed state with a slow solver: an open connection gets
    every answer, a new one gets its answer after the recovery. Real sockets."""
    values = {"key": "value"}

    class Server:
        """A small HTTP server as a role. It accepts by a stream of the loop, which the failed state holds."""

        name = "server"

        async def start(self) -> None:
            self.sock = socket.create_server(("127.0.0.1", 0))
            self.sock.setblocking(False)
            runtime.loop.add_read_stream(self.sock, self.accept)

        async def accept(self, sock: socket.socket) -> None:
            reader, writer = await asyncio.open_connection(sock=sock.accept()[0])
            try:
                while await reader.readuntil(b"\r\n\r\n"):
                    body = values["key"].encode()
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
            except asyncio.IncompleteReadError:
                writer.close()

        async def hold(self) -> None:
            held.append("hold")

        async def resume(self) -> None:
            held.append("resume")

        async def stop(self) -> None:
            runtime.loop.remove_stream(self.sock)
            self.sock.close()

    held: list[str] = []
    role = Server()
    runtime = Runtime("app", [role])
    mended = asyncio.Event()

    async def slow(failure: Failure, hands: Hands) -> None:
        await mended.wait()

    runtime.guard.rule(OSError, slow)

    def fail() -> None:
        raise ValueError("x")

    async def failing() -> None:
        fail()

    async def get(connection: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> bytes:
        reader, writer = connection
        writer.write(b"GET /values/key HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(30.0):
            await reader.readuntil(b"\r\n\r\n")
            return await reader.readexactly(5)

    await runtime.start()
    where = role.sock.getsockname()
    connection = await asyncio.open_connection(*where)
    for way in (
        lambda: runtime.loop.on_tick(fail),
        lambda: runtime.loop.add_timer(0.0, fail),
        lambda: runtime.loop.on_tick(failing),
        lambda: runtime.report("listener", ExceptionGroup("two", [ValueError("1"), ValueError("2")])),
        lambda: runtime.fail("disk", OSError("full")),
        lambda: runtime.fail("disk", OSError("full again")),
    ):
        way()
        await asyncio.sleep(0.005)
        assert await get(connection) == b"value"
    state: State = runtime.state
    assert state is State.FAILED
    other = await asyncio.open_connection(*where)  # the kernel takes it, nobody accepts yet
    waiting = asyncio.ensure_future(get(other))
    await asyncio.sleep(0.02)
    assert not waiting.done()
    mended.set()
    assert await waiting == b"value"
    assert runtime.ready
    assert held == ["hold", "resume"]
    for _, writer in (connection, other):
        writer.close()
    await runtime.destroy()


SCRIPT = """
    import asyncio, sys, time
    from skerry.kernel.runtime import Limits, Runtime

    runtime = Runtime("app", limits=Limits(recovery_seconds={seconds}, grace_seconds=0.2))
    {body}
    sys.exit(runtime.run())
"""


def ended(body: str, recovery_seconds: float = 60.0) -> subprocess.CompletedProcess[str]:
    """A whole process with a runtime."""
    script = textwrap.dedent(SCRIPT).replace("{body}", textwrap.dedent(body).strip())
    script = script.replace("{seconds}", str(recovery_seconds))
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False
    )


def test_a_solver_that_blocks_the_loop_is_ended_with_its_stack() -> None:
    """A solver that never gives the loop back cannot make the root hang: a thread shows where it is and ends it."""
    result = ended(
        """
        def block(failure, hands):
            time.sleep(60)
        runtime.guard.rule(ValueError, block)
        runtime.events.on("start", lambda: runtime.fail("disk", ValueError("x")))
    """,
        recovery_seconds=0.3,
    )
    assert result.returncode == SOFTWARE
    assert "app did not leave the failed state; ending the process" in result.stderr
    assert "in block" in result.stderr


def test_a_process_that_cannot_recover_says_why() -> None:
    """Exit code 70 and a message on standard error."""
    result = ended("""
        from skerry.supervision.solvers import escalate
        runtime.guard.rule(ValueError, escalate)
        runtime.events.on("start", lambda: runtime.fail("disk", ValueError("full")))
    """)
    assert result.returncode == SOFTWARE
    assert "app: cannot recover: full (began with disk: ValueError: full)" in result.stderr


def test_a_signal_ends_it_cleanly_even_when_failed() -> None:
    """SIGTERM in the failed state: code 0, at once."""
    result = ended("""
        import os, signal
        async def hang(failure, hands):
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.Event().wait()
        runtime.guard.rule(ValueError, hang)
        runtime.events.on("start", lambda: runtime.fail("disk", ValueError("x")))
    """)
    assert (result.returncode, result.stdout) == (0, "")


def test_run_uses_the_loops_model() -> None:
    """The runtime runs on the Loop it was given."""
    runtime, seen = Runtime("app", loop=Loop(model="poll")), list[str]()

    def look() -> None:
        loop: Any = asyncio.get_running_loop()
        seen.append(type(loop._selector).__name__)
        assert Loop.current() is runtime.loop
        runtime.end()

    runtime.events.on("start", look)
    assert runtime.run() == 0
    assert seen == ["PollSelector"]
