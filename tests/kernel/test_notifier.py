"""What systemd is told, over a socket of our own as it would make it; and the shipped units."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from skerry.kernel.notifier import Notifier

UNITS = Path(__file__).parents[2] / "deploy" / "systemd"


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """The socket of a service manager."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(30)
        yield sock


def told(manager: socket.socket) -> dict[str, str]:
    lines = manager.recv(4096).decode().splitlines()
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


def test_nobody_is_told_where_nobody_listens(tmp_path: Path) -> None:
    """Without the variable, and with one whose socket has gone."""
    nobody = Notifier({})
    nobody.ready("works")
    assert not nobody
    gone = Notifier({"NOTIFY_SOCKET": str(tmp_path / "none")})
    gone.ready("works")
    gone.close()
    gone.close()


def test_each_step_is_told_once(manager: socket.socket) -> None:
    """In the protocol of sd_notify(3); children do not find the address any more."""
    environ = {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "2000000", "WATCHDOG_PID": "1"}
    notifier = Notifier(environ)
    assert environ == {}
    assert notifier.watchdog_seconds == 0, "meant for another process"
    notifier.status("starting")
    notifier.status("starting")
    notifier.ready("works")
    notifier.reloading("replacing")
    notifier.ready("works")
    notifier.stopping("ending")
    assert told(manager) == {"STATUS": "starting"}
    assert told(manager) == {"READY": "1", "STATUS": "works"}
    reloading = told(manager)
    assert int(reloading.pop("MONOTONIC_USEC")) > 0
    assert reloading == {"RELOADING": "1", "STATUS": "replacing"}
    assert told(manager) == {"READY": "1", "STATUS": "works"}
    assert told(manager) == {"STOPPING": "1", "STATUS": "ending"}
    notifier.close()


@pytest.mark.skipif(sys.platform != "linux", reason="abstract names are of Linux")
def test_an_abstract_name() -> None:
    """As systemd gives it to a service in a name space of its own."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(f"\0skerry-test-{os.getpid()}")
        notifier = Notifier({"NOTIFY_SOCKET": f"@skerry-test-{os.getpid()}"})
        notifier.ready("works")
        assert sock.recv(100) == b"READY=1\nSTATUS=works"
        notifier.close()


async def test_the_watchdog_is_heard_while_the_loop_runs(manager: socket.socket) -> None:
    """Again and again, within the time."""
    notifier = Notifier({"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "40000"})
    notifier.start_watchdog()
    for _ in range(3):
        assert await asyncio.to_thread(told, manager) == {"WATCHDOG": "1"}
    notifier.close()


async def test_what_the_manager_has_no_room_for_is_told_when_it_has(manager: socket.socket) -> None:
    """In its order, and nothing twice; how much waits is bounded."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as others:
        others.setblocking(False)
        full = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                others.sendto(b"X=1", manager.getsockname())
                full += 1
    notifier = Notifier({"NOTIFY_SOCKET": manager.getsockname()})
    notifier.status("starting")
    notifier.ready("works")
    notifier.reloading("replacing")
    for _ in range(100):
        notifier.ready("works again")
    assert [await asyncio.to_thread(told, manager) for _ in range(full)] == [{"X": "1"}] * full
    heard = [await asyncio.to_thread(told, manager) for _ in range(4)]
    assert [each.get("STATUS") for each in heard] == ["starting", "works", "replacing", "works again"]
    manager.setblocking(False)
    with pytest.raises(BlockingIOError):
        manager.recv(100)
    notifier.close()


@pytest.mark.parametrize("name", ["skerry.service", "skerry-role@.service"])
def test_the_units_are_right(name: str, tmp_path: Path) -> None:
    """systemd finds nothing to say about them, where it is there; what we rely on stands in them anyway."""
    text = (UNITS / name).read_text()
    for line in (
        "Type=notify",
        "NotifyAccess=main",
        "WatchdogSec=30",
        "RestartPreventExitStatus=2",
        "DynamicUser=yes",
    ):
        assert f"\n{line}\n" in text
    if shutil.which("systemd-analyze"):
        unit = tmp_path / name.replace("@", "@server")
        unit.write_text(text.replace("/opt/skerry/bin/skerry", "/bin/true"))
        found = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", str(unit)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        told = [line for line in found.stderr.splitlines() if unit.name in line]
        assert told == []
