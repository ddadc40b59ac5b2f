"""Remote logs: a `logging.Handler` whose lines go to `tars.tarslog.LogObj`, in batches, never in the way.

`RemoteLog` has the queue and sends; there is one in a process, which `install` names. `RemoteLogHandler` is what
loggers have: as many as are wanted, in Django's LOGGING too, each with a log file and a rhythm of its own; before there
is a `RemoteLog` they do nothing. Lines that cannot be sent, and records that arise while sending, go to a local file.

Source: TarsCpp `RemoteTimeWriteT` (batches, `.remote.error`), `TimeWriteT` (dyeing); the line of Tars.js.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skerry.errors import SettingsError
from skerry.tars.call import serving
from skerry.tars.errors import TarsError
from skerry.tars.platform.identity import Identity
from skerry.tars.platform.interfaces import interfaces

LOG: Any = interfaces("LogF")
RHYTHMS = {"day": ("%Y%m%d", "day"), "hour": ("%Y%m%d%H", "1hour"), "10minute": ("%Y%m%d%H%M", "10minute")}
LEVELS = {
    "NONE": 100,
    "ERROR": logging.ERROR,
    "WARN": logging.WARNING,
    "INFO": logging.INFO,
    "DEBUG": logging.DEBUG,
}
BATCH_LINES, BATCH_BYTES = 2000, 5 * 1024 * 1024
GATHER_SECONDS, REST_SECONDS, LAST_SECONDS = 0.5, 5.0, 2.0
ERROR_FILE_BYTES = 64 * 1024 * 1024
DYEING = ("tars_dyeing", "dyeing", "roll")

_NAMES = {"WARNING": "WARN", "CRITICAL": "ERROR"}
_sending: ContextVar[bool] = ContextVar("skerry_tars_log_sending", default=False)


@dataclass(frozen=True, slots=True)
class Target:
    """One log: the main one with an empty `file`, by day, hour or ten minutes."""

    file: str = ""
    rhythm: str = "day"
    dyeing: bool = False


@dataclass(frozen=True, slots=True)
class LogSettings:
    """Bounds of what waits to be sent, and how long one call may take."""

    lines: int = 50_000
    bytes: int = 32 * 1024 * 1024
    timeout_seconds: float = 3.0

    def __post_init__(self) -> None:
        if self.lines < 1 or self.bytes < 1:
            raise SettingsError("the log's queue", "has room for one line at least")


class RemoteLog:
    """The lines that wait, and their sender. `proxy` is one of Log, over a communicator that is not observed;
    `log_path` is the platform's. `dropped` counts lines that found no room (the oldest go), `failed` those that were
    written to the local file instead, `sent` the others."""

    def __init__(
        self, identity: Identity, proxy: Any, log_path: str | Path, settings: LogSettings | None = None
    ) -> None:
        self._identity, self._proxy, self._log_path = identity, proxy, Path(log_path)
        self._folder = self._log_path / identity.app / identity.server
        self._settings = settings or LogSettings()
        self._lock = threading.Lock()
        self._queue: deque[tuple[Target, str]] = deque()
        self._bytes = 0
        self._own: deque[str] = deque(maxlen=1000)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake = asyncio.Event()
        self._full = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.sent = self.failed = self.dropped = 0
        self.off: set[str] = set()
        """Logs that nobody wants now, by their file."""
        self.problem = ""

    @property
    def waiting(self) -> int:
        """Lines that are to be sent."""
        return len(self._queue)

    def put(self, target: Target, line: str) -> None:
        """A line, with its own newline, from any thread. Without room the oldest lines go."""
        if target.file in self.off and not target.dyeing:
            return
        length = len(line)
        with self._lock:
            first = not self._queue
            self._queue.append((target, line))
            self._bytes += length
            while len(self._queue) > self._settings.lines or (
                self._bytes > self._settings.bytes and len(self._queue) > 1
            ):
                self._bytes -= len(self._queue.popleft()[1])
                self.dropped += 1
            many = len(self._queue) == BATCH_LINES
        if (first or many) and self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._full.set if many else self._wake.set)

    def put_own(self, line: str) -> None:
        """A line about sending: it goes to the local file, never to the service."""
        self._own.append(line)

    def start(self) -> None:
        """Begin to send, in the running loop."""
        if self._task is None:
            self._loop = asyncio.get_running_loop()
            self._wake.set()
            self._task = self._loop.create_task(self._run())

    async def stop(self, seconds: float = LAST_SECONDS) -> None:
        """Send what there is, for so long at most; the rest goes to the local file."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._task = self._loop = None
        token = _sending.set(True)
        try:
            async with asyncio.timeout(seconds):
                await self._send_all()
        except TimeoutError:
            pass
        finally:
            _sending.reset(token)
            self._spool(self._take_all())

    async def _run(self) -> None:
        _sending.set(True)
        while True:
            await self._wake.wait()
            try:
                async with asyncio.timeout(GATHER_SECONDS):
                    await self._full.wait()
            except TimeoutError:
                pass
            self._full.clear()
            self._wake.clear()
            if not await self._send_all():
                await asyncio.sleep(REST_SECONDS)
            if self._queue:
                self._wake.set()

    async def _send_all(self) -> bool:
        """Send what waits now; False when the service does not take it: then it is in the local file."""
        while batch := self._take_batch():
            target, lines = batch
            try:
                async with asyncio.timeout(self._settings.timeout_seconds):
                    await self._send(target, lines)
            except asyncio.CancelledError:
                self._put_back(target, lines)
                raise
            except (TarsError, OSError, TimeoutError) as error:
                self.problem = str(error) or "no answer in time"
                rest = [(target, line) for line in lines] + self._take_all()
                self.failed += len(rest)
                self._own.append(
                    _line("WARN", f"{len(rest)} lines are here, not at the log service: {self.problem}")
                )
                await asyncio.to_thread(self._spool, rest)
                return False
            if target.dyeing:
                await asyncio.to_thread(self._append, self._log_path / DYEING[0] / "dyeing.log", lines)
            self.problem = ""
            self.sent += len(lines)
        if self._own:
            await asyncio.to_thread(self._spool, [])
        return True

    async def _send(self, target: Target, lines: Sequence[str]) -> None:
        format, kind = RHYTHMS[target.rhythm]
        if target.dyeing:
            await self._proxy.logger(*DYEING, format, list(lines))
            return
        me = self._identity
        info = LOG.LogInfo(
            appname=me.app,
            servername=me.server,
            sFilename=target.file,
            sFormat=format,
            setdivision=me.set_division,
            sLogType=kind,
        )
        await self._proxy.loggerbyInfo(info, list(lines))

    def _take_batch(self) -> tuple[Target, list[str]] | None:
        """The oldest lines of one log, as far as they stand together or a little apart."""
        with self._lock:
            if not self._queue:
                return None
            target = self._queue[0][0]
            lines: list[str] = []
            others: list[tuple[Target, str]] = []
            size = 0
            while (
                self._queue and len(lines) < BATCH_LINES and size < BATCH_BYTES and len(others) < BATCH_LINES
            ):
                each, line = self._queue.popleft()
                if each == target:
                    lines.append(line)
                    size += len(line)
                else:
                    others.append((each, line))
            self._queue.extendleft(reversed(others))
            self._bytes -= size
            return target, lines

    def _put_back(self, target: Target, lines: Sequence[str]) -> None:
        with self._lock:
            self._queue.extendleft((target, line) for line in reversed(lines))
            self._bytes += sum(map(len, lines))

    def _take_all(self) -> list[tuple[Target, str]]:
        with self._lock:
            taken = list(self._queue)
            self._queue.clear()
            self._bytes = 0
            return taken

    def _spool(self, entries: Sequence[tuple[Target, str]]) -> None:
        """Write lines to `App.Server[_FILE].remote.error_DATE.log`, and what was said about sending."""
        by_file: dict[str, list[str]] = {}
        for target, line in entries:
            by_file.setdefault("dyeing" if target.dyeing else target.file, []).append(line)
        own = by_file.setdefault("", [])
        while self._own:
            own.append(self._own.popleft())
        for file, lines in by_file.items():
            name = f"{self._identity.module}{'_' if file else ''}{file}.remote.error_{time.strftime('%Y%m%d')}.log"
            self._append(self._folder / name, lines)

    def _append(self, path: Path, lines: Sequence[str]) -> None:
        if not lines:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(path, "a", encoding="utf-8", errors="surrogateescape") as file:
                if file.tell() < ERROR_FILE_BYTES:
                    file.write("".join(lines))
                    return
        except OSError:
            pass
        self.dropped += len(lines)


_installed: RemoteLog | None = None


def install(remote: RemoteLog | None) -> None:
    """Make this the `RemoteLog` of the process, to which all handlers put their lines; None: no more."""
    global _installed
    _installed = remote


class RemoteLogHandler(logging.Handler):
    """Puts records into the log `file` (empty: the main one), which begins anew every `rhythm`: `day`, `hour` or
    `10minute`. For LOGGING: `{"class": "skerry.tars.RemoteLogHandler", "file": "orders"}`."""

    def __init__(self, file: str = "", rhythm: str = "day", level: int | str = logging.NOTSET) -> None:
        super().__init__(level)
        if rhythm not in RHYTHMS:
            raise SettingsError("rhythm of a remote log", f"is {', '.join(RHYTHMS)}, not {rhythm!r}")
        self._target, self._dyed = Target(file, rhythm), Target(rhythm="day", dyeing=True)

    def emit(self, record: logging.LogRecord) -> None:
        """Queue the record's line."""
        remote = _installed
        if remote is None:
            return
        try:
            line = self.format(record) if self.formatter is not None else line_of(record)
        except Exception:
            self.handleError(record)
            return
        if not line.endswith("\n"):
            line += "\n"
        if _sending.get():
            remote.put_own(line)
            return
        remote.put(self._target, line)
        call = serving.get()
        if call is not None and (dyed := call.dyed):
            remote.put(self._dyed, f"{remote._identity.module}|{dyed}|{line}")


_root = RemoteLogHandler(level=logging.INFO)


def attach(level: str = "INFO") -> None:
    """Have the root logger's records from `level` on (NONE, ERROR, WARN, INFO, DEBUG) in the main log. To be called
    again after an application has configured logging, which may have taken the handler away; one that it has put there
    itself is enough. SettingsError for another level."""
    number = level_of(level)
    root, own = logging.getLogger(), logging.getLogger("skerry")
    for logger in (
        (root,) if own.propagate else (root, own)
    ):  # ours may have been taken off the root to be kept
        if not any(isinstance(handler, RemoteLogHandler) for handler in logger.handlers):
            logger.addHandler(_root)
    _root.setLevel(number)
    if root.level > number:
        root.setLevel(number)


def detach() -> None:
    """Take the handler away from the root logger."""
    logging.getLogger().removeHandler(_root)
    logging.getLogger("skerry").removeHandler(_root)


def level_of(name: str) -> int:
    """The number of a level of the platform's. SettingsError when there is no such level."""
    found = LEVELS.get(name.strip().upper())
    if found is None:
        raise SettingsError("log level", f"is {', '.join(LEVELS)}, not {name!r}")
    return found


def line_of(record: logging.LogRecord) -> str:
    """`2026-01-31 12:00:00|PID|LEVEL|file.py:LINE|text`, as Tars.js writes it; tracebacks on lines of their own."""
    text = record.getMessage()
    if record.exc_info and record.exc_info[0] is not None:
        text += "\n" + _plain.formatException(record.exc_info)
    if record.stack_info:
        text += "\n" + record.stack_info
    level = _NAMES.get(record.levelname, record.levelname)
    return f"{_stamp(int(record.created))}|{record.process}|{level}|{record.filename}:{record.lineno}|{text}"


_plain = logging.Formatter()
_stamped = (0, "")


def _stamp(second: int) -> str:
    """The local time of a second, remembered until the next one."""
    global _stamped
    if _stamped[0] != second:
        _stamped = second, time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second))
    return _stamped[1]


def _line(level: str, text: str) -> str:
    return f"{_stamp(int(time.time()))}|{os.getpid()}|{level}|log.py:0|{text}\n"
