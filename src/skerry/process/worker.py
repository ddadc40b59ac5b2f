"""A child's end of the line to the runner that started it.

Made first thing in the process (`Worker.inherited`), so that a Ctrl-C during the imports is the runner's business
and the process does not outlive its runner; `start` when the loop runs. While the loop runs it beats; when it does
not, its stacks are dumped and the process ends, by the runner or, without one, by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import faulthandler
import itertools
import logging
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable

from skerry.loop.pacing import call_in_step
from skerry.process.control_messages import (
    Ask,
    AskReply,
    Beat,
    Collect,
    ControlMessage,
    Failed,
    Gather,
    GatherReply,
    Lines,
    Loaded,
    MetricsReply,
    ReadinessChanged,
    Recall,
    StateChanged,
    Stop,
    Watched,
    Yield,
    line,
)
from skerry.process.looking import LOOKED, Looked
from skerry.process.stillness import StillnessWatch
from skerry.supervision.failure import Failure

log = logging.getLogger("skerry.process")

CONTROL = "SKERRY_CONTROL"
PARENT = "SKERRY_PARENT"
HANG = "SKERRY_HANG"
MARK = "SKERRY_LOG_MARK"
DEFAULT_HANG_SECONDS = 10.0
_PR_SET_PDEATHSIG = 1


class Worker(asyncio.Protocol):
    """See the module. `gauges()` is asked at each beat, `metrics()` when somebody wants the numbers of all."""

    def __init__(self, control: socket.socket, hang_seconds: float = DEFAULT_HANG_SECONDS) -> None:
        self._control = control
        self._hang_seconds = hang_seconds
        self._lines = Lines()
        self._transport: asyncio.Transport | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: Callable[[float], None] | None = None
        self._stop_seconds: float | None = None
        self._is_orphan = False
        self._beat_timer: asyncio.TimerHandle | None = None
        self._watch: StillnessWatch | None = None
        self._gathering: dict[int, asyncio.Future[str]] = {}
        self._numbers = itertools.count(1)
        self.gauges: Callable[[], dict[str, float | str]] = dict
        self.metrics: Callable[[], str] = str
        self.findings: Callable[[], dict[str, list[str]]] = dict
        """Why this process is not ready, by what readiness is asked for (see `control_messages.ReadinessChanged`)."""
        self._found: dict[str, list[str]] = {}
        self.on_yield: Callable[[], None] = lambda: None
        self.on_recall: Callable[[], None] = lambda: None
        self.on_ask: Callable[[str], Awaitable[str]] = _knows_nothing
        self._answering: set[asyncio.Task[None]] = set()
        self.mark = ""
        """What this process's log records begin with, so that the runner knows them from printed text."""
        self.looked: Looked | None = None
        """How the runner tells that it looks at this process's loop."""
        self.code = ""
        """Which code this process runs; told with the first words."""

    @classmethod
    def inherited(cls) -> Worker | None:
        """The line that a runner left for this process; None when nobody did. Call it before heavy imports."""
        number = os.environ.pop(CONTROL, "")
        parent = os.environ.pop(PARENT, "")
        mark = os.environ.pop(MARK, "")
        if not number.isdigit():
            return None
        try:
            control = socket.socket(fileno=int(number))
        except OSError:
            return None
        control.setblocking(False)
        control.set_inheritable(False)
        exit_with_parent(int(parent) if parent.isdigit() else os.getppid())
        faulthandler.enable()
        if hasattr(faulthandler, "register"):
            faulthandler.register(signal.SIGUSR1, all_threads=True, chain=False)
        # Ctrl-C reaches every process of the terminal; the runner ends its children in order. It started this one
        # with SIGINT blocked, so that none could come before this line.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        looked = os.environ.pop(LOOKED, "")
        hang = os.environ.get(HANG, "")
        made = cls(control, float(hang) if hang else DEFAULT_HANG_SECONDS)
        made.mark = mark
        if looked.isdigit():
            made.looked = Looked(socket.socket(fileno=int(looked)), made.say_watched)
        return made

    async def start(self, stop: Callable[[float], None]) -> None:
        """Begin to beat. `stop(seconds)` is called once: when the runner says so, or is gone."""
        self._stop = stop
        loop = self._loop = asyncio.get_running_loop()
        transport, _ = await loop.create_connection(lambda: self, sock=self._control)
        self._transport = transport
        if self.code:
            self._say(Loaded(self.code))
        if self._hang_seconds:
            # The runner acts at `hang_seconds`; this is for when there is none, or it hangs too.
            self._watch = StillnessWatch(1.5 * self._hang_seconds + 1.0)
        self._beat()

    # --- what the process tells

    def state(self, name: str, reasons: list[str] | None = None) -> None:
        """`starting`, `standby`, `ready`, `not ready` (with reasons) or `stopping`."""
        self._tell_findings()
        self._say(StateChanged(name, reasons or []))

    def say_watched(self, watched: Watched) -> None:
        """How the runner may look at the loop; from any thread."""
        with contextlib.suppress(RuntimeError):  # closed meanwhile
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._say, watched)

    def ready(self) -> None:
        self.state("ready")

    def failure(self, failure: Failure, *, fatal: bool = False) -> None:
        """A failure, with its whole traceback; `fatal` when the process ends because of it."""
        message = Failed(failure.to_wire(), fatal)
        if self._transport is not None:
            self._say(message)
        else:  # before the loop runs, or after it: the buffer of a quiet socket takes this much
            with contextlib.suppress(OSError):
                self._control.send(line(message))

    async def all_metrics(self, seconds: float = 2.0) -> str:
        """The metrics of all processes of this runner. Raises TimeoutError, ConnectionError."""
        if self._transport is None or self._transport.is_closing():
            raise ConnectionError("the runner is gone")
        number = next(self._numbers)
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._gathering[number] = future
        try:
            self._say(Gather(number))
            async with asyncio.timeout(seconds):
                return await future
        finally:
            del self._gathering[number]

    async def close(self) -> None:
        """The end was reported. The watch over the loop ends too."""
        self._stop = None  # that the line ends now is no wish any more
        for task in list(self._answering):
            task.cancel()
        if self._beat_timer is not None:
            self._beat_timer.cancel()
        self._watch_nothing()
        if self._transport is not None:
            self._transport.close()
            await asyncio.sleep(0)
        if self._is_orphan and os.getpgrp() == os.getpid():  # no runner ends what this process has started
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            os.killpg(0, signal.SIGTERM)

    # --- the line

    def _say(self, message: ControlMessage) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(line(message))  # type: ignore[arg-type]

    def _beat(self) -> None:
        """Say that the loop runs; should it not run by the next time but several, this process says goodbye."""
        pause = min(1.0, self._hang_seconds / 4) if self._hang_seconds else 1.0
        self._beat_timer = call_in_step(asyncio.get_running_loop(), pause, self._beat)
        try:
            gauges = self.gauges()
        except Exception:
            log.exception("a gauge of this process failed")
            gauges = {}
        self._tell_findings()
        self._say(Beat(gauges))
        if self._watch is not None and self._stop_seconds is None:
            self._watch.turned()

    def _tell_findings(self) -> None:
        try:
            found = self.findings()
        except Exception:
            log.exception("the health of this process cannot be told")
            return
        if found != self._found:
            self._found = found
            self._say(ReadinessChanged(found))

    def data_received(self, data: bytes) -> None:
        for message in self._lines.feed(data):
            match message:
                case Stop(seconds):
                    self._end(seconds)
                case Yield():
                    self.on_yield()
                case Recall():
                    self.on_recall()
                case Collect(number):
                    self._say(MetricsReply(number, self._own_metrics()))
                case Ask(number, text):
                    task = asyncio.get_running_loop().create_task(self._answer(number, text))
                    self._answering.add(task)
                    task.add_done_callback(self._answering.discard)
                case GatherReply(number, text):
                    future = self._gathering.get(number)
                    if future is not None and not future.done():
                        future.set_result(text)
                case _:
                    pass

    async def _answer(self, number: int, text: str) -> None:
        try:
            told = await self.on_ask(text)
        except Exception as error:
            log.exception("what the runner asked for failed: %s", text)
            told = f"failed: {type(error).__name__}: {error}"
        self._say(AskReply(number, told))

    def _own_metrics(self) -> str:
        try:
            return self.metrics()
        except Exception:
            log.exception("the metrics of this process failed")
            return ""

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_orphan = self._stop is not None
        for future in self._gathering.values():
            if not future.done():
                future.set_exception(ConnectionError("the runner is gone"))
        self._end(2.0)

    def _end(self, seconds: float) -> None:
        if self._stop_seconds is not None or self._stop is None:
            return
        self._stop_seconds = seconds
        self.state("stopping")
        # A drain that hangs must not leave an orphan; the runner's own limit comes before this.
        self._watch_nothing()
        self._watch = StillnessWatch(seconds + 5.0)
        self._stop(seconds)

    def _watch_nothing(self) -> None:
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.stop()


async def _knows_nothing(text: str) -> str:
    return ""


def exit_with_parent(parent: int) -> None:
    """Be told to end (SIGTERM) when the parent process ends, where the system can do that (Linux)."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it ended before we could ask to be told
        raise SystemExit(1)
