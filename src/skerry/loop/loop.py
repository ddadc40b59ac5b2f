"""`Loop`: ticks in phases, exact timers, streams and signals over an asyncio loop, in a set that can be moved.

It is not a second event loop. `run()` makes the asyncio loop of the chosen model and runs until stopped, `start()`
adopts the running one; any asyncio library works beside it as it is. `Loop.current()` finds the one in use.

    loop = Loop(model="uvloop")
    loop.on_start(lambda: loop.add_periodic_timer(1.0, beat))
    loop.run()                                   # or: loop.run(main), which ends with the coroutine function

One iteration runs what waits for `on_before_tick`, `on_tick`, `on_after_tick`, in that order, each entry once.
What is added to a queue while it is drained waits for the next iteration; timers and I/O come in between, so
nothing starves them. Callbacks may be coroutine functions: the loop runs them as tasks of its own. A callback that
fails goes to `on_error(error, callback)`, without one to asyncio's exception handler; the loop goes on.

What is registered is an `InterestSet`. `export_to`, `import_from`, `swap` and `erase` move queued ticks, and with
`everything=True` timers (with the time that remains), streams and signals too. `hold` suspends it for a failed
state and `resume` brings it back (see `skerry.kernel.runtime`).

A loop belongs to one thread; from another one use `post`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import weakref
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

from skerry.clock import Clock, SystemClock
from skerry.emitter import EventEmitter
from skerry.errors import LifecycleError
from skerry.loop import models
from skerry.loop.blocked import Blocked, BlockWatch, Outside, Report, log_blocked
from skerry.loop.driver import Driver
from skerry.loop.interests import InterestSet
from skerry.loop.registrations import Callback, Registrations
from skerry.loop.tasks import Tasks

T = TypeVar("T")
log = logging.getLogger("skerry.loop")
OnError = Callable[[Exception, object], object]

_HERE = threading.local()  # the loops that run in this thread
os.register_at_fork(after_in_child=_HERE.__dict__.clear)  # a child has the parent's loops, but runs none


class Loop(Registrations):
    """See the module's text. `events` tells: `started`, `stopped`, `held`, `resumed`, `blocked` (with `Blocked`)."""

    def __init__(
        self, model: str | None = None, *, clock: Clock | None = None, on_error: OnError | None = None
    ) -> None:
        super().__init__(clock or SystemClock())
        self._model = models.default()
        if model is not None:
            self.model = model
        self.on_error = on_error
        self.events = EventEmitter()
        self._driver: Driver | None = None
        self._ticking: asyncio.Runner | None = None
        self._thread = 0
        self._stopping = self._until_idle = False
        self._tasks = Tasks(self._report, self._settled)
        self._finished: asyncio.Future[None] | None = None
        self._watch: BlockWatch | None = None

    @staticmethod
    def current() -> Loop:
        """The loop that runs in this thread. LifecycleError when there is none."""
        here: list[Loop] = getattr(_HERE, "loops", [])
        for loop in reversed(here):
            if not loop._has_lapsed():
                return loop
        raise LifecycleError("find the current loop", "no Loop runs in this thread", ("run", "start"))

    @property
    def model(self) -> str:
        """The model that the next `run` uses (see `skerry.loop.models`)."""
        return self._model

    @model.setter
    def model(self, name: str) -> None:
        if getattr(self, "_driver", None) is not None:
            raise LifecycleError("change the model", "running", ("stop",))
        models.factory(name)
        self._model = name

    @property
    def running(self) -> bool:
        """Between start and stop; false too after an exception has ended `run`, when the adopted asyncio loop was
        closed without a stop, and between two calls of `tick`."""
        return self._driver is not None and self._ticking is None and not self._has_lapsed()

    # Running.

    def run(
        self, main: Callable[[], Coroutine[Any, Any, T]] | None = None, *, until_idle: bool = False
    ) -> T | None:
        """Make an asyncio loop of the model and run until `stop`, until `main` ends, or until nothing is left to do.

        Returns what `main` returned. Tasks of the loop get five seconds to end, then they are cancelled.
        """
        self._refuse_running("run")
        _refuse_asyncio("run")
        with asyncio.Runner(loop_factory=models.factory(self._model)) as runner:
            return runner.run(self._live(main, until_idle))

    def start(self) -> None:
        """Adopt the asyncio loop that runs here. LifecycleError when it, or this Loop, is taken already."""
        self._refuse_running("start")
        running = asyncio.get_running_loop()
        here: list[Loop] = _HERE.__dict__.setdefault("loops", [])
        if any(other._driver is not None and other._driver.running is running for other in here):
            raise LifecycleError("start", "another Loop has adopted this asyncio loop", ("stop that one",))
        driver = self._open(running)
        if self._watch is not None:
            self._watch.start(running)
        self.events.emit("started")
        driver.run_phase(self._active, "start")
        driver.after_batch()

    def stop(self) -> None:
        """Let the current iteration end, then run the callbacks of `on_stop` and release everything. A second call
        does nothing.

        Queued callbacks stay queued. Tasks go on: see `drain`.
        """
        if self._driver is None:
            return
        if self._ticking is not None and not self._driver.busy:
            self._end_ticking()
            self.events.emit("stopped")
            return
        self._stopping = True
        self._settled()

    async def drain(self, seconds: float = 5.0) -> None:
        """Wait for the tasks that callbacks have started; those that take longer than `seconds` are cancelled."""
        await self._tasks.drain(seconds)

    def tick(self) -> None:
        """One iteration that does not wait: it runs callbacks that are queued, due or ready. Not from within a
        callback.

        For loops within another loop (of a game, of a GUI): timers go on between the calls, and tasks of coroutine
        functions get a turn in each of them, until `stop`, `run` or `start`.
        """
        driver = self._driver
        if driver is not None and self._ticking is None and not self._has_lapsed():
            if driver.busy:
                raise LifecycleError("tick", "in an iteration", ("on_tick",))
            driver.iterate()
            driver.ring()
            return
        _refuse_asyncio("tick")
        if self._ticking is None:
            self._ticking = runner = asyncio.Runner(loop_factory=models.factory(self._model))
            weakref.finalize(self, runner.close)
            self._open(runner.get_loop(), single=True)
            _HERE.loops.remove(self)
        self._ticking.run(self._once())

    def post(self, callback: Callback) -> None:
        """`on_tick` from any thread."""
        driver = self._driver
        if driver is not None:
            driver.running.call_soon_threadsafe(self.on_tick, callback)
        else:
            self.on_tick(callback)

    def watch_blocking(
        self, limit_seconds: float | None, report: Report = log_blocked, outside: Outside | None = None
    ) -> None:
        """Report every turn that takes longer than the limit, with its stack (see `blocked`); None ends it. `outside`:
        another process that looks whether this loop waits."""
        if self._watch is not None:
            self._watch.stop()
            self._watch = None
        if limit_seconds is not None:
            self._watch = BlockWatch(limit_seconds, partial(self._blocked, report), outside)
            if self._driver is not None:
                self._watch.start(self._driver.running)

    @property
    def blocked_turns(self) -> int:
        """How many turns took longer than the limit since they are watched."""
        return 0 if self._watch is None else self._watch.reports

    async def _live(self, main: Callable[[], Coroutine[Any, Any, T]] | None, until_idle: bool) -> T | None:
        self._finished = finished = asyncio.get_running_loop().create_future()
        self._until_idle = until_idle
        try:
            self.start()
            if main is None:
                await finished
                return None
            working = asyncio.ensure_future(main())
            try:
                await asyncio.wait((working, finished), return_when=asyncio.FIRST_COMPLETED)
            finally:
                if not working.done():
                    working.cancel()
                    await asyncio.wait((working,))
            return None if working.cancelled() else working.result()
        finally:
            self._until_idle, self._finished = False, None
            self.stop()
            await self.drain()

    async def _once(self) -> None:
        driver = self._driver
        assert driver is not None
        _HERE.loops.append(self)
        try:
            driver.iterate()
            driver.ring()
            for _ in range(3):  # the selector is asked, its callbacks are queued, they run
                await asyncio.sleep(0)
        finally:
            if self in _HERE.loops:
                _HERE.loops.remove(self)

    def _refuse_running(self, verb: str) -> None:
        self._end_ticking()
        if self._driver is not None and not self._has_lapsed():
            raise LifecycleError(verb, "running", ("stop",))

    def _end_ticking(self) -> None:
        """Leave the asyncio loop that `tick` keeps; its tasks get the time that they get at any end."""
        runner = self._ticking
        if runner is None:
            return
        _refuse_asyncio("end the ticks")
        self._ticking = None
        runner.run(self.drain())
        self._close()
        runner.close()

    def _has_lapsed(self) -> bool:
        """Whether the adopted asyncio loop was closed though nobody called `stop`: then this is a stop."""
        driver = self._driver
        if driver is None or not driver.running.is_closed():
            return False
        self._close()
        return True

    def _open(self, running: asyncio.AbstractEventLoop, *, single: bool = False) -> Driver:
        self._driver = driver = Driver(
            running, self.clock, self._tasks, self._report, self._settled, single=single
        )
        self._thread = threading.get_ident()
        _HERE.__dict__.setdefault("loops", []).append(self)
        self._stopping = False
        driver.adopt(self._active)
        return driver

    def _close(self) -> None:
        if self._driver is not None:
            self._driver.release()
            self._driver = None
            if self in getattr(_HERE, "loops", ()):
                _HERE.loops.remove(self)

    def _finish(self) -> None:
        driver = self._driver
        self._close()
        if self._watch is not None:
            self._watch.stop()
        if driver is not None:
            driver.run_phase(self._active, "stop")
        self.events.emit("stopped")
        if self._finished is not None and not self._finished.done():
            self._finished.set_result(None)

    # Moving state.

    def export_to(self, other: Loop, *, everything: bool = False) -> None:
        """Give the queued ticks to `other`, after its own; with `everything` timers, streams and signals too."""
        with self._set_aside(other):
            self._normal.move_to(other._normal, everything=everything)

    def import_from(self, other: Loop, *, everything: bool = False) -> None:
        """Take the queued ticks of `other`, after the own; with `everything` timers, streams and signals too."""
        other.export_to(self, everything=everything)

    def swap(self, other: Loop, *, everything: bool = False) -> None:
        """Exchange the queued ticks with `other`; with `everything` timers, streams and signals too."""
        with self._set_aside(other):
            self._normal.swap_with(other._normal, everything=everything)

    def erase(self, *, everything: bool = False) -> None:
        """End the queued ticks; with `everything` timers, streams and signals too."""
        with self._set_aside(self):
            self._normal.erase(everything=everything)

    @contextmanager
    def _set_aside(self, other: Loop) -> Iterator[None]:
        """Release the normal sets of both loops, so that they are plain values, and adopt them again."""
        loops = [loop for loop in dict.fromkeys((self, other)) if loop._driver is not None and not loop.held]
        for loop in loops:
            if loop._thread != threading.get_ident():
                raise LifecycleError("move interests", "that loop runs in another thread", ("post", "stop"))
        drivers = [(loop._driver, loop._driver.release()) for loop in loops if loop._driver is not None]
        try:
            yield
        finally:
            for driver, interests in drivers:
                driver.adopt(interests)

    def hold(self) -> None:
        """Suspend the normal interests, timers with their remaining time, and go on with an empty set.

        Later registrations join the held set, except within `failure_scope`.
        """
        if self._failure is not None:
            raise LifecycleError("hold", "held", ("resume",))
        self._failure = InterestSet()
        self._change_to(self._failure)
        self.events.emit("held")

    def resume(self) -> None:
        """Bring the normal interests back. Registrations that are left in the failure set join them: nothing is
        lost."""
        failure = self._failure
        if failure is None:
            raise LifecycleError("resume", "not held", ("hold",))
        self._change_to(None)
        self._failure = None
        failure.move_to(self._normal, everything=True)
        self._change_to(self._normal)
        self.events.emit("resumed")

    def _change_to(self, interests: InterestSet | None) -> None:
        if self._driver is not None:
            self._driver.release()
            if interests is not None:
                self._driver.adopt(interests)

    # What the driver tells.

    def _settled(self) -> None:
        """After a batch of callbacks, and when an interest or a task has ended."""
        driver = self._driver
        if driver is None or driver.busy:
            return
        if self._stopping or (self._until_idle and not self.held and self._normal.empty and not self._tasks):
            self._finish()

    def _report(self, error: Exception, callback: object) -> None:
        if self.on_error is not None:
            try:
                self.on_error(error, callback)
                return
            except Exception as second:
                error = second
        driver = self._driver
        context = {"message": f"callback {callback!r} failed", "exception": error}
        if driver is not None:
            driver.running.call_exception_handler(context)
        else:
            log.error("%s", context["message"], exc_info=error)

    def _blocked(self, report: Report, blocked: Blocked) -> None:
        report(blocked)
        self.post(lambda: self.events.emit("blocked", blocked))


def _refuse_asyncio(verb: str) -> None:
    """LifecycleError where an asyncio loop runs in this thread already, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise LifecycleError(verb, "within a running asyncio loop", ("start",))
