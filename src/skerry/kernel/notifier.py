"""What systemd is told (sd_notify): ready, what is going on, that the watchdog may be calm. Without its library.

The protocol is a datagram of `NAME=VALUE` lines to the unix socket that NOTIFY_SOCKET names (sd_notify(3)). Outside of
systemd nothing is told. Not here: when which of it is true (`skerry.cli.processes`, `skerry.roles.running`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections import deque
from collections.abc import MutableMapping

MOST_KEPT = 16
"""Datagrams that wait while the manager's socket takes none; of more, the oldest are given up."""
AGAIN_SECONDS = 0.05


class Notifier:
    """Takes its address out of `environ`, so that no child process speaks for us; of a unit with WatchdogSec= the time
    too. May be used where nobody listens."""

    def __init__(self, environ: MutableMapping[str, str] | None = None) -> None:
        environ = os.environ if environ is None else environ
        address = environ.pop("NOTIFY_SOCKET", "")
        microseconds = environ.pop("WATCHDOG_USEC", "")
        process = environ.pop("WATCHDOG_PID", "")
        self._socket: socket.socket | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._kept: deque[bytes] = deque(maxlen=MOST_KEPT)
        self._again: asyncio.TimerHandle | None = None
        self.watchdog_seconds = 0.0
        """How often we have to be heard; 0: never."""
        self._status = ""
        if not address:
            return
        if microseconds.isdigit() and process in ("", str(os.getpid())):
            self.watchdog_seconds = int(microseconds) / 1e6
        # "@" stands for the zero byte of an abstract name.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)

    def __bool__(self) -> bool:
        return self._socket is not None

    def _tell(self, **values: object) -> None:
        if self._socket is not None:
            text = "\n".join(f"{name}={value}" for name, value in values.items()).encode()
            if not self._kept or self._kept[-1] != text:
                self._kept.append(text)
            self._send()

    def _send(self) -> None:
        """What is to be told, in its order, as far as it is taken; the rest soon."""
        if self._again is not None:
            self._again.cancel()
            self._again = None
        while self._socket is not None and self._kept:
            try:
                self._socket.sendto(self._kept[0], self._address)
            except BlockingIOError:  # the manager is behind: its queue of datagrams is short
                with contextlib.suppress(
                    RuntimeError
                ):  # no loop runs (yet): with the next word, or at the end
                    self._again = asyncio.get_running_loop().call_later(AGAIN_SECONDS, self._send)
                return
            except OSError:  # nobody listens any more
                pass
            self._kept.popleft()

    def ready(self, status: str) -> None:
        """It works, for the first time or again after `reloading`."""
        self._status = status
        self._tell(READY=1, STATUS=status)

    def status(self, text: str) -> None:
        """One line for `systemctl status`; said when it changes."""
        if text != self._status:
            self._status = text
            self._tell(STATUS=text)

    def reloading(self, status: str) -> None:
        """Processes are being replaced; `ready` follows."""
        self._status = status
        self._tell(
            RELOADING=1, MONOTONIC_USEC=time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000, STATUS=status
        )

    def stopping(self, status: str) -> None:
        self._status = status
        self._tell(STOPPING=1, STATUS=status)

    def start_watchdog(self) -> None:
        """Be heard while this loop runs: twice within the time that the unit gives."""
        if self.watchdog_seconds:
            self._tell(WATCHDOG=1)
            self._timer = asyncio.get_running_loop().call_later(
                self.watchdog_seconds / 2, self.start_watchdog
            )

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._socket is not None:
            self._send()
            if self._again is not None:
                self._again.cancel()
            self._socket.close()
            self._socket = None
