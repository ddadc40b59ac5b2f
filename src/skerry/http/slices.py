"""Which listener gets the next slice: those that are behind get one each in turn, within the bytes of a loop turn."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from skerry.http.listener import Listener

LEAST_BYTES = 4096
"""What a slice counts for at least: a call costs something too."""


class Slices:
    """`send(listener)` sends one slice and returns its size in bytes; `after()` is called when a turn is over."""

    def __init__(self, send: Callable[[Listener], int], turn_bytes: int, after: Callable[[], None]) -> None:
        self._send, self._turn_bytes, self._after = send, turn_bytes, after
        self._waiting: deque[Listener] = deque()
        self._turning = False

    @property
    def waiting(self) -> bool:
        """Whether somebody waits for a slice."""
        return self._turning

    def later(self, listener: Listener) -> None:
        """Give the listener a slice in the next turn, or when it is its turn."""
        if not listener.pumping:
            listener.pumping = True
            self._waiting.append(listener)
        self._turn_soon()

    def _turn_soon(self) -> None:
        if self._waiting and not self._turning:
            self._turning = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self._turning = False
        sent = 0
        for _ in range(len(self._waiting)):
            listener = self._waiting.popleft()
            listener.pumping = False
            sent += max(LEAST_BYTES, self._send(listener))
            if sent >= self._turn_bytes:
                break
        self._after()
        self._turn_soon()
