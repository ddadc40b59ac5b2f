"""`wsgi.errors`: what an application writes there becomes lines of our log."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from typing import TextIO

logger = logging.getLogger("skerry.host.errors")


class ErrorStream:
    """A text stream for writing, one for all threads; a line is logged when it is complete or flushed."""

    def __init__(self, behind: TextIO) -> None:
        self._behind = behind
        self._lines = threading.local()

    def write(self, text: str) -> int:
        pending = getattr(self._lines, "text", "") + text
        *complete, rest = pending.split("\n")
        self._lines.text = rest
        for line in complete:
            logger.error("%s", line)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        rest = getattr(self._lines, "text", "")
        if rest:
            self._lines.text = ""
            logger.error("%s", rest)

    def isatty(self) -> bool:
        return False

    def fileno(self) -> int:
        return self._behind.fileno()

    @property
    def encoding(self) -> str:
        return "utf-8"
