"""`skerry up` on a real terminal that is closed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import signal
import sys
from pathlib import Path

import pytest

from skerry.process import control
from skerry.process.tree import RunnerStatus
from skerry.testing.program import surroundings

sys.path.insert(0, str(Path(__file__).parent))
from upworld import free_port  # type: ignore[import-not-found]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="terminals as on Linux")
LAUNCHER = """
import fcntl, os, signal, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGHUP, signal.SIG_IGN if sys.argv[1] == "nohup" else signal.SIG_DFL)
os.execv(sys.executable, [sys.executable, "-m", "skerry", "up", "livekv:app", "--servers", "1"])
"""


class Terminal:
    """One with `skerry up` on it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ours, self._theirs = pty.openpty()
        self.process: asyncio.subprocess.Process

    async def start(self, how: str) -> None:
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", LAUNCHER, how,
            cwd=self.directory, env=surroundings(self.directory, SKERRY_BIND=f"127.0.0.1:{free_port()}"),
            stdin=self._theirs, stdout=self._theirs, stderr=self._theirs,
        )  # fmt: skip
        os.close(self._theirs)

    def status(self) -> RunnerStatus | None:
        return control.ask(self.directory / "run" / f"up-{self.process.pid}", 30.0)

    async def ready(self) -> set[int]:
        """The processes, once all are ready."""
        async with asyncio.timeout(90):
            while True:
                status = await asyncio.to_thread(self.status)
                if status is not None and all(p.state == "ready" for p in status.processes):
                    return {p.pid for p in status.processes}
                await asyncio.sleep(0.05)


@pytest.mark.parametrize("how", ["plain", "nohup"])
async def test_a_closed_terminal_ends_it_unless_told_otherwise(tmp_path: Path, how: str) -> None:
    """Closing the window is the end of what was started in it, in order and with nothing left; with nohup it lives on,
    with new processes."""
    terminal = Terminal(tmp_path)
    await terminal.start(how)
    try:
        before = await terminal.ready()
        os.close(terminal.ours)
        async with asyncio.timeout(90):
            if how == "nohup":
                while await terminal.ready() & before:  # noqa: ASYNC110 - other processes
                    await asyncio.sleep(0.05)
                terminal.process.send_signal(signal.SIGTERM)
            assert await terminal.process.wait() == 0
        assert not (tmp_path / "run" / f"up-{terminal.process.pid}").exists()
    finally:
        with contextlib.suppress(ProcessLookupError):
            terminal.process.kill()
