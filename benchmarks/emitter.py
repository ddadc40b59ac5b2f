"""`emit` against pyee's, with 1 and 10 listeners: the bar is half of pyee's time.

Both are measured in turns in one process by CPU time, and the figure is the ratio of the medians, so that
another program on the machine disturbs both alike. Run: `python -m benchmarks.emitter`.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from importlib.metadata import version

from benchmarks.rows import Row, table
from pyee.base import EventEmitter as Peer

from skerry.emitter import EventEmitter

BAR = 0.5


def listener() -> Callable[[int], None]:
    """The least that a listener can do; a new one each time, for pyee keeps only one of equal callables."""

    def hear(value: int) -> None:
        pass

    return hear


def round_of(emit: Callable[..., object], calls: int) -> float:
    """CPU nanoseconds for one `emit("event", 1)`."""
    began = time.process_time_ns()
    for _ in range(calls):
        emit("event", 1)
    return (time.process_time_ns() - began) / calls


def measure(listeners: int, rounds: int = 15, calls: int = 20_000) -> Row:
    """Nanoseconds of both and their ratio."""
    ours, peer = EventEmitter(), Peer()
    for _ in range(listeners):
        ours.on("event", listener())
        peer.on("event", listener())
    calls = max(1000, calls // listeners)
    pairs = [(round_of(ours.emit, calls), round_of(peer.emit, calls)) for _ in range(rounds + 2)][2:]
    own, other = (statistics.median(each) for each in zip(*pairs, strict=True))
    name = f"emit with {listeners} listener{'s'[: listeners > 1]}"
    return Row(name, own, "ns", f"pyee {version('pyee')}: {other:.0f} ns", own / other, BAR)


def run() -> list[Row]:
    return [measure(1), measure(10)]


if __name__ == "__main__":
    print(table(run()))
