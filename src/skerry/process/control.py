"""The runner's own socket: `skerry ps` asks there, and finds every runner of this user.

A question is one JSON line, the answer another one. Each runner has a directory under the user's runtime directory;
one whose runner was killed is cleared away by whoever finds it. Not here: how the answer is shown (tree.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from skerry.errors import SettingsError
from skerry.loop.sockets import listen_unix, private_directory, runtime_root
from skerry.process.runner import Runner
from skerry.process.slot import Slot
from skerry.process.tree import ProcessStatus, RunnerStatus

PREFIX = "up-"
SOCKET_NAME = "control.sock"


def runner_directory(pid: int) -> Path:
    """The private directory of the runner with that pid."""
    return runtime_root() / f"{PREFIX}{pid}"


class Control:
    """Answers at `directory / control.sock`. `status()` makes the answer."""

    def __init__(self, directory: Path, status: Callable[[], RunnerStatus]) -> None:
        self._directory, self._status = directory, status
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        private_directory(self._directory)
        listener = listen_unix(self._directory / SOCKET_NAME)
        self._server = await asyncio.start_unix_server(self._answer, sock=listener)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(5.0):
                await reader.readline()
                writer.write(msgspec.json.encode(self._status()) + b"\n")
                await writer.drain()
        except (OSError, ValueError, TimeoutError):
            pass
        finally:
            writer.close()


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
    )


def _process(slot: Slot) -> ProcessStatus:
    child, failure = slot.child, slot.last_failure
    pid = child.pid if child is not None else 0
    told = str(child.gauges.get("stopped", "")) if child is not None else ""
    stopped = told.split("\n") if told else []
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
    try:
        directories = sorted(runtime_root().glob(f"{PREFIX}*"))
    except SettingsError:
        return
    for directory in directories:
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
