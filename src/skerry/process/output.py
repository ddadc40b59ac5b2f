"""The logs of all children in one stream: each line with its process's name, in colour on a terminal.

A line that is a log record in JSON passes through as it is: it carries its process itself. What is a record is told by
a mark that only the logging of that child knows, so that printed text cannot pass for one. Writing happens in a thread
of its own, behind a queue that is bounded in bytes, so that a paused terminal or a full disk never stops the
supervision. While the stream takes something the children wait when the queue fills up; when it takes nothing lines
that do not fit are dropped, and counted. Not here: reading the children's pipes (child.py).
"""

from __future__ import annotations

import errno
import io
import json
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import TextIO

MAX_LINE_BYTES = 256 * 1024
LIMIT_BYTES = 8 * 1024 * 1024
_BATCH_BYTES = 64 * 1024
_STALLED_SECONDS = 1.0
"""A stream that has taken nothing for so long is not waited for."""
_RETRY_SECONDS = 0.5
_GONE = frozenset({errno.EPIPE, errno.EBADF})
_COLOURS = (36, 32, 33, 35, 34, 96, 92, 93, 95, 94)
_RESET = "\x1b[0m"


def wants_colour(stream: TextIO) -> bool:
    """A terminal that was not told otherwise (NO_COLOR, FORCE_COLOR, TERM=dumb)."""
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or (stream.isatty() and os.environ.get("TERM") != "dumb")


def rendered(name: str, text: str, width: int, colour: int | None) -> str:
    """A line for people: `name | text`."""
    label = f"{name:<{width}} |"
    if colour is not None:
        label = f"\x1b[{colour}m{label}{_RESET}"
    return f"{label} {text}"


def rendered_json(name: str, text: str, now: float, *, is_record: bool = False, level: str = "info") -> str:
    """A line for programs: a log record as it is, anything else, a cut record too, wrapped in one of `level`."""
    if is_record and text.startswith("{") and text.endswith("}") and len(text) < MAX_LINE_BYTES // 4:
        return text
    if is_record:
        try:
            if isinstance(json.loads(text), dict):
                return text
        except ValueError:
            pass
    at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03d}Z"
    return json.dumps({"time": at, "level": level, "process": name, "message": text}, ensure_ascii=False)


class Output:
    """Where lines go. `line` never waits; `close` writes what is left, within a bound. `as_json`: one JSON object a
    line, whatever the children write. `limit_bytes`: what may wait to be written."""

    def __init__(
        self,
        stream: TextIO,
        *,
        colour: bool = False,
        as_json: bool = False,
        limit_bytes: int = LIMIT_BYTES,
        retry_seconds: float = _RETRY_SECONDS,
    ) -> None:
        self._colour, self._as_json, self._limit = colour, as_json, limit_bytes
        self._retry_seconds = retry_seconds
        self._encoding = (
            "utf-8" if as_json else stream.encoding or "utf-8"
        )  # what JSON is written in (RFC 8259)
        self._descriptor, self._write_some = _sink_of(stream)
        self._lines: deque[bytes] = deque()
        self._size = 0
        self._moved_at = time.monotonic()
        self._dropped = 0
        self._colours: dict[str, int] = {}
        self._width = 8
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._write, name="skerry-output", daemon=True)
        self._thread.start()

    def align(self, names: Iterable[str]) -> None:
        """Make room for the longest of these names."""
        self._width = max([self._width, *map(len, names)])

    @property
    def crowded(self) -> bool:
        """Whether those who write should wait a little: much is waiting, and it moves."""
        return self._size > self._limit // 4 and time.monotonic() - self._moved_at < _STALLED_SECONDS

    def line(self, name: str, text: str, *, is_record: bool = False, level: str = "info") -> None:
        """Queue one line of the process `name`. `is_record`: its logging has made it; else it is of `level`."""
        base = name.partition(".")[0]
        self._width = max(self._width, len(base))
        number = self._colours.setdefault(base, len(self._colours))
        colour = _COLOURS[number % len(_COLOURS)] if self._colour else None
        data = self._rendered(base, text, colour, is_record, level)
        with self._changed:
            if self._size + len(data) > self._limit:
                self._dropped += 1
                return
            self._tell_dropped()
            self._put(data)

    def _put(self, data: bytes) -> None:
        if not self._size:
            self._moved_at = time.monotonic()
        self._lines.append(data)
        self._size += len(data)
        self._changed.notify()

    def _tell_dropped(self) -> None:
        """In their place: before what comes next, or when everything else was written."""
        if self._dropped:
            note = f"{self._dropped} lines were not written: the output is too slow"
            self._dropped = 0
            self._put(self._rendered("up", note, None, is_record=False, level="warning"))

    def _rendered(self, name: str, text: str, colour: int | None, is_record: bool, level: str) -> bytes:
        if self._as_json:
            line = rendered_json(name, text, time.time(), is_record=is_record, level=level)
        else:
            line = rendered(name, text, self._width, colour)
        return (line + "\n").encode(self._encoding, "backslashreplace")

    def close(self, seconds: float = 1.0) -> None:
        """Write what waits, for so long at most."""
        with self._changed:
            self._closing.set()
            self._changed.notify()
        self._thread.join(seconds)

    # --- in the thread

    def _write(self) -> None:
        while batch := self._next():
            if not self._write_all(batch):
                break
            with self._changed:
                self._size -= len(batch)
        with self._changed:  # nobody reads any more: what comes is neither kept nor counted
            self._limit = self._size = 0
            self._lines.clear()

    def _next(self) -> bytes:
        """What is to be written next; empty at the end."""
        with self._changed:
            if not self._lines:
                self._tell_dropped()
            while not self._lines:
                if self._closing.is_set():
                    return b""
                self._changed.wait()
            batch = [self._lines.popleft()]
            size = len(batch[0])
            while self._lines and size + len(self._lines[0]) <= _BATCH_BYTES:
                batch.append(self._lines.popleft())
                size += len(batch[-1])
            return b"".join(batch)

    def _write_all(self, data: bytes) -> bool:
        """Write it whole, however long that takes. False when there is nobody to write to."""
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[self._write_some(rest) :]
                self._moved_at = time.monotonic()
            except BlockingIOError:
                self._wait_for_room()
            except OSError as error:
                if error.errno in _GONE:
                    return False
                # A full disk has room again, a terminal comes back, or the process ends.
                if self._closing.wait(self._retry_seconds):
                    time.sleep(self._retry_seconds)
            except ValueError:  # the stream was closed
                return False
        return True

    def _wait_for_room(self) -> None:
        if self._descriptor < 0:
            time.sleep(self._retry_seconds)
            return
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        poll.poll(1000)


def _sink_of(stream: TextIO) -> tuple[int, Callable[[memoryview], int]]:
    """The stream's descriptor, -1 for none, and how to write some bytes to it."""
    try:
        descriptor = stream.fileno()
        stream.flush()
    except (io.UnsupportedOperation, OSError, ValueError):
        encoding = stream.encoding or "utf-8"

        def write(data: memoryview) -> int:
            stream.write(bytes(data).decode(encoding))
            return len(data)

        return -1, write
    return descriptor, lambda data: os.write(descriptor, data)


class LineSplitter:
    """Cuts a child's output into lines of bounded length."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[str]:
        *whole, rest = (self._rest + data).split(b"\n")
        while len(rest) > MAX_LINE_BYTES:
            whole.append(rest[:MAX_LINE_BYTES])
            rest = rest[MAX_LINE_BYTES:]
        self._rest = rest
        return [each.rstrip(b"\r").decode("utf-8", "replace") for each in whole]

    def end(self) -> list[str]:
        """What came without a newline."""
        rest, self._rest = self._rest, b""
        return [rest.decode("utf-8", "replace")] if rest else []
