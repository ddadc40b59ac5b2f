"""Accepts connections, and does not spin when there are no more descriptors for them.

The last descriptors are left to parts that need them more: what does not get one waits in the kernel's queue for a
moment. Not here: what becomes of a connection.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable

from skerry.loop.descriptors import MAX_AT_ONCE, most_descriptors

log = logging.getLogger("skerry.balancer")

PAUSE_SECONDS = 0.1
SAY_SECONDS = 10.0


class Acceptor:
    """Gives each connection of a listening, non-blocking socket to `take`, which owns it, and calls `then` after some.

    `spare`: descriptors that it does not touch. May be started and stopped again and again.
    """

    def __init__(
        self,
        listener: socket.socket,
        take: Callable[[socket.socket], None],
        then: Callable[[], None] = lambda: None,
        spare: int = 0,
    ) -> None:
        self.listener = listener
        self._take, self._then, self._spare = take, then, spare
        self._ceiling = 0
        self._pause: asyncio.TimerHandle | None = None
        self._accepting = False
        self._said_at = float("-inf")

    def start(self) -> None:
        if not self._accepting:
            self._accepting = True
            self._ceiling = most_descriptors() - self._spare
            self._go_on()

    def stop(self) -> None:
        """Accept nothing; clients wait in the kernel's queue."""
        if self._accepting:
            self._accepting = False
            self._rest()

    def _go_on(self) -> None:
        self._pause = None
        asyncio.get_running_loop().add_reader(self.listener, self._on_acceptable)

    def _rest(self) -> None:
        asyncio.get_running_loop().remove_reader(self.listener)
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None

    def _on_acceptable(self) -> None:
        for _ in range(MAX_AT_ONCE):
            try:
                connection, _ = self.listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                break
            except OSError as error:  # out of descriptors or memory: this loop would spin
                self._wait(error.strerror or str(error))
                break
            number = connection.fileno()
            self._take(connection)
            if number >= self._ceiling:
                self._wait("too many open files")
                break
        self._then()

    def _wait(self, why: str) -> None:
        now = time.monotonic()
        if now - self._said_at > SAY_SECONDS:
            self._said_at = now
            log.error("cannot accept: %s; what comes waits in the kernel", why)
        self._rest()
        self._pause = asyncio.get_running_loop().call_later(PAUSE_SECONDS, self._go_on)
