"""`skerry up` as a user starts it, for the end-to-end tests: in a directory of its own, on free ports."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from skerry.process import control
from skerry.process.tree import ProcessStatus, RunnerStatus
from skerry.testing.broker import free_ports


def free_port() -> int:
    """One that no outgoing connection is given before it is bound."""
    return free_ports(1)[0]


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


class Client:
    """One keep-alive connection, which is opened anew when it was closed between two requests."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self.connections = 0

    async def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
        """One request; ConnectionError when the connection broke under it."""
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
            self.connections += 1
        reader, writer = self._streams
        lines = [f"{method} {path} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        try:
            writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            fields = {n.lower(): v for n, _, v in (line.partition(": ") for line in head[1:] if line)}
            length = int(fields.get("content-length", "0"))
            answer = Answer(int(head[0].split()[1]), fields, await reader.readexactly(length))
        except (OSError, asyncio.IncompleteReadError) as error:
            self.close()
            raise ConnectionError(f"{method} {path}: {error!r}") from error
        except BaseException:
            self.close()
            raise
        if fields.get("connection") == "close":
            self.close()
        return answer

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


@dataclass
class Up:
    """A running `skerry up`."""

    process: asyncio.subprocess.Process
    port: int
    directory: Path
    lines: list[str] = field(default_factory=list)
    reading: asyncio.Task[None] | None = None

    def status(self) -> RunnerStatus:
        found = control.ask(control.runner_directory(self.process.pid), 30.0)
        assert found is not None, "the runner does not answer"
        return found

    def processes(self, role: str = "") -> list[ProcessStatus]:
        return [p for p in self.status().processes if not role or p.role == role]

    async def until(self, ready: Callable[[], bool], seconds: float = 90.0) -> None:
        try:
            async with asyncio.timeout(seconds):
                while not ready():  # noqa: ASYNC110 - other processes
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(
                f"not within {seconds:g} s; it said:\n" + "\n".join(messages(self)[-60:])
            ) from None

    async def all_ready(self, seconds: float = 90.0) -> None:
        await self.until(lambda: all(p.state == "ready" for p in self.processes()), seconds)

    async def read(self) -> None:
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            self.lines.append(line.decode().rstrip())

    def said(self, text: str) -> bool:
        return any(text in line for line in self.lines)

    async def stop(self, number: int = signal.SIGINT, seconds: float = 60.0) -> int:
        """Signal the runner, wait for its end, return its exit code."""
        if self.process.returncode is None:
            self.process.send_signal(number)
        return await self.ended(seconds)

    async def ended(self, seconds: float = 60.0) -> int:
        """Wait for its end, return its exit code."""
        async with asyncio.timeout(seconds):
            code = await self.process.wait()
            if self.reading is not None:
                await self.reading
        return code


@asynccontextmanager
async def up(
    directory: Path, *options: str, target: str = "livekv:app", wait: bool = True, port: int = 0
) -> AsyncIterator[Up]:
    """Start, wait until everything is ready, and leave nothing behind."""
    port = port or free_port()
    environment = {
        **os.environ,
        "SKERRY_RUNTIME_DIR": str(directory / "run"),
        "SKERRY_BIND": f"127.0.0.1:{port}",
        "PYTHONPATH": os.pathsep.join([str(directory), *sys.path]),
    }
    os.environ["SKERRY_RUNTIME_DIR"] = str(directory / "run")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "skerry", "up", target, *options,
        cwd=directory, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    world = Up(process, port, directory)
    world.reading = asyncio.create_task(world.read())
    try:
        if wait:
            await world.until(lambda: world.said('"ready on') or process.returncode is not None)
            assert process.returncode is None, "\n".join(world.lines)
        yield world
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), 30)
        if process.returncode is None:
            process.kill()
            await process.wait()
        await world.reading
        if os.environ.get("SKERRY_TEST_LOG"):
            Path(os.environ["SKERRY_TEST_LOG"]).write_text("\n".join(world.lines))  # noqa: ASYNC240 - at the end
        del os.environ["SKERRY_RUNTIME_DIR"]


def messages(world: Up) -> list[str]:
    """The messages of the common log."""
    found = []
    for line in world.lines:
        with contextlib.suppress(ValueError):
            found.append(f"{json.loads(line).get('process', '')}: {json.loads(line)['message']}")
    return found
