"""livekv as its users meet it: real processes, bytes on sockets, nothing of Skerry but the command.

Plain sockets on purpose: a client library would hide what is looked at here. Not here: what happens when things
break (tests/faults, tests/e2e).
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from skerry.testing.broker import free_ports

SOAK = os.environ.get("SKERRY_SOAK") == "1"
"""Whether the seconds of the contract are asked for: not on any machine, however busy."""
T = TypeVar("T")
READY = re.compile(r"(?:ready|listening) on https?://\S+?:(\d+)")


def free_port() -> int:
    """One that no outgoing connection is given before it is bound."""
    return free_ports(1)[0]


def surroundings(directory: Path, **more: str) -> dict[str, str]:
    """No setting of this machine, but those given; the processes find each other in `directory`."""
    kept = {n: v for n, v in os.environ.items() if not n.startswith("SKERRY_") and not n.endswith("_PORT")}
    return {**kept, "SKERRY_RUNTIME_DIR": str(directory / "run"), "PYTHONUNBUFFERED": "1", **more}


@dataclass
class Answer:
    """What came back: the field names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Running:
    """A running `skerry`."""

    process: subprocess.Popen[str]
    directory: Path
    port: int = 0
    context: ssl.SSLContext | None = None
    lines: list[str] = field(default_factory=list)

    def ask(self, method: str, target: str, body: bytes | None = None, **fields: str) -> Answer:
        """One request on a connection of its own; `_` in field names is `-`."""
        if self.context is None:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=90)
        else:
            connection = http.client.HTTPSConnection("localhost", self.port, timeout=90, context=self.context)
        try:
            headers = {name.replace("_", "-"): value for name, value in fields.items()}
            connection.request(method, target, body, headers)
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, found, response.read())
        finally:
            connection.close()

    def raw(self, data: bytes, seconds: float = 60.0) -> bytes:
        """Send bytes, and read until the server closes. TimeoutError when it does not."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=seconds) as sock:
            with contextlib.suppress(OSError):  # refused while we are still sending
                sock.sendall(data)
            found = b""
            with contextlib.suppress(ConnectionResetError):
                while part := sock.recv(65536):
                    found += part
            return found

    def status_of(self, data: bytes) -> int:
        """The status of the answer to these bytes, 0 for none."""
        found = self.raw(data)
        return int(found.split(b" ", 2)[1]) if found.startswith(b"HTTP/1.1 ") else 0

    def stop(self, number: int = signal.SIGINT) -> tuple[int, float]:
        """Signal it: exit code, and the seconds until its end."""
        began = time.monotonic()
        self.process.send_signal(number)
        return self.process.wait(60), time.monotonic() - began

    def text(self) -> str:
        return "\n".join(self.lines[-40:])


@contextmanager
def skerry(directory: Path, *arguments: str, listens: bool = True, **environ: str) -> Iterator[Running]:
    """`skerry ARGUMENTS` in `directory`, ready when it `listens`. Killed at the end when it still runs."""
    directory.mkdir(parents=True, exist_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "skerry", *arguments],
        cwd=directory, env=surroundings(directory, **environ), text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    running = Running(process, directory)
    ready = threading.Event()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            running.lines.append(line.rstrip())
            found = READY.search(line)
            if found and not running.port:
                running.port = int(found[1])
                ready.set()
        ready.set()

    reader = threading.Thread(target=read, name="skerry-output")
    reader.start()
    try:
        if listens:
            assert ready.wait(120), running.text()
            assert running.port, running.text()
        yield running
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(30)
        if process.poll() is None:
            process.kill()
            process.wait()
        reader.join(30)
        if process.stdout is not None:
            process.stdout.close()


def at_once(number: int, work: Callable[[int], T]) -> list[T]:
    """`work(0)`, `work(1)`, ... at the same time; their results in order. Raises the first failure."""
    results: dict[int, T] = {}
    failures: list[BaseException] = []

    def one(index: int) -> None:
        try:
            results[index] = work(index)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=one, args=(index,)) for index in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return [results[index] for index in range(number)]


def until(condition: Callable[[], T], seconds: float = 90.0) -> T:
    """What the condition gives, once that is true; AssertionError when it does not become so. Other processes act."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)
    return found


def request(method: str, target: str, *fields: str, body: bytes = b"", version: str = "1.1") -> bytes:
    """The bytes of one request that asks for the connection's end."""
    lines = [f"{method} {target} HTTP/{version}", "Host: localhost", "Connection: close", *fields]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body
