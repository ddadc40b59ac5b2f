"""A server program of a test, from when it listens until the block ends."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from skerry.testing.services import ServiceFailed, end_with_parent

START_SECONDS = 30.0
STOP_SECONDS = 10.0


@contextlib.contextmanager
def listening(command: Sequence[str], ports: Sequence[int], log: Path) -> Iterator[None]:
    """Run `command`, its output in `log`, once something listens on each of the `ports` of 127.0.0.1. Raises
    ServiceFailed with the end of the log when it does not start."""
    with log.open("ab") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, preexec_fn=end_with_parent)
    try:
        for port in ports:
            _wait(process, command[0], port, log)
        yield
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen[bytes], program: str, port: int, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
            return
        if process.poll() is not None or time.monotonic() > deadline:
            said = log.read_text(encoding="utf-8", errors="replace")
            raise ServiceFailed(f"{program} did not start:\n{said[-2000:]}")
        time.sleep(0.02)
