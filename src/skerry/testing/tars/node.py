"""A node that starts, watches, stops and restarts one server by tarsnode's rules.

It writes the configuration, runs the start script, checks the pid, takes keep-alives and notifications, restarts what
died, ends and restarts what is silent for too long, and stops by AdminObj and then by SIGKILL. What is said to it is
kept for tests to look at.

Source: TarsFramework NodeServer (`ServerObject`, `CommandStart`, `CommandStop`, `Activator`, `ServerImp`).
"""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from skerry.tars.communicator import Communicator
from skerry.tars.endpoint import Endpoint
from skerry.tars.errors import TarsError
from skerry.tars.platform.configuration import (
    ADMIN_ADAPTER,
    ADMIN_OBJECT,
    AdapterConfiguration,
    Configuration,
)
from skerry.tars.platform.interfaces import interfaces
from skerry.tars.server import Server
from skerry.testing.broker import free_ports

NODE: Any = interfaces("NodeF")
NOTIFY: Any = interfaces("NotifyF")
ADMIN: Any = interfaces("AdminF")

SERVER_OBJECT, NOTIFY_OBJECT = "tars.tarsnode.ServerObj", "tars.tarsnotify.NotifyObj"
PID_SECONDS = 20.0
LOOK_SECONDS = 0.05
STARTS, WINDOW_SECONDS, PAUSE_SECONDS = 10, 60.0, 600.0
MAX_KEPT = 10_000


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """One call of `keepAlive`. `at`: monotonic. `adapter` empty: all."""

    at: float
    pid: int
    adapter: str


@dataclass(frozen=True, slots=True)
class Stop:
    """How a server ended. `killed`: it was still there when its grace was over."""

    pid: int
    seconds: float
    killed: bool


class StartLimit:
    """How often what has died is started: ten times in a minute, from then on once in ten minutes, until somebody
    orders a start. Times are seconds of one clock."""

    def __init__(self) -> None:
        self._starts: deque[float] = deque(maxlen=STARTS)
        self.reached = False

    def note(self, now: float, *, ordered: bool = False) -> None:
        """It is started."""
        if ordered:
            self._starts.clear()
            self.reached = False
        self._starts.append(now)
        if len(self._starts) == STARTS and now - self._starts[0] < WINDOW_SECONDS:
            self.reached = True

    def allows(self, now: float) -> bool:
        return not self.reached or now - self._starts[-1] >= PAUSE_SECONDS


class FakeNode:
    """The node of one server.

    `command`: what is run, with `--config=FILE` behind it. `is_php`: it is stopped by the same command with `stop`
    behind it, as tarsnode does with servers of type `tars_php`. `silent_seconds`: an active server with an adapter
    that is silent for longer is ended and started anew. `restarts`: whether one that died is started again.
    """

    def __init__(
        self,
        directory: Path,
        configuration: Configuration,
        command: Sequence[str],
        *,
        is_php: bool = False,
        silent_seconds: float = 45.0,
        restarts: bool = True,
    ) -> None:
        self.directory, self.command, self.is_php = directory, list(command), is_php
        self.silent_seconds, self.restarts = silent_seconds, restarts
        self._given = configuration
        self.configuration = configuration
        self.state = "inactive"
        self.pid = 0
        self.keep_alives: deque[KeepAlive] = deque(maxlen=MAX_KEPT)
        self.activating: deque[float] = deque(maxlen=MAX_KEPT)
        self.versions: list[str] = []
        self.messages: list[str] = []
        self.starts: deque[float] = deque(maxlen=100)
        self.limit = StartLimit()
        self.zombies = 0
        self._heard: dict[str, float] = {}
        self._server = Server(drain_seconds=0.1)
        self._watching: asyncio.Task[None] | None = None
        self._busy = asyncio.Lock()
        self._reporting: list[Awaitable[None]] = []

    @property
    def config_file(self) -> Path:
        return self.directory / "conf" / f"{self.configuration.name}.config.conf"

    @property
    def log_file(self) -> Path:
        return self.configuration.log_directory / f"{self.configuration.name}.log"

    @property
    def log(self) -> str:
        """What the server has written so far."""
        return self.log_file.read_text(encoding="utf-8") if self.log_file.exists() else ""

    async def __aenter__(self) -> FakeNode:
        for address in (SERVER_OBJECT, NOTIFY_OBJECT):
            servant: Any = _ServerServant(self) if address == SERVER_OBJECT else _NotifyServant(self)
            self._server.add(servant, f"{address}@tcp -h 127.0.0.1 -p 0 -t 60000")
        await self._server.start()
        [port] = free_ports(1)
        directory = self.directory
        self.configuration = self._given.changed(
            node=self._server.address(SERVER_OBJECT),
            notify=self._given.notify or self._server.address(NOTIFY_OBJECT),
            local=self._given.local or Endpoint("tcp", "127.0.0.1", port, 10_000),
            base_path=str(directory / "bin"),
            data_path=str(directory / "data"),
            log_path=str(directory / "log"),
        )
        for path in (directory / "bin", directory / "data", directory / "conf", self.log_file.parent):
            path.mkdir(parents=True, exist_ok=True)
        self.write_configuration()
        self._watching = asyncio.create_task(self._watch())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        if self.pid and is_running(self.pid):
            await self.stop()
        await self._server.close()

    def write_configuration(self) -> None:
        """Write the file as it is now in `configuration`."""
        self.config_file.write_text(self.configuration.text(), encoding="utf-8")

    # --- what the platform orders

    async def start(self) -> int:
        """Run the start script and wait for the pid. Raises TimeoutError when none comes."""
        async with self._busy:
            self.limit.note(time.monotonic(), ordered=True)
            return await self._start()

    async def stop(self) -> Stop:
        """AdminObj.shutdown (or the command with `stop`), the grace, SIGKILL."""
        async with self._busy:
            return await self._stop()

    async def restart(self) -> Stop:
        async with self._busy:
            stop = await self._stop()
            self.limit.note(time.monotonic(), ordered=True)
            await self._start()
            return stop

    def kill(self) -> None:
        """SIGKILL to the server, as an accident; the watch restarts it."""
        os.kill(self.pid, signal.SIGKILL)

    async def send_command(self, command: str) -> str:
        """`send command` of the web page."""
        async with Communicator(timeout_seconds=10) as communicator:
            return str(await self._admin(communicator).notify(command))

    async def until(self, truth: Callable[[], bool], seconds: float = 60.0) -> None:
        """Wait for something. Raises TimeoutError, with the server's log."""
        try:
            async with asyncio.timeout(seconds):
                while not truth():  # noqa: ASYNC110 - another process sets no event
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise TimeoutError(f"state {self.state}, pid {self.pid}, log:\n{self.log}") from None

    async def until_active(self, seconds: float = 60.0) -> None:
        """Wait until every adapter and AdminAdapter were kept alive by this start of the server."""
        names = {*(adapter.name for adapter in self.configuration.adapters), ADMIN_ADAPTER}
        await self.until(lambda: self.state == "active" and names <= self._heard.keys(), seconds)

    # --- what the server says (ServerF)

    def take_keep_alive(self, pid: int, adapter: str) -> None:
        """tarsnode takes over the pid of a keep-alive when its own is dead or the server not active."""
        now = time.monotonic()
        self.keep_alives.append(KeepAlive(now, pid, adapter))
        if self.state == "inactive":
            return
        if self.state != "active" or not is_running(self.pid):
            self.pid = pid
        if self.state == "activating":
            self.state = "active"
        names = [adapter] if adapter else self._names()
        self._heard.update(dict.fromkeys(names, now))

    def _names(self) -> list[str]:
        return [*(adapter.name for adapter in self.configuration.adapters), ADMIN_ADAPTER]

    # --- how it is done

    async def _start(self) -> int:
        self.starts.append(time.monotonic())
        self._heard.clear()
        self.state = "activating"
        pid_file = self.directory / "bin" / "tars_start.sh.pid"
        pid_file.unlink(missing_ok=True)
        script = self.directory / "bin" / "tars_start.sh"
        script.write_text(self._script(pid_file), encoding="utf-8")
        script.chmod(0o755)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("SKERRY_")}
        process = await asyncio.create_subprocess_exec(
            str(script), cwd=self.log_file.parent, stdin=asyncio.subprocess.DEVNULL, env=kept
        )  # the server's settings are those of its file, whatever this process has for itself
        await process.wait()
        async with asyncio.timeout(PID_SECONDS):
            while not pid_file.exists() or not pid_file.read_text().strip():  # noqa: ASYNC110
                await asyncio.sleep(LOOK_SECONDS)
        self.pid = int(pid_file.read_text())
        return self.pid

    def _script(self, pid_file: Path) -> str:
        exports = "".join(
            f"export {name}={shlex.quote(value)}\n" for name, value in self.configuration.environment.items()
        )
        command = shlex.join([*self.command, f"--config={self.config_file}"])
        log = shlex.quote(str(self.log_file))
        return f"#!/bin/sh\n{exports}{command} >> {log} 2>&1 &\necho $! > {shlex.quote(str(pid_file))}\n"

    async def _stop(self) -> Stop:
        began, pid = time.monotonic(), self.pid
        self.state = "deactivating"
        stopping: asyncio.subprocess.Process | None = None
        if self.is_php:
            stopping = await asyncio.create_subprocess_exec(
                *self.command, f"--config={self.config_file}", "stop", stderr=asyncio.subprocess.DEVNULL
            )
        else:
            async with Communicator(timeout_seconds=3) as communicator:
                try:
                    await self._admin(communicator).shutdown()
                except TarsError:  # it hangs, or is gone
                    pass
        grace = min(60.0, max(2.0, self.configuration.deactivating_seconds))
        killed = not await self._until_gone(pid, grace)
        if killed:
            os.kill(pid, signal.SIGKILL)
            await self._until_gone(pid, PID_SECONDS)
        seconds = time.monotonic() - began
        if stopping is not None:
            await stopping.wait()
        self.state = "inactive"
        return Stop(pid, seconds, killed)

    async def _until_gone(self, pid: int, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                while is_running(pid):  # noqa: ASYNC110 - another process sets no event
                    await asyncio.sleep(0.01)
        except TimeoutError:
            return False
        return True

    async def _watch(self) -> None:
        """Dead ones are started again, as often as the limit allows; silent ones are ended first."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if self._busy.locked() or self.state not in ("activating", "active"):
                continue
            now = time.monotonic()
            if not is_running(self.pid):
                if not self.restarts:
                    self.state = "inactive"
                elif self.limit.allows(now):
                    await self._start_again()
            elif self.state == "active" and any(
                now - self._heard.get(name, now) > self.silent_seconds for name in self._names()
            ):
                self.zombies += 1
                await self._start_again(stop=True)

    async def _start_again(self, *, stop: bool = False) -> None:
        async with self._busy:
            if stop:
                await self._stop()
            self.limit.note(time.monotonic())
            await self._start()

    def _admin(self, communicator: Communicator) -> Any:
        return communicator.proxy(ADMIN.AdminF, f"{ADMIN_OBJECT}@{self.configuration.local}")


class _ServerServant(NODE.ServerF):  # type: ignore[misc]
    """ServerF of a node."""

    def __init__(self, node: FakeNode) -> None:
        self._node = node

    async def keepAlive(self, serverInfo: Any) -> int:  # noqa: N802, N803 - the IDL's names
        self._node.take_keep_alive(serverInfo.pid, serverInfo.adapter)
        return 0

    async def keepActiving(self, serverInfo: Any) -> int:  # noqa: N802, N803
        self._node.activating.append(time.monotonic())
        return 0

    async def reportVersion(self, app: str, serverName: str, version: str) -> int:  # noqa: N802, N803
        self._node.versions.append(version)
        return 0

    async def getLatestKeepAliveTime(self) -> int:  # noqa: N802
        return int(time.time())


class _NotifyServant(NOTIFY.Notify):  # type: ignore[misc]
    """The notification service."""

    def __init__(self, node: FakeNode) -> None:
        self._node = node

    async def reportNotifyInfo(self, info: Any) -> None:  # noqa: N802
        self._node.messages.append(info.sMessage)


def is_running(pid: int) -> bool:
    """Whether a process runs, and is not only waiting for somebody to notice its end."""
    if not pid:
        return False
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return state.rpartition(")")[2].split()[0] not in ("Z", "X")


def configuration_for(
    server: str, objects: Sequence[str], *, web: Sequence[str] = (), app: str = "Demo", **values: Any
) -> Configuration:
    """A configuration on this machine for a server with these objects (`HelloObj`), each on a free port; those in `web`
    do not speak Tars."""
    names = [*objects, *web]
    adapters = tuple(
        AdapterConfiguration(
            name=f"{app}.{server}.{name}Adapter",
            servant=f"{app}.{server}.{name}",
            endpoint=Endpoint("tcp", "127.0.0.1", port, 60_000),
            protocol="not_tars" if name in web else "tars",
            max_connections=1000,
            queue_capacity=10_000,
            queue_timeout_seconds=60.0,
        )
        for name, port in zip(names, free_ports(len(names)), strict=True)
    )
    return Configuration(
        app, server, adapters, node_name="127.0.0.1", local_ip="127.0.0.1", log_level="INFO", **values
    )
