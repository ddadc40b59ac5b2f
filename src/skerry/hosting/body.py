"""`wsgi.input`: a request's body for a thread, filled by the loop, with back-pressure in between.

`Inbox` is the raw stream; `io.BufferedReader` above it gives exactly `read`, `readline`, `readlines` and iteration. A
body that is there as a whole needs neither: it is a `BytesIO`.
"""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Callable
from typing import Any

READ_AHEAD_BYTES = 131_072
"""What waits here for the application at most, about; beyond, the client is not read."""


class TooLarge(OSError):
    """The body is over the limit."""


class Inbox(io.RawIOBase):
    """The parts of one body. The loop calls `put`, `end` and `fail`; the thread reads. `ask()` is called in the thread
    when it wants more than is here, `wait()` returns when something may have changed."""

    def __init__(self, ask: Callable[[], None], wait: Callable[[], None], limit_bytes: int) -> None:
        super().__init__()
        self._ask, self._wait, self._limit = ask, wait, limit_bytes
        self._parts: deque[bytes] = deque()
        self._front = memoryview(b"")
        self._came = self._taken = 0  # each is written by one side only
        self._ended = False
        self._error: OSError | None = None

    # The loop's side

    @property
    def full(self) -> bool:
        return self._came - self._taken >= READ_AHEAD_BYTES

    @property
    def ended(self) -> bool:
        return self._ended or self._error is not None

    def put(self, data: bytes) -> None:
        self._came += len(data)
        if self._limit and self._came > self._limit:
            self.fail(TooLarge(f"the body is over {self._limit} bytes"))
        else:
            self._parts.append(data)

    def end(self) -> None:
        self._ended = True

    def fail(self, error: OSError) -> None:
        """The body will never be complete: every further read raises."""
        if not self._ended and self._error is None:
            self._error = error

    # The thread's side

    def release(self) -> None:
        """The request is over: drop both callbacks, which lead back to it."""
        self._ask = self._wait = _nothing

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any, /) -> int:
        """Raises OSError for a body that breaks off, as soon as that is known."""
        into = memoryview(target).cast("B")
        if not self._front and not self._next():
            return 0
        size = min(len(into), len(self._front))
        into[:size] = self._front[:size]
        self._front = self._front[size:]
        self._taken += size
        if not self._front and not self._parts and not self._ended:
            self._ask()
        return size

    def readall(self) -> bytes:
        """The rest of it, without a copy through small buffers."""
        parts: list[bytes | memoryview] = []
        while self._front or self._next():
            parts.append(self._front)
            self._taken += len(self._front)
            self._front = memoryview(b"")
        return b"".join(parts)

    def _next(self) -> bool:
        """The next part in front; False at the end."""
        while True:
            ended = self._ended  # before the parts: what came last stands there by then
            if self._error is not None:
                raise self._error
            if self._parts:
                self._front = memoryview(self._parts.popleft())
                return True
            if ended:
                return False
            self._ask()
            self._wait()


def _nothing() -> None:
    """Nobody is asked, and nothing is waited for."""
