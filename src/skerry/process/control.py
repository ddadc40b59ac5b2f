"""The runner's own socket: `skerry ps` asks there and finds every runner of this user, and operators order there.

A question is one JSON line, the answer another one; an order (orders.py) has an answer of several. Each runner has a
directory under the user's runtime directory; one whose runner was killed is cleared away by the process that finds
it. Not here: how the answer is shown (tree.py), how an order is carried out (operating.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import msgspec

from skerry.errors import SettingsError
from skerry.loop.sockets import listen_unix, peer_is_same_user, private_directory, runtime_root, runtime_roots
from skerry.process.child import Child
from skerry.process.orders import AnyOrder, Outcome, Progress, answers, line, orders
from skerry.process.runner import Runner
from skerry.process.slot import Slot
from skerry.process.tree import ForkServerStatus, ProcessStatus, RunnerStatus

PREFIX = "up-"
SOCKET_NAME = "control.sock"
LOOK_SECONDS = 1.0
"""How often it is looked whether the socket is still there."""
BEAT_SECONDS = 1.0
"""How often who waits for an order to be carried out is told that the runner is there."""
SILENT_SECONDS = 15.0
"""After how much silence a runner is taken to hang by who gave it an order."""
MOST_UNREAD_BYTES = 64 * 1024
"""Beyond this who does not read is told of no more progress."""

Act = Callable[[AnyOrder, Callable[[str], None]], Awaitable[Outcome]]
"""Carries an order out, and tells of its progress meanwhile."""


def runner_directory(pid: int) -> Path:
    """The private directory of the runner with that pid."""
    return runtime_root() / f"{PREFIX}{pid}"


class Control:
    """Answers in this runner's directory: `status()` makes the answer, `act(order, tell)` carries out an order, to its
    end, also when who gave it has gone. A directory that was cleared away (logind does
    that at a logout, others tidy up /tmp) is made again, where it was or where there is one now."""

    def __init__(self, status: Callable[[], RunnerStatus], act: Act | None = None) -> None:
        self._status, self._act = status, act
        self._path: Path | None = None
        self._server: asyncio.Server | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._answering: set[asyncio.Task[None]] = set()
        self._acting: set[asyncio.Task[Outcome]] = set()

    async def start(self) -> None:
        """Raises SettingsError when there is no place for it."""
        await self._listen()
        self._look()

    async def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for task in (*self._answering, *self._acting):
            task.cancel()
        if self._server is not None:
            self._server.close()
        if self._path is not None:
            shutil.rmtree(self._path.parent, ignore_errors=True)

    async def _listen(self) -> None:
        directory = private_directory(runner_directory(os.getpid()))
        listener = listen_unix(directory / SOCKET_NAME)
        if self._server is not None:
            self._server.close()
        self._server = await asyncio.start_unix_server(self._answer, sock=listener)
        self._path = directory / SOCKET_NAME

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(LOOK_SECONDS, self._look)
        if self._path is not None and not self._path.exists() and not self._answering:
            task = loop.create_task(self._listen_again(), name="skerry-control")
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)

    async def _listen_again(self) -> None:
        with contextlib.suppress(SettingsError, OSError):  # next time, perhaps
            await self._listen()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if not peer_is_same_user(writer.get_extra_info("socket")):
                return
            async with asyncio.timeout(5.0):
                question = await reader.readline()
            if question.startswith(b"{"):
                await self._obey(question, writer)
            else:
                writer.write(msgspec.json.encode(self._status()) + b"\n")
            async with asyncio.timeout(5.0):
                await writer.drain()
        except (OSError, ValueError, TimeoutError):
            pass
        finally:
            writer.close()

    async def _obey(self, question: bytes, writer: asyncio.StreamWriter) -> None:
        def tell(text: str) -> None:
            if writer.transport.get_write_buffer_size() < MOST_UNREAD_BYTES:
                writer.write(line(Progress(text)) if text else b"\n")

        try:
            order = orders.decode(question)
        except (msgspec.DecodeError, msgspec.ValidationError):
            order = None
        if order is None or self._act is None:
            writer.write(line(Outcome(2, "this `skerry up` knows no such order: it runs another version")))
            return
        task = asyncio.ensure_future(self._act(order, tell))
        self._acting.add(task)
        task.add_done_callback(self._acting.discard)
        while not task.done():
            await asyncio.wait({task}, timeout=BEAT_SECONDS)
            tell("")
        writer.write(line(task.result()))


def status_of(runner: Runner, target: str, namespace: str, address: str) -> RunnerStatus:
    """The present state of a runner and its children."""
    return RunnerStatus(
        target,
        namespace,
        address,
        os.getpid(),
        time.time() - runner.started_at,
        memory_bytes(os.getpid()),
        [_process(slot) for slot in runner.slots],
        runner.rollout.halfway,
        _fork_server(runner.fork_server),
    )


def _fork_server(child: Child | None) -> ForkServerStatus | None:
    if child is None or not child.pid:
        return None
    return ForkServerStatus(child.pid, child.lived_seconds, memory_bytes(child.pid))


def _process(slot: Slot) -> ProcessStatus:
    child, failure = slot.child, slot.last_failure
    pid = child.pid if child is not None else 0
    gauges = child.gauges if child is not None else {}
    stopped, reactors = (
        str(gauges[name]).split("\n") if name in gauges else [] for name in ("stopped", "reactors")
    )
    return ProcessStatus(
        slot.spec.name,
        slot.spec.role,
        pid,
        "not ready" if stopped and slot.state == "ready" else slot.state,
        slot.restarts,
        child.lived_seconds if child is not None else 0.0,
        memory_bytes(pid) if pid else 0,
        cpu_seconds(pid) if pid else 0.0,
        child.reasons if child is not None else [],
        child.gauges if child is not None else {},
        failure.message if failure is not None else "",
        failure.traceback if failure is not None else "",
        failure.at if failure is not None else 0.0,
        stopped=stopped,
        reactors=reactors,
        code=child.code if child is not None else "",
        recycled=slot.recycled,
        recycled_for=slot.recycled_for,
    )


def memory_bytes(pid: int) -> int:
    """Resident memory, 0 where it cannot be told."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]
    except (OSError, IndexError):
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def cpu_seconds(pid: int) -> float:
    """User and system time, 0 where it cannot be told."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / float(os.sysconf("SC_CLK_TCK"))
    except (OSError, IndexError, ValueError):
        return 0.0


# --- asking


def running(seconds: float = 2.0) -> Iterator[RunnerStatus]:
    """The status of every runner of this user. Blocks up to `seconds` for each."""
    for directory in sorted(found for root in runtime_roots() for found in root.glob(f"{PREFIX}*")):
        status = ask(directory, seconds)
        if status is not None:
            yield status


def ask(directory: Path, seconds: float = 2.0) -> RunnerStatus | None:
    """A runner's status; None when it is gone (what it left is cleared away) or does not answer."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(seconds)
        try:
            sock.connect(os.fspath(directory / SOCKET_NAME))
        except (ConnectionRefusedError, FileNotFoundError):
            _clear(directory)
            return None
        except OSError:
            return None
        try:
            sock.sendall(b'"status"\n')
            with sock.makefile("rb") as file:
                return msgspec.json.decode(file.readline(), type=RunnerStatus)
        except (OSError, msgspec.DecodeError, msgspec.ValidationError):
            return None


def order(pid: int, wish: AnyOrder, tell: Callable[[str], None]) -> Outcome:
    """Have a runner of this user carry out an order. Blocks until it has; `tell` hears of progress meanwhile."""
    directory = next((d for root in runtime_roots() if (d := root / f"{PREFIX}{pid}").is_dir()), None)
    if directory is None:
        return Outcome(1, f"the runner with pid {pid} has ended")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(SILENT_SECONDS)
        try:
            sock.connect(os.fspath(directory / SOCKET_NAME))
            sock.sendall(line(wish))
            with sock.makefile("rb") as file:
                for text in file:
                    if text == b"\n":
                        continue
                    match answers.decode(text):
                        case Progress(told):
                            tell(told)
                        case Outcome() as outcome:
                            return outcome
        except TimeoutError:
            return Outcome(1, f"the runner with pid {pid} does not answer")
        except OSError as error:
            return Outcome(1, f"the runner with pid {pid} cannot be reached: {error}")
        except (msgspec.DecodeError, msgspec.ValidationError):
            return Outcome(2, f"the runner with pid {pid} is of another version and knows no orders")
    return Outcome(1, f"the runner with pid {pid} ended before it was done")


def _clear(directory: Path) -> None:
    """Remove what a killed runner left, unless its pid lives (it is just starting)."""
    pid = directory.name.removeprefix(PREFIX)
    if pid.isdigit():
        with contextlib.suppress(ProcessLookupError):
            try:
                os.kill(int(pid), 0)
            except PermissionError:
                pass
            else:
                return
        shutil.rmtree(directory, ignore_errors=True)
