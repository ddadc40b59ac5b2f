"""`skerry up` and a single role as services of systemd, which is played by a socket."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from skerry.testing.program import Program

sys.path.insert(0, str(Path(__file__).parent))
from upworld import Up, free_port  # type: ignore[import-not-found]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="systemd is of Linux")


class Manager:
    """What a service has told so far: names in their order, and the last status."""

    def __init__(self, path: Path) -> None:
        self.address = str(path / "notify")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.address)
        self._socket.setblocking(False)
        self.steps: list[str] = []
        self.status = ""
        self.beats = 0

        self._news = asyncio.Event()
        asyncio.get_running_loop().add_reader(self._socket, self._read)

    def _read(self) -> None:
        for line in self._socket.recv(4096).decode().splitlines():
            name, _, value = line.partition("=")
            if name == "STATUS":
                self.status = value
            elif name == "WATCHDOG":
                self.beats += 1
            elif name != "MONOTONIC_USEC":
                self.steps.append(name)
        self._news.set()

    async def until(self, done: Callable[[], bool]) -> None:
        """It has told what makes that so."""
        async with asyncio.timeout(120):
            while not done():
                self._news.clear()
                await self._news.wait()

    async def step(self, name: str) -> None:
        """It has told that."""
        await self.until(lambda: name in self.steps)
        self.steps.remove(name)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()


async def test_up_tells_how_it_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ready when all are, reloading while they are replaced, stopping at the end; the watchdog is heard, and no child
    has the address."""
    monkeypatch.setenv("SKERRY_RUNTIME_DIR", str(tmp_path / "run"))
    manager = Manager(tmp_path)
    world = Up(tmp_path, "livekv:app", ("--servers", "1"), free_port())
    world.environ |= {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "1000000"}
    async with world:
        await manager.step("READY")
        assert "3 of 3 processes ready" in manager.status
        for process in world.processes():
            environ = Path(f"/proc/{process.pid}/environ").read_bytes()  # noqa: ASYNC240 - of the kernel
            assert b"NOTIFY_SOCKET" not in environ
            assert b"WATCHDOG" not in environ
        world.send_signal(signal.SIGHUP)
        await manager.step("RELOADING")
        await manager.step("READY")
        await manager.until(lambda: manager.beats >= 2)
        assert await world.stop(signal.SIGTERM) == 0
        await manager.step("STOPPING")
    manager.close()


async def test_a_role_tells_how_it_goes(tmp_path: Path) -> None:
    """A consumer is ready when it works, and stops."""
    manager = Manager(tmp_path)
    environ = {"NOTIFY_SOCKET": manager.address}
    async with Program(tmp_path, "consumer", "livekv:app", environ=environ) as consumer:
        await manager.step("READY")
        assert manager.status == "consumer works"
        assert await consumer.stop(signal.SIGTERM) == 0
        await manager.step("STOPPING")
    manager.close()
