"""What `skerry ps` shows: the runner and its children, with state, restarts, lag, memory, the last failure. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec


class ProcessStatus(msgspec.Struct, frozen=True):
    """One child. Times are seconds, memory is bytes. `stopped`: projections that do not follow the journal any more,
    each with the event and why. `reactors`: those that this process runs, how far behind they are. `code`: a hash of
    the application's files that it has imported. `recycled`, `recycled_for`: how often it was replaced for what it had
    used, and why the last time."""

    name: str
    role: str
    pid: int
    state: str
    restarts: int
    up_seconds: float
    memory_bytes: int
    cpu_seconds: float
    reasons: list[str] = []
    gauges: dict[str, float | str] = {}
    failure: str = ""
    failure_details: str = ""
    failed_at: float = 0.0
    stopped: list[str] = []
    reactors: list[str] = []
    code: str = ""
    recycled: int = 0
    recycled_for: str = ""


class ForkServerStatus(msgspec.Struct, frozen=True):
    """The process that has imported the application, from which the others are forked."""

    pid: int
    up_seconds: float
    memory_bytes: int


class RunnerStatus(msgspec.Struct, frozen=True):
    """A runner with its children. `halfway`: where a replacement has stopped, in words. `fork_server`: None where every
    process imports the application itself, or there is none at this moment."""

    target: str
    namespace: str
    address: str
    pid: int
    up_seconds: float
    memory_bytes: int
    processes: list[ProcessStatus]
    halfway: str = ""
    fork_server: ForkServerStatus | None = None


_HEAD = ("PROCESS", "PID", "STATE", "RESTARTS", "UP", "LAG", "CONN", "MEMORY", "CODE", "LAST FAILURE")


def rendered(status: RunnerStatus, now: float, details: bool = False) -> str:
    """The tree as text; with `details` the tracebacks of the last failures under it."""
    rows: list[Sequence[str]] = [_HEAD]
    last = len(status.processes) - 1
    for number, process in enumerate(status.processes):
        branch = "└─ " if number == last else "├─ "
        rows.append((branch + process.name, *_columns(process, now)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    lines = [
        f"{status.target} on {status.address or 'no address'}"
        f" (up {duration(status.up_seconds)}, pid {status.pid}, {size(status.memory_bytes)})"
    ]
    lines += [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    if (server := status.fork_server) is not None:
        lines.append(
            f"forked from pid {server.pid} (up {duration(server.up_seconds)}, {size(server.memory_bytes)})"
        )
    if recycled := [process for process in status.processes if process.recycled]:
        lines.append("")
        lines += [
            f"{each.name} was recycled {_times(each.recycled)}, last: {each.recycled_for}"
            for each in recycled
        ]
    if status.halfway:
        lines += ["", status.halfway]
    if details:
        for process in status.processes:
            if process.failure_details:
                lines += ["", f"{process.name}: {process.failure}", *process.failure_details.splitlines()]
    return "\n".join(lines)


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _columns(process: ProcessStatus, now: float) -> tuple[str, ...]:
    reasons = process.reasons or [told.partition(";")[0] for told in process.stopped]
    state = process.state + (f" ({'; '.join(reasons)})" if reasons else "")
    failure = ""
    if process.failure:
        failure = f"{duration(max(0.0, now - process.failed_at))} ago: {process.failure}"
    return (
        str(process.pid or "-"),
        state,
        str(process.restarts),
        duration(process.up_seconds) if process.pid else "-",
        _gauge(process, "lag"),
        _gauge(process, "connections"),
        size(process.memory_bytes) if process.memory_bytes else "-",
        process.code[:7] or "-",
        failure[:100],
    )


def _gauge(process: ProcessStatus, name: str) -> str:
    value = process.gauges.get(name)
    if value is None:
        return "-"
    return f"{value:g}" if isinstance(value, float | int) else value


def duration(seconds: float) -> str:
    """`7s`, `3m05s`, `2h07m`, `4d03h`."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02}h"


def size(count: int) -> str:
    """Bytes for people: `48 MiB`."""
    value = float(count)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"
