"""What one process of a service does for a command of the platform (`send command` in its web page).

Every process carries a command out for itself; `admin` gathers the answers. Answers are texts for people.
"""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import inspect
import logging
import os
import resource
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from skerry.tars.listener import ListenerState

log = logging.getLogger("skerry.tars.platform")

LEVELS = {
    "NONE": logging.CRITICAL + 10,
    "ERROR": logging.ERROR,
    "WARN": logging.WARNING,
    "INFO": logging.INFO,
    "DEBUG": logging.DEBUG,
}
MAX_LISTED = 200


def set_log_level(name: str) -> None:
    """`NONE`, `ERROR`, `WARN`, `INFO` or `DEBUG` for the root logger. Raises ValueError with what may be written."""
    level = LEVELS.get(name.upper())
    if level is None:
        raise ValueError(f"{name!r} is no level; write one of {', '.join(LEVELS)}")
    logging.getLogger().setLevel(level)


class Commands:
    """The commands of a process whose adapters are `states()`, with the service's own in `custom`: each gets what was
    written behind its name. Plain functions run in a thread."""

    def __init__(
        self, states: Callable[[], Sequence[ListenerState]], custom: Mapping[str, Callable[[str], Any]]
    ) -> None:
        self._states, self._custom = states, custom
        self.built_in: dict[str, Callable[[str], Any]] = {
            "tars.viewstatus": lambda _: self.status(),
            "tars.setloglevel": self.set_log_level,
            "tars.pystack": self._stacks,
            "tars.tasks": self._tasks,
            "tars.gc": self._collect,
            "tars.resource": self._resources,
            "tars.closecout": self._close_output,
            "tars.closecore": self._close_core,
        }

    async def carry_out(self, text: str) -> str:
        """The answer to `name[ arguments]`; what went wrong is an answer as well."""
        name, arguments = split_command(text)
        command = self.built_in.get(name) or self._custom.get(name)
        if command is None:
            return f"there is no command {name!r} here"
        try:
            if name in self.built_in or inspect.iscoroutinefunction(command):
                made = command(arguments)
            else:
                made = await asyncio.to_thread(command, arguments)
            answer = await made if isinstance(made, Awaitable) else made
        except Exception as error:
            log.exception("the command %s failed", name)
            return f"failed: {type(error).__name__}: {error}"
        return "done" if answer is None else str(answer)

    def status(self) -> str:
        """How this process is, and its adapters."""
        lines = [f"pid {os.getpid()}, {_resident_mebibytes():.0f} MiB, {len(asyncio.all_tasks())} tasks"]
        for state in self._states():
            counters = state.counters
            lines.append(
                f"{state.object_name} at {state.endpoint}: {state.connections} connections, {state.running} running, "
                f"{state.queued} queued, {counters.requests} requests, {counters.failed} failed, "
                f"{counters.queue_timeouts} queue time-outs, {counters.overloads} overloads, "
                f"{counters.dropped} dropped, {counters.broken_frames} broken frames, "
                f"{counters.refused_connections} refused connections"
            )
        return "\n".join(lines)

    def connections(self) -> str:
        """The clients that are connected to each adapter."""
        lines = []
        for state in self._states():
            peers = [f"  {host}:{port}" for host, port in state.peers[:MAX_LISTED]]
            more = [f"  and {len(state.peers) - MAX_LISTED} more"] if len(state.peers) > MAX_LISTED else []
            lines += [f"{state.object_name}: {state.connections} connections", *peers, *more]
        return "\n".join(lines) or "no adapter is served here"

    def set_log_level(self, arguments: str) -> str:
        """Of this process, and the answer."""
        try:
            set_log_level(arguments)
        except ValueError as error:
            return str(error)
        return f"the log level is {arguments.upper()}"

    def _stacks(self, arguments: str) -> str:
        with tempfile.TemporaryFile("w+b") as file:
            faulthandler.dump_traceback(file, all_threads=True)
            file.seek(0)
            return file.read().decode("utf-8", "replace")

    def _tasks(self, arguments: str) -> str:
        tasks = asyncio.all_tasks()
        lines = [f"{len(tasks)} tasks"]
        for task in list(tasks)[:MAX_LISTED]:
            frames = task.get_stack(limit=1)
            at = f" at {frames[-1].f_code.co_filename}:{frames[-1].f_lineno}" if frames else ""
            name = getattr(task.get_coro(), "__qualname__", "?")
            lines.append(f"  {task.get_name()} {name}{at}")
        return "\n".join(lines)

    def _collect(self, arguments: str) -> str:
        before, began = gc.get_count(), time.monotonic()
        found = gc.collect()
        took = (time.monotonic() - began) * 1000
        return (
            f"{found} objects collected in {took:.0f} ms, {len(gc.get_objects())} left, counts were {before}"
        )

    def _resources(self, arguments: str) -> str:
        used = resource.getrusage(resource.RUSAGE_SELF)
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return (
            f"cpu {used.ru_utime:.1f} s user, {used.ru_stime:.1f} s system; {_resident_mebibytes():.0f} MiB resident; "
            f"{_open_descriptors()} of {soft} descriptors"
        )

    def _close_output(self, arguments: str) -> str:
        if arguments not in ("yes", "no"):
            return "write yes or no"
        sys.stdout.flush()
        if arguments == "no":
            os.dup2(sys.__stderr__.fileno() if sys.__stderr__ else 2, 1)
            return "what is printed goes to the log"
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.close(null)
        return "what is printed is dropped"

    def _close_core(self, arguments: str) -> str:
        if arguments not in ("yes", "no"):
            return "write yes or no"
        _, hard = resource.getrlimit(resource.RLIMIT_CORE)
        resource.setrlimit(resource.RLIMIT_CORE, (0 if arguments == "yes" else hard, hard))
        return "no core dumps" if arguments == "yes" else "core dumps as far as the system allows them"


def split_command(text: str) -> tuple[str, str]:
    """Name and arguments: the name ends at the first blank."""
    name, _, arguments = text.strip().partition(" ")
    return name, arguments.strip()


def _resident_mebibytes() -> float:
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * resource.getpagesize() / 2**20
    except (OSError, ValueError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _open_descriptors() -> int:
    try:
        return len(os.listdir("/proc/self/fd"))
    except OSError:
        return -1
