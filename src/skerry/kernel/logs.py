"""Logs: readable on a terminal, JSON elsewhere. Standard library logging, so that anything else fits on top.

A record's `extra` fields (request_id, command_id, ...) become JSON members, or `name=value` at the line's end.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from typing import Any, TextIO

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_COLOURS = {"DEBUG": "2", "INFO": "36", "WARNING": "33", "ERROR": "31", "CRITICAL": "31;1"}


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (RFC 3339, UTC), level, logger, process, message, and what was given as extra.
    `mark`: written before it, for a reader that takes it off again."""

    def __init__(self, process: str = "", mark: str = "") -> None:
        super().__init__()
        self._process, self._mark = process, mark

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        if self._process:
            entry["process"] = self._process
        entry["message"] = record.getMessage()
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        for name, value in _extra(record).items():
            entry.setdefault(name, _plain(value))
        return self._mark + _writable(json.dumps(entry, ensure_ascii=False))


class TextFormatter(logging.Formatter):
    """`12:00:00.123 warning server: message  name=value`, coloured where the stream is a terminal."""

    def __init__(self, process: str = "", colours: bool = False) -> None:
        super().__init__()
        self._process, self._colours = process, colours

    def format(self, record: logging.LogRecord) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(record.created)) + f".{int(record.msecs):03d}"
        level = f"{record.levelname.lower():7}"
        if self._colours:
            level = f"\x1b[{_COLOURS.get(record.levelname, '0')}m{level}\x1b[0m"
        who = f"{self._process} " if self._process else ""
        said = record.getMessage()
        extra = _extra(record)
        if extra:
            said += "  " + " ".join(f"{name}={value}" for name, value in extra.items())
        if record.exc_info:
            said += "\n" + self.formatException(record.exc_info)
        return f"{clock} {level} {who}{_unforgeable(_writable(said))}"


def _plain(value: Any) -> Any:
    """The value, if JSON can say it, else its text."""
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return str(value)
    return value


def _unforgeable(text: str) -> str:
    """The text of one record: what clients send may be part of it, so no line of it can look like a record of its own
    (further lines are indented), and nothing of it commands a terminal."""
    if text.isprintable():
        return text
    return "\n  ".join(_ODD.sub(lambda found: f"\\x{ord(found[0]):02x}", line) for line in text.split("\n"))


_ODD = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")


def _writable(line: str) -> str:
    """The line with what UTF-8 cannot say (half of a surrogate pair, as in odd file names) as escapes."""
    return line.encode("utf-8", "backslashreplace").decode("utf-8")


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    return {
        name: value
        for name, value in vars(record).items()
        if name not in _STANDARD and not name.startswith("_")
    }


def configure_logs(
    format: str = "auto",
    level: str = "info",
    process: str = "",
    stream: TextIO | None = None,
    mark: str = "",
) -> None:
    """Send all logs to `stream` (default: standard error). `format`: auto, text or json. `mark`: what a supervisor
    knows the records in JSON by."""
    stream = stream or sys.stderr
    terminal = stream.isatty()
    chosen = format if format != "auto" else ("text" if terminal else "json")
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        JsonFormatter(process, mark) if chosen == "json" else TextFormatter(process, terminal)
    )
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    _own[:] = [handler]
    root.setLevel(level.upper())
    logging.captureWarnings(True)
    for noisy in ("asyncio", "uvicorn"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))


_own: list[logging.Handler] = []
"""What `configure_logs` has put at the root."""


def keep_logs() -> None:
    """Have our own loggers heard although an application has configured logging since: one that disables those that
    exist (as `logging.config` does unless told otherwise), or has handlers of its own at the root."""
    ours = logging.getLogger("skerry")
    for name in [*logging.root.manager.loggerDict, "skerry"]:
        if name == "skerry" or name.startswith("skerry."):
            logging.getLogger(name).disabled = False
    if _own and _own[0] not in logging.root.handlers and _own[0] not in ours.handlers:
        ours.addHandler(_own[0])
        ours.setLevel(ours.level or logging.INFO)
        ours.propagate = False
    if _own and _own[0] in logging.root.handlers:
        _write_once(_own[0])


def _write_once(ours: logging.Handler) -> None:
    """An application's own handler of the console (Django has one while DEBUG is on) writes what ours writes as well.
    One without a format says less than ours, and is removed; where there is a format, ours leaves its records out."""
    theirs: dict[str, int] = {}
    for name, logger in list(logging.root.manager.loggerDict.items()):
        if not isinstance(logger, logging.Logger) or not _reaches_root(logger):
            continue
        for handler in list(logger.handlers):
            if not isinstance(handler, logging.StreamHandler) or handler.stream not in _console():
                continue
            if handler.formatter is None:
                logger.removeHandler(handler)
            else:
                theirs[name] = min(handler.level, theirs.get(name, handler.level))
    for each in ours.filters:
        if isinstance(each, _WrittenElsewhere):
            each.levels = theirs
            return
    ours.addFilter(_WrittenElsewhere(theirs))


class _WrittenElsewhere(logging.Filter):
    """Leaves out the records of loggers, by name, from a level on."""

    def __init__(self, levels: dict[str, int]) -> None:
        super().__init__()
        self.levels = levels

    def filter(self, record: logging.LogRecord) -> bool:
        return not any(
            record.levelno >= level and (record.name == name or record.name.startswith(f"{name}."))
            for name, level in self.levels.items()
        )


def _reaches_root(logger: logging.Logger) -> bool:
    """Whether its records come to the handlers at the root."""
    at: logging.Logger | None = logger
    while at is not None and at is not logging.root:
        if not at.propagate:
            return False
        at = at.parent
    return True


def _console() -> tuple[Any, ...]:
    return (sys.stderr, sys.stdout, sys.__stderr__, sys.__stdout__)
