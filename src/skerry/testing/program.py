"""A `skerry` command as a process of its own, as a user starts it: spoken to over HTTP, signalled, killed.

    async with Program(tmp_path, "run", "livekv:app", "--bind", "127.0.0.1:0") as program:
        await program.listening()
        answer = await HttpConnection(program.port).ask("PUT", "/values/a", b"1")
        assert await program.stop() == 0

Not here: applications without a process (app.py).
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from skerry.http.headers import Headers

_LISTENING = re.compile(r"listening on https?://\S+:(\d+)")


def surroundings(directory: Path, **more: str) -> dict[str, str]:
    """An environment in which nothing of this machine's settings is left: no SKERRY_ variable but those given."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("SKERRY_") and name not in ("SERVER_PORT", "WEBSOCKET_PORT")
    }
    return {**kept, "SKERRY_RUNTIME_DIR": str(directory / "run"), "PYTHONUNBUFFERED": "1", **more}


@dataclass(frozen=True, slots=True)
class Finished:
    """What a command that ended by itself left: its exit code and what it wrote, as text."""

    code: int
    out: str
    error: str


async def call(
    directory: Path, *arguments: str, environ: Mapping[str, str] | None = None, seconds: float = 60.0
) -> Finished:
    """Run `skerry ARGUMENTS` to its end. Raises TimeoutError, and kills it, when it takes longer than `seconds`."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "skerry", *arguments,
        cwd=directory, env=surroundings(directory, **(environ or {})),
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(seconds):
            out, error = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return Finished(process.returncode, out.decode(), error.decode())


class Program:
    """`skerry ARGUMENTS`, running in `directory`. `lines` is what it has written, standard output and error together.
    May be started again when it has ended; `environ` adds to the clean environment, and may be changed before
    that. `command`: another program that becomes `skerry`, as `manage.py skerry`. `within`: what starts it somewhere
    else, as `Network.within` (network.py)."""

    def __init__(
        self,
        directory: Path,
        *arguments: str,
        environ: Mapping[str, str] | None = None,
        command: Sequence[str] = ("-m", "skerry"),
        within: Sequence[str] = (),
    ) -> None:
        self.directory, self.arguments, self.command = directory, arguments, command
        self.within = within
        self.lines: list[str] = []
        self.port = 0
        self.environ = dict(environ or {})
        self.hearing = asyncio.Event()
        """While it is not set nothing is read of what the process writes: its reader has stalled."""
        self.hearing.set()
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._news = asyncio.Event()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    async def start(self) -> None:
        """Start the process; `listening` or `until` tell when it works."""
        assert not self.running
        self.lines.clear()
        self.port = 0
        self._process = await asyncio.create_subprocess_exec(
            *self.within, sys.executable, *self.command, *self.arguments,
            cwd=self.directory, env=surroundings(self.directory, **self.environ),
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        self._reading = asyncio.create_task(self._read(self._process), name="skerry-program-output")

    async def listening(self, seconds: float = 60.0) -> int:
        """The port, once it answers there. Raises AssertionError with its output when it ends before."""
        await self.until(lambda: self.port > 0, seconds)
        return self.port

    async def until(self, condition: Callable[[], bool], seconds: float = 60.0) -> None:
        """Wait until something is true of what it wrote. AssertionError with its output when that never comes."""
        try:
            async with asyncio.timeout(seconds):
                while not condition():
                    if self._reading is None or self._reading.done():
                        raise AssertionError(f"skerry {' '.join(self.arguments)} has ended:\n{self.text}")
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"not within {seconds:g} s; it said:\n{self.text}") from None

    def send_signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    async def kill(self) -> None:
        """As the kernel or a power cut would: no goodbye."""
        await self.stop(signal.SIGKILL)

    async def stop(self, number: int = signal.SIGINT, seconds: float = 60.0) -> int:
        """Signal it, wait for its end; the exit code. Raises TimeoutError when it does not end."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(number)
        return await self.ended(seconds)

    async def ended(self, seconds: float = 60.0) -> int:
        """The exit code, when it ends by itself. Raises TimeoutError."""
        assert self._process is not None
        assert self._reading is not None
        async with asyncio.timeout(seconds):
            code = await self._process.wait()
            await self._reading
        return code

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        try:
            while line := await process.stdout.readline():
                await self.hearing.wait()
                self.lines.append(line.decode("utf-8", "replace").rstrip("\n"))
                found = _LISTENING.search(self.lines[-1])
                if found and self.port == 0:
                    self.port = int(found[1])
                self._news.set()
        finally:
            self._news.set()

    async def __aenter__(self) -> Program:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is None:
            return
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        if self._reading is not None:
            await self._reading


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """What came back over a socket."""

    status: int
    headers: Headers
    body: bytes


class HttpConnection:
    """One keep-alive connection to 127.0.0.1: quick, one request at a time, opened at the first and again when it
    was closed between two. `connections`: how often it was opened. `timeout_seconds`: for one answer, whole."""

    def __init__(self, port: int, *, timeout_seconds: float = 120.0) -> None:
        self._port, self._timeout_seconds = port, timeout_seconds
        self.connections = 0
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> HttpAnswer:
        """One request; header names with `_` for `-`. Raises ConnectionError when the connection broke under it,
        TimeoutError when the answer did not come."""
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await self._ask(method, path, body, headers)
        except TimeoutError as error:
            error.add_note(f"no answer to {method} {path} within {self._timeout_seconds:g} s")
            raise

    async def _ask(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> HttpAnswer:
        try:
            if self._streams is None:
                self._streams = await asyncio.open_connection("127.0.0.1", self._port)
                self.connections += 1
            reader, writer = self._streams
            fields = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
            head = (
                f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n{fields}\r\n"
            )
            writer.write(head.encode("latin-1") + body)
            first, *lines = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
            split = (line.partition(b":") for line in lines if line)
            found = Headers([(name.lower(), value.strip()) for name, _, value in split])
            length = 0 if method == "HEAD" else int(found.get("content-length") or 0)
            answer = HttpAnswer(int(first.split()[1]), found, await reader.readexactly(length))
        except (OSError, asyncio.IncompleteReadError) as error:
            self.close()
            raise ConnectionError(f"{method} {path}: {error!r}") from error
        except BaseException:
            self.close()
            raise
        if found.get("connection") == "close":
            self.close()
        return answer

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None
