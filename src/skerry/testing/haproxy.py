"""A private HAProxy for tests: one's own configuration, free ports of 127.0.0.1, a directory of its own.

    with private_haproxy("frontend web\n bind 127.0.0.1:PORT1\n default_backend kv\n ...", ports=1) as haproxy:
        ...                                        # haproxy.ports[0]; PORT1, PORT2 and DIRECTORY are replaced

It ends with the block, and with its process. Whether HAProxy is installed is `services.available("haproxy")`.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from skerry.testing.broker import free_ports
from skerry.testing.services import ServiceFailed, end_with_parent, haproxy_program

START_SECONDS = 30.0
STOP_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class PrivateHaproxy:
    """One that runs: where it listens."""

    ports: tuple[int, ...]


@contextlib.contextmanager
def private_haproxy(text: str, ports: int = 1) -> Iterator[PrivateHaproxy]:
    """Run it with that configuration. Raises ServiceFailed with its log when it does not start."""
    found = haproxy_program()
    if found is None:
        raise ServiceFailed("haproxy is not installed")
    chosen = tuple(free_ports(ports))
    with tempfile.TemporaryDirectory(prefix="haproxy-") as name:
        directory = Path(name)
        text = text.replace("DIRECTORY", name)
        for number, port in enumerate(chosen, 1):
            text = text.replace(f"PORT{number}", str(port))
        (directory / "haproxy.cfg").write_text(text, encoding="utf-8")
        with (directory / "log").open("ab") as log:
            process = subprocess.Popen(
                [found, "-db", "-f", f"{name}/haproxy.cfg"],
                stdout=log, stderr=log, preexec_fn=end_with_parent,
            )  # fmt: skip
        try:
            for port in chosen:
                _wait(process, port, directory)
            yield PrivateHaproxy(chosen)
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait(process: subprocess.Popen[bytes], port: int, directory: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
            return
        if process.poll() is not None or time.monotonic() > deadline:
            log = (directory / "log").read_text(encoding="utf-8", errors="replace")
            raise ServiceFailed(f"haproxy did not start:\n{log[-2000:]}")
        time.sleep(0.02)
