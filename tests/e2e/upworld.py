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
from pathlib import Path

from skerry.process import control
from skerry.process.tree import ProcessStatus, RunnerStatus
from skerry.testing.broker import free_ports
from skerry.testing.program import Program


def free_port() -> int:
    """One that no outgoing connection is given before it is bound."""
    return free_ports(1)[0]


class Up(Program):
    """A running `skerry up`, or another command with a runner, bound to `port`."""

    def __init__(
        self, directory: Path, target: str, options: tuple[str, ...], port: int, command: str = "up"
    ) -> None:
        environ = {
            "SKERRY_BIND": f"127.0.0.1:{port}",
            "PYTHONPATH": os.pathsep.join([str(directory), *sys.path]),
        }
        super().__init__(directory, command, target, *options, environ=environ)
        self._bound = port

    async def start(self) -> None:
        await super().start()
        self.port = self._bound

    def status(self) -> RunnerStatus:
        found = control.ask(control.runner_directory(self.pid), 30.0)
        assert found is not None, "the runner does not answer"
        return found

    def processes(self, role: str = "") -> list[ProcessStatus]:
        return [p for p in self.status().processes if not role or p.role == role]

    async def until(self, condition: Callable[[], bool], seconds: float = 90.0) -> None:
        """Wait until something is true of any of its processes, whether it runs or has ended."""
        try:
            async with asyncio.timeout(seconds):
                while not condition():  # noqa: ASYNC110 - other processes
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(
                f"not within {seconds:g} s; it said:\n" + "\n".join(messages(self)[-60:])
            ) from None

    async def all_ready(self, seconds: float = 90.0) -> None:
        await self.until(lambda: all(p.state == "ready" for p in self.processes()), seconds)

    def said(self, text: str) -> bool:
        return any(text in line for line in self.lines)


@asynccontextmanager
async def up(
    directory: Path,
    *options: str,
    target: str = "livekv:app",
    wait: bool = True,
    port: int = 0,
    command: str = "up",
) -> AsyncIterator[Up]:
    """Start, wait until everything is ready, and leave nothing behind."""
    world = Up(directory, target, options, port or free_port(), command)
    os.environ["SKERRY_RUNTIME_DIR"] = str(directory / "run")
    async with world:
        try:
            if wait:
                await world.until(lambda: world.said('"ready on') or not world.running)
                assert world.running, world.text
            yield world
        except TimeoutError as error:
            error.add_note("it said:\n" + "\n".join(messages(world)[-60:]))
            raise
        finally:
            if world.running:
                with contextlib.suppress(TimeoutError):
                    await world.stop(signal.SIGINT)
            if os.environ.get("SKERRY_TEST_LOG"):
                Path(os.environ["SKERRY_TEST_LOG"]).write_text(world.text)  # noqa: ASYNC240 - at the end
            del os.environ["SKERRY_RUNTIME_DIR"]


def messages(world: Up) -> list[str]:
    """The messages of the common log."""
    found = []
    for line in world.lines:
        with contextlib.suppress(ValueError):
            found.append(f"{json.loads(line).get('process', '')}: {json.loads(line)['message']}")
    return found
