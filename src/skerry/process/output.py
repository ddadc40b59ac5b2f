"""The logs of all children in one stream: each line with its process's name, in colour on a terminal.

A line that is a JSON object passes through as it is: it carries its process itself. Writing happens in a thread of
its own, behind a bounded queue, so that a paused terminal or a full pipe never stops the supervision; lines that do
not fit are dropped and counted. Not here: reading the children's pipes (child.py).
"""

from __future__ import annotations

import json
import os
import queue
import threading
import time
from collections.abc import Iterable
from typing import TextIO

MAX_LINE_BYTES = 64 * 1024
_COLOURS = (36, 32, 33, 35, 34, 96, 92, 93, 95, 94)
_RESET = "\x1b[0m"


def wants_colour(stream: TextIO) -> bool:
    """A terminal that was not told otherwise (NO_COLOR, FORCE_COLOR, TERM=dumb)."""
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or (stream.isatty() and os.environ.get("TERM") != "dumb")


def rendered(name: str, text: str, width: int, colour: int | None) -> str:
    """A line for people: `name | text`; JSON as it is."""
    if text.startswith("{") and text.endswith("}"):
        return text
    label = f"{name:<{width}} |"
    if colour is not None:
        label = f"\x1b[{colour}m{label}{_RESET}"
    return f"{label} {text}"


def rendered_json(name: str, text: str, now: float) -> str:
    """A line for programs: a JSON object as it is, anything else wrapped in one."""
    if text.startswith("{") and text.endswith("}"):
        return text
    at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03d}Z"
    return json.dumps({"time": at, "level": "info", "process": name, "message": text}, ensure_ascii=False)


class Output:
    """Where lines go. `line` never waits; `close` writes what is left, within a bound. `as_json`: one JSON object a
    line, whatever the children write."""

    def __init__(
        self, stream: TextIO, *, colour: bool = False, as_json: bool = False, limit: int = 10_000
    ) -> None:
        self._stream, self._colour, self._as_json = stream, colour, as_json
        self._queue: queue.Queue[str | None] = queue.Queue(maxsize=limit)
        self._colours: dict[str, int] = {}
        self._width = 8
        self._dropped = 0
        self._thread = threading.Thread(target=self._write, name="skerry-output", daemon=True)
        self._thread.start()

    def align(self, names: Iterable[str]) -> None:
        """Make room for the longest of these names."""
        self._width = max([self._width, *map(len, names)])

    def line(self, name: str, text: str) -> None:
        """Queue one line of the process `name`."""
        base = name.partition(".")[0]
        self._width = max(self._width, len(base))
        number = self._colours.setdefault(base, len(self._colours))
        colour = _COLOURS[number % len(_COLOURS)] if self._colour else None
        try:
            if self._dropped:
                note = f"{self._dropped} lines were not written: the output is too slow"
                self._queue.put_nowait(self._rendered("up", note, None))
                self._dropped = 0
            self._queue.put_nowait(self._rendered(base, text, colour))
        except queue.Full:
            self._dropped += 1

    def _rendered(self, name: str, text: str, colour: int | None) -> str:
        if self._as_json:
            return rendered_json(name, text, time.time())
        return rendered(name, text, self._width, colour)

    def close(self, seconds: float = 1.0) -> None:
        try:
            self._queue.put(None, timeout=seconds)
        except queue.Full:
            return
        self._thread.join(seconds)

    def _write(self) -> None:
        while (text := self._queue.get()) is not None:
            try:
                self._stream.write(text + "\n")
                if self._queue.empty():
                    self._stream.flush()
            except (OSError, ValueError):
                return  # the reader is gone; nobody is left to be told


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
