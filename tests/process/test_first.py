"""As the first process of a container: orphans are reaped, signals passed on, and the end is the child's.

The program of these tests says that it is PID 1 and takes orphans as PID 1 does (PR_SET_CHILD_SUBREAPER), so that no
name space is needed.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="subreapers are of Linux")
PROGRAM = """
import ctypes, os, signal, subprocess, sys, time
ctypes.CDLL(None).prctl(36, 1)
first = os.getpid()
real = os.getpid
os.getpid = lambda: 1
from skerry.process.reaping import fork_as_first
fork_as_first()
os.getpid = real
signal.signal(signal.SIGHUP, lambda *_: print("hup", flush=True))
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
for _ in range(5):
    subprocess.run(["sh", "-c", "sleep 0 &"])
print(first, real(), flush=True)
if "killed" in sys.argv:
    os.kill(real(), signal.SIGKILL)
while True:
    signal.pause()
"""


def zombies(parent: int) -> int:
    """Children of that process which nobody has waited for."""
    found = 0
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            found += fields[0] == "Z" and fields[1] == str(parent)
    return found


async def start(path: Path, *arguments: str) -> tuple[asyncio.subprocess.Process, int, int]:
    """The program, its first process and the one that works."""
    (path / "program.py").write_text(PROGRAM)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(path / "program.py"),
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        env=dict(os.environ),
    )
    assert process.stdout is not None
    async with asyncio.timeout(60):
        first, working = (await process.stdout.readline()).split()
    return process, int(first), int(working)


async def ended(process: asyncio.subprocess.Process) -> int | None:
    """Its exit code, once its output has ended too: a pipe that outlives the loop warns in a later test."""
    await process.communicate()
    return process.returncode


async def test_it_reaps_and_passes_on(tmp_path: Path) -> None:
    """Orphans leave no zombies, SIGHUP and SIGTERM reach the one that works, and its exit code is the code."""
    process, first, working = await start(tmp_path)
    assert (first, first != working) == (process.pid, True)
    async with asyncio.timeout(60):
        while zombies(first):  # noqa: ASYNC110 - of another process
            await asyncio.sleep(0.02)
        process.send_signal(signal.SIGHUP)
        assert process.stdout is not None
        assert await process.stdout.readline() == b"hup\n"
        process.send_signal(signal.SIGTERM)
        assert await ended(process) == 7
    with pytest.raises(ProcessLookupError):
        os.kill(working, 0)


async def test_a_child_that_was_killed_ends_it(tmp_path: Path) -> None:
    """With 128 and the signal, as shells have it."""
    process, _, _ = await start(tmp_path, "killed")
    async with asyncio.timeout(60):
        assert await ended(process) == 128 + signal.SIGKILL
