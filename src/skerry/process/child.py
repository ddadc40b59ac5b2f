"""One child process as its runner sees it: started, heard, watched, ended.

Its end is noticed at once (pidfd, else SIGCHLD); what it says comes over a socket pair, what it writes over a pipe.
Not here: whether it is started again (restarts.py), in which order children end (runner.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from skerry.process import worker
from skerry.process.control_messages import (
    AnyMessage,
    Beat,
    ControlMessage,
    Failed,
    Lines,
    Loaded,
    ReadinessChanged,
    Recall,
    StateChanged,
    Stop,
    Watched,
    Yield,
    line,
)
from skerry.process.launching import Executing, Launch, Launcher, Process
from skerry.process.looking import LOOKED, Looks
from skerry.process.output import LineSplitter
from skerry.supervision.failure import Failure, SupervisionError


@dataclass(frozen=True, slots=True)
class Spec:
    """What to start. `pass_descriptors`: sockets that the child inherits, by the environment variable that tells
    their number. `hang_seconds`: of a child that is to be noticed earlier than others when its loop does not run."""

    name: str
    role: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    pass_descriptors: Mapping[str, int] = field(default_factory=dict)
    hang_seconds: float = 0.0


LAST_WORDS_CHARACTERS = 2000
"""How much is kept of a line for the story of a child's end."""
GROUP_SECONDS = 1.0
"""How long processes that a child has left behind may take to end."""
LONGEST_PAUSE = 1.0
"""Seconds for which a child's output may be left in its pipe."""


class ProcessDied(SupervisionError):
    """A child process ended unasked."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name} {reason}")
        self.name, self.reason = name, reason


class ProcessHung(ProcessDied):
    """A child's loop did not run any more, and it was ended."""


class Child(asyncio.Protocol):
    """One incarnation. `on_message(child, message)`, `on_line(child, text, is_record)` and, once, `on_end(child)`.
    While `crowded()` its output is left in the pipe, for a while."""

    def __init__(
        self,
        spec: Spec,
        on_message: Callable[[Child, AnyMessage], None],
        on_line: Callable[[Child, str, bool], None],
        on_end: Callable[[Child], None],
        crowded: Callable[[], bool] = lambda: False,
        launcher: Launcher | None = None,
    ) -> None:
        self.spec = spec
        self._launcher = Executing() if launcher is None else launcher
        self._crowded = crowded
        self._read_at = 0.0
        self._mark = secrets.token_hex(8)
        self._on_message, self._on_line, self._on_end = on_message, on_line, on_end
        self.state = "starting"
        self.reasons: list[str] = []
        self.gauges: dict[str, float | str] = {}
        self.found: dict[str, list[str]] = {}
        """Why it is not ready, by purpose, as far as it has told."""
        self.code = ""
        self.was_ready = False
        self.started_at = time.monotonic()
        self.last_beat: float | None = None
        self.asked_to_stop = False
        self.hung = False
        self.ended_for = ""
        """Why the runner has ended it, where it did: more than it may use."""
        self.is_suspect = False
        """Found silent once."""
        self.pardoned_at = float("-inf")
        """When the runner itself had not run, so that nobody could be heard."""
        self.exit_code: int | None = None
        self.last_words: deque[str] = deque(maxlen=400)
        self.said = 0
        """Lines that it has written."""
        self.last_failure: Failure | None = None
        self.fatal: Failure | None = None
        self.ended = asyncio.get_running_loop().create_future()
        self.looks = Looks()
        self._lines, self._splitter = Lines(), LineSplitter()
        self._transport: asyncio.Transport | None = None
        self._process: Process | None = None
        self.is_launching = False
        """Whether there is no process yet: it waits for what it is made from."""
        self._pipe = -1
        self._pidfd = -1

    @property
    def pid(self) -> int:
        return self._process.pid if self._process is not None else 0

    @property
    def lived_seconds(self) -> float:
        return time.monotonic() - self.started_at

    # --- life

    async def start(self) -> None:
        """Have it made. Raises OSError when the system refuses, or when it was ended meanwhile."""
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        self._pipe, write_end = os.pipe()
        os.set_blocking(self._pipe, False)
        environment = {
            **os.environ,
            **self.spec.environment,
            worker.PARENT: str(os.getpid()),
            worker.MARK: self._mark,
            "SKERRY_PROCESS": self.spec.name,
            "PYTHONUNBUFFERED": "1",
        }
        if self.spec.hang_seconds and environment.get(worker.HANG) not in ("0", "0.0"):
            environment[worker.HANG] = str(self.spec.hang_seconds)  # how often it beats
        descriptors = {
            worker.CONTROL: theirs.fileno(),
            LOOKED: self.looks.theirs.fileno(),
            **self.spec.pass_descriptors,
        }
        self.is_launching = True
        try:
            launch = Launch(self.spec.command, environment, descriptors, write_end, self.spec.role)
            process = await self._launcher.launch(launch)
            if self.exit_code is not None:
                process.send_signal(signal.SIGKILL)
                raise ProcessLookupError(f"{self.spec.name} was ended before it was there")
        except BaseException:
            os.close(self._pipe)
            self._pipe = -1
            ours.close()
            self.looks.close()
            raise
        finally:
            self.is_launching = False
            os.close(write_end)
            theirs.close()
            self.looks.theirs.close()
        self._process = process
        self.started_at = time.monotonic()
        loop.add_reader(self._pipe, self._on_output)
        self._watch(loop)
        ours.setblocking(False)
        transport, _ = await loop.create_connection(lambda: self, sock=ours)
        self._transport = transport

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        with contextlib.suppress(OSError, AttributeError):
            self._pidfd = os.pidfd_open(self.pid)
        if self._pidfd >= 0:
            loop.add_reader(self._pidfd, self.look)

    def look(self) -> None:
        """Notice the end, if it has come."""
        process = self._process
        if process is None or self.exit_code is not None:
            return
        if hasattr(os, "waitid"):
            with contextlib.suppress(ChildProcessError):
                if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                    return
                self.signal_group(signal.SIGTERM)  # before `poll`, as long as the number is its own
        code = process.poll()
        if code is None:
            return
        self.exit_code = code
        loop = asyncio.get_running_loop()
        loop.call_later(GROUP_SECONDS, self.signal_group, signal.SIGKILL)
        if self._pidfd >= 0:
            loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
        # Its last words may still be in the pipe and on the line.
        for _ in range(64):
            if not self._read_some():
                break
        for text in self._splitter.end():
            self._take_line(text)
        loop.remove_reader(self._pipe)
        os.close(self._pipe)
        self._pipe = -1
        loop.call_soon(self._finish)

    def _finish(self) -> None:
        self.looks.close()
        if self._transport is not None:
            self._transport.close()
        self.state = "ended"
        if not self.ended.done():
            self.ended.set_result(None)
        self._on_end(self)

    def say(self, message: ControlMessage) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(line(message))  # type: ignore[arg-type]

    @property
    def decided(self) -> bool:
        """Whether it has decided a command, as far as it has told."""
        count = self.gauges.get("decided", 0)
        return isinstance(count, float | int) and count > 0

    def make_room(self) -> None:
        """Release what a successor waits for. It says that it stands by when it has."""
        self.state = "making room"
        self.say(Yield())

    def recall(self) -> None:
        """Have it take again what it has released."""
        self.say(Recall())

    def ask_to_stop(self, seconds: float) -> None:
        """Drain within `seconds`; harmless when repeated."""
        self.asked_to_stop = True
        if self.state != "ended":
            self.state = "stopping"
        self.say(Stop(seconds))

    def signal(self, number: int) -> None:
        """Send a signal to it, if it is still there (the pid cannot be somebody else's before `poll`)."""
        if self._process is not None and self.exit_code is None:
            self._process.send_signal(number)

    def signal_group(self, number: int) -> bool:
        """Send a signal to it and to what it has started, as far as that is in its process group; whether there is
        anybody."""
        if self._process is None:
            return False
        try:
            os.killpg(self.pid, number)
        except (ProcessLookupError, PermissionError):
            return False
        return True

    async def leave_nothing(self) -> None:
        """Wait for the processes that it has started and left behind, and end them."""
        deadline = time.monotonic() + GROUP_SECONDS
        while self.exit_code is not None and self.signal_group(0):
            if time.monotonic() > deadline:
                self.signal_group(signal.SIGKILL)
                return
            await asyncio.sleep(0.02)

    async def end(self, seconds: float) -> bool:
        """Ask, wait, kill. True when it ended by itself."""
        self.ask_to_stop(seconds)
        self._leave_unlaunched()
        await asyncio.wait({self.ended}, timeout=seconds)
        if self.ended.done():
            return True
        self.kill()
        await asyncio.wait({self.ended}, timeout=2.0)
        return False

    def end_for(self, reason: str) -> None:
        """End it at once, unasked: it has used more than it may."""
        if not self.ended_for:
            self.ended_for = reason
            self.kill()

    def kill(self) -> None:
        self._leave_unlaunched()
        self.signal(signal.SIGKILL)

    def _leave_unlaunched(self) -> None:
        """If there is no process yet there will be none."""
        if self.is_launching and self.exit_code is None:
            self.exit_code = 0
            self._finish()

    # --- what comes from it

    def data_received(self, data: bytes) -> None:
        for message in self._lines.feed(data):
            match message:
                case Beat(gauges):
                    self.last_beat = time.monotonic()
                    self.gauges = gauges
                case StateChanged(state, reasons):
                    if not (self.asked_to_stop and state in ("ready", "standby", "starting")):
                        self.state, self.reasons = state, reasons
                    self.was_ready = self.was_ready or state == "ready"
                case ReadinessChanged(reasons):
                    self.found = reasons
                case Loaded(code):
                    self.code = code
                case Watched():
                    self.looks.begin(self.pid, message)
                case Failed(failure, fatal):
                    self._take_failure(failure, fatal)
                case _:
                    pass
            self._on_message(self, message)

    def _on_output(self) -> None:
        """Some of it. When it comes faster than it can be written the child waits in its own writes, but not for long:
        a reader that stands still must not stop it."""
        loop = asyncio.get_running_loop()
        for _ in range(16):  # a bound, so that one noisy child does not keep the loop
            if self._crowded() and loop.time() - self._read_at < LONGEST_PAUSE:
                loop.remove_reader(self._pipe)
                loop.call_later(0.02, self._read_on)
                return
            self._read_at = loop.time()
            if not self._read_some():
                return

    def _read_on(self) -> None:
        if self._pipe >= 0:
            asyncio.get_running_loop().add_reader(self._pipe, self._on_output)

    def _read_some(self) -> bool:
        """Whether there was something."""
        try:
            data = os.read(self._pipe, 65536)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            data = b""
        if not data:
            asyncio.get_running_loop().remove_reader(self._pipe)
            return False
        for text in self._splitter.feed(data):
            self._take_line(text)
        return True

    def _take_line(self, text: str) -> None:
        """A line that was written; a record may stand behind what was printed without an end."""
        printed, mark, record = text.partition(self._mark)
        if printed or not mark:
            self._tell_line(printed, is_record=False)
        if mark:
            self._tell_line(record, is_record=True)

    def _tell_line(self, text: str, *, is_record: bool) -> None:
        self.last_words.append(text[:LAST_WORDS_CHARACTERS])
        self.said += 1
        self._on_line(self, text, is_record)

    def _take_failure(self, wire: dict[str, Any], fatal: bool) -> None:
        try:
            failure = Failure.from_wire(wire)
        except ValueError:
            return
        self.last_failure = replace(failure, component=f"{self.spec.name}: {failure.component}")
        if fatal:
            self.fatal = self.last_failure

    # --- how it ended

    def why(self) -> str:
        """Why it ended, in a few words."""
        code = self.exit_code
        if self.hung:
            return "hung: its loop did not run any more"
        if self.ended_for:
            return f"was ended at once: {self.ended_for}"
        if code is not None and code < 0:
            return f"was killed by {signal_name(-code)}"
        if self.fatal is not None:
            kind = self.fatal.kind.rpartition(":")[2]
            return f"failed: {kind}: {self.fatal.message}" if self.fatal.message else f"failed: {kind}"
        return f"ended with exit code {code}"

    def failure(self) -> Failure:
        """Its end as a failure, with the traceback that it told or wrote, or the stacks that were dumped."""
        kind = ProcessHung if self.hung else ProcessDied
        made = Failure.of(self.spec.name, kind(self.spec.name, self.why()), at=time.time())
        told = self.fatal.traceback if self.fatal is not None and not self.hung else self._tail()
        return replace(made, traceback=told, error=made.error, cause=self.fatal)

    def _tail(self) -> str:
        """From the last traceback or dump of stacks on; without one the last few lines."""
        words = list(self.last_words)
        for at in range(len(words) - 1, -1, -1):
            if words[at].startswith(("Traceback (most recent", "Fatal Python error", "Timeout (")):
                return "\n".join(words[at:])
        dump = [at for at, text in enumerate(words) if "hread 0x" in text]
        return "\n".join(words[dump[0] :] if dump else words[-5:])


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
