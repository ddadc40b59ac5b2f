"""Hosts that are network namespaces of this machine, joined by a switch of our own that cuts, delays and loses.

    with Network("host1", "host2", "clients") as network:
        with network.inside("host1"):                     # sockets and processes of this thread are there
            subprocess.Popen(...)
        Program(..., within=network.within("host2"))      # a command that begins there
        network.cut("host1", "host2")                     # both ways; cut(..., both=False) one of them
        network.slow(0.1); network.lose(0.05); network.mend()

It takes root and TUN devices: `available()`. Not here: the switch, a process of its own (switch.py).
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from itertools import permutations
from pathlib import Path
from types import TracebackType

_CLONE_NEWNET = 0x40000000


@cache
def available() -> bool:
    """Whether such hosts can be made here."""
    if (
        os.geteuid() != 0
        or not Path("/dev/net/tun").exists()
        or not all(map(shutil.which, ("ip", "nsenter")))
    ):
        return False
    try:
        with Network("probe"):
            return True
    except (OSError, ValueError):
        return False


class Network:
    """Hosts by name, each with an address; a context manager."""

    def __init__(self, *names: str) -> None:
        self.names = names
        self.addresses: dict[str, str] = {}
        self._spaces: dict[str, str] = {}
        self._switch: subprocess.Popen[str] | None = None

    def __enter__(self) -> Network:
        self._switch = subprocess.Popen(
            [sys.executable, "-m", "skerry.testing.switch", *self.names],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._switch.stdout is not None
        for name, host in json.loads(self._switch.stdout.readline()).items():
            self.addresses[name] = host["address"]
            self._spaces[name] = f"/proc/{self._switch.pid}/fd/{host['space']}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._switch is not None:
            self._switch.communicate(timeout=30)

    def within(self, name: str) -> tuple[str, ...]:
        """What a command begins with that is to run there."""
        return ("nsenter", f"--net={self._spaces[name]}", "--")

    @contextmanager
    def inside(self, name: str) -> Iterator[None]:
        """New sockets and processes of this thread are there."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        try:
            _enter(self._spaces[name])
            yield
        finally:
            _enter(f"/proc/self/fd/{home}")
            os.close(home)

    def cut(self, one: str, other: str, *, both: bool = True) -> None:
        """Nothing passes from one to the other any more."""
        self._rule([(one, other), (other, one)] if both else [(one, other)], cut=True)

    def isolate(self, name: str) -> None:
        """As if its cable were pulled, or its power."""
        self._rule([pair for pair in permutations(self.names, 2) if name in pair], cut=True)

    def slow(self, seconds: float) -> None:
        """Everything takes so long each way."""
        self._rule(list(permutations(self.names, 2)), delay=seconds)

    def lose(self, share: float) -> None:
        """So much of everything is lost each way."""
        self._rule(list(permutations(self.names, 2)), loss=share)

    def mend(self) -> None:
        """Everything passes at once."""
        self._rule(list(permutations(self.names, 2)))

    def _rule(
        self, pairs: list[tuple[str, str]], *, cut: bool = False, delay: float = 0.0, loss: float = 0.0
    ) -> None:
        assert self._switch is not None
        assert self._switch.stdin is not None
        assert self._switch.stdout is not None
        rules = [{"from": a, "to": b, "cut": cut, "delay": delay, "loss": loss} for a, b in pairs]
        self._switch.stdin.write(json.dumps(rules) + "\n")
        self._switch.stdin.flush()
        self._switch.stdout.readline()


def _enter(space: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(space, os.O_RDONLY)
    try:
        if libc.setns(descriptor, _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"cannot enter {space}")
    finally:
        os.close(descriptor)
