"""What `skerry up livekv:app` costs while nobody asks for anything: how often its processes wake up, their memory, and
how long they take to be ready; forked from one that has imported the application, and executed.

Wake-ups are voluntary context switches of all threads (`/proc`), memory is the proportional set size of all processes
(PSS: a shared page counts once), the fork server's included. Linux only. Run: `python -m benchmarks.idle`.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.rows import Row, table

SECONDS = int(os.environ.get("BENCH_SECONDS", "10"))
WAKE_UPS, MEBIBYTES, READY_SECONDS = 80.0, 110.0, 1.0
"""The bars: a second, of all processes, from the command on."""


def tree(pid: int) -> Iterator[int]:
    """A process and its descendants."""
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in children.read_text().split():
            yield from tree(int(child))


def wake_ups(pid: int) -> int:
    """How often its threads have waited so far."""
    found = 0
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        found += int(re.findall(r"^voluntary_ctxt_switches:\s+(\d+)", status.read_text(), re.MULTILINE)[0])
    return found


def mebibytes(pid: int) -> float:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.findall(r"^Pss:\s+(\d+)", text, re.MULTILINE)[0]) / 1024


def measured(*options: str) -> tuple[float, float, float]:
    """Seconds until it is ready, wake-ups a second, mebibytes."""
    with tempfile.TemporaryDirectory() as folder:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{sock.getsockname()[1]}"
        began = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", "skerry", "up", "livekv:app", "--bind", address, *options],
            cwd=folder, env={**os.environ, "SKERRY_RUNTIME_DIR": folder}, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdout is not None
        try:
            if not any("ready on" in line for line in process.stdout):
                raise RuntimeError("it ended")
            ready = time.monotonic() - began
            time.sleep(3)
            pids = list(tree(process.pid))
            before = sum(map(wake_ups, pids))
            time.sleep(SECONDS)
            return ready, (sum(map(wake_ups, pids)) - before) / SECONDS, sum(map(mebibytes, pids))
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)


def run() -> list[Row]:
    """Measure both ways. The first start warms the files up, and does not count."""
    measured()
    rows = []
    for title, options in (("", ()), (", executed", ("--no-fork-server",))):
        ready, wakes, memory = measured(*options)
        for name, value, unit, bar in (
            ("wake-ups", wakes, "a second", WAKE_UPS),
            ("memory (PSS)", memory, "MiB", MEBIBYTES),
            ("ready", ready, "s", READY_SECONDS),
        ):
            counts = not title
            rows.append(
                Row(
                    f"idle skerry up{title}: {name}", value, unit, f"{bar:g} {unit}", value / bar,
                    1.0 if counts else None,
                )
            )  # fmt: skip
    return rows


if __name__ == "__main__":
    print(table(run()))
