"""What wants to be called: ticks, timers, streams and signals, as one plain value.

A loop adopts an `InterestSet` and releases it again; between loops it is only kept, and its timers keep what
remains. It knows no asyncio, opens nothing and calls nobody: it can be built, moved, counted and compared.

Moving never loses or doubles: the receiver keeps its own and gets the other's after them, in their order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextvars import Context, copy_context
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from skerry.errors import Overloaded
from skerry.loop.timers import Timers

Phase = Literal["start", "stop", "before_tick", "tick", "after_tick"]
Kind = Literal["read", "write", "signal"]
Entry = tuple[Callable[[], object], Context]

TICKS: tuple[Phase, ...] = ("before_tick", "tick", "after_tick")
"""The phases of one iteration, in their order."""
PHASES: tuple[Phase, ...] = ("start", "stop", *TICKS)
KINDS: tuple[Kind, ...] = ("read", "write", "signal")


class HasDescriptor(Protocol):
    """A socket, pipe or file."""

    def fileno(self) -> int: ...


Resource = int | HasDescriptor


@runtime_checkable
class Erasable(Protocol):
    """A queued callback that wants to know when it will not be called."""

    def erased(self) -> object: ...


class Interest:
    """One callback for a stream or a signal. `cancel()` ends exactly this one, wherever its set is now."""

    __slots__ = ("_owner", "callback", "context", "key", "kind", "resource")

    def __init__(
        self, owner: InterestSet, kind: Kind, key: int, resource: Any, callback: Callable[[Any], object]
    ):
        self._owner: InterestSet | None = owner
        self.kind, self.key, self.resource, self.callback = kind, key, resource, callback
        self.context: Context = copy_context()

    @property
    def active(self) -> bool:
        """Whether it may still be called."""
        return self._owner is not None

    def cancel(self) -> None:
        """End it now; twice is once."""
        if self._owner is not None:
            self._owner._drop([self])


@dataclass(frozen=True, slots=True)
class Count:
    """How much of what a set holds."""

    start: int
    stop: int
    before_tick: int
    tick: int
    after_tick: int
    timers: int
    read: int
    write: int
    signal: int


class InterestSet:
    """Everything registered with one loop, or waiting to be.

    `limit` bounds each queue of ticks: beyond it `queue` raises Overloaded. What is moved in is never refused.
    """

    def __init__(self, limit: int = 1_000_000) -> None:
        self.limit = limit
        self.queues: dict[Phase, deque[Entry]] = {phase: deque() for phase in PHASES}
        self.timers = Timers()
        self.watched: dict[Kind, dict[int, list[Interest]]] = {kind: {} for kind in KINDS}
        self.changed: Callable[[Kind, int], None] | None = None
        """Set by the loop that has adopted this set: told of each descriptor or signal whose callbacks changed."""
        self.queued: Callable[[], None] | None = None
        """Likewise: told of each callback that joins a queue of ticks."""

    def queue(self, phase: Phase, callback: Callable[[], object]) -> None:
        """Let `callback` run once in that phase, in the context of this call."""
        entries = self.queues[phase]
        if len(entries) >= self.limit:
            raise Overloaded(f"{len(entries)} callbacks wait in phase {phase} already")
        entries.append((callback, copy_context()))
        if self.queued is not None and phase in TICKS:
            self.queued()

    def watch(self, kind: Kind, resource: Any, callback: Callable[[Any], object]) -> Interest:
        """Add a callback for a stream or signal, after those that it has already."""
        key = int(resource) if kind == "signal" else _descriptor(resource)
        made = Interest(self, kind, key, resource, callback)
        if kind != "signal":
            self._drop([one for one in self.watched[kind].get(key, ()) if _is_closed(one.resource, key)])
        there = self.watched[kind].setdefault(key, [])
        there.append(made)
        try:
            self._tell(kind, key)
        except BaseException:
            there.remove(made)
            if not there:
                del self.watched[kind][key]
            made._owner = None
            raise
        return made

    def unwatch(self, kind: Kind, resource: Any) -> int:
        """End all callbacks of a stream (also of one that is closed already) or signal; how many there were."""
        found = [
            one
            for each in self.watched[kind].values()
            for one in each
            if one.resource is resource or one.resource == resource or one.key == resource
        ]
        self._drop(found)
        return len(found)

    @property
    def empty(self) -> bool:
        """Whether nothing here can ever call anybody (start and stop queues do not count)."""
        return not (
            any(self.queues[phase] for phase in TICKS)
            or len(self.timers)
            or any(self.watched[kind] for kind in KINDS)
        )

    def count(self) -> Count:
        """Numbers for tests, status pages and metrics."""
        return Count(
            **{phase: len(self.queues[phase]) for phase in PHASES},
            timers=len(self.timers),
            **{kind: sum(map(len, self.watched[kind].values())) for kind in KINDS},
        )

    # Moving. Only while no loop has adopted either set (a loop releases, moves, adopts again).

    def move_to(self, other: InterestSet, *, everything: bool = False) -> None:
        """Give the queued ticks to `other`; with `everything` also start and stop queues, timers, streams, signals."""
        if other is self:
            return
        for phase in PHASES if everything else TICKS:
            other.queues[phase].extend(self.queues[phase])
            self.queues[phase].clear()
        if not everything:
            return
        self.timers.move_to(other.timers)
        for kind in KINDS:
            for key, interests in self.watched[kind].items():
                other.watched[kind].setdefault(key, []).extend(interests)
                for one in interests:
                    one._owner = other
            self.watched[kind].clear()

    def swap_with(self, other: InterestSet, *, everything: bool = False) -> None:
        """Exchange the queued ticks with `other`, or everything."""
        aside = InterestSet()
        self.move_to(aside, everything=everything)
        other.move_to(self, everything=everything)
        aside.move_to(other, everything=everything)

    def erase(self, *, everything: bool = False) -> None:
        """End the queued ticks, or everything. Handles become inactive; an entry that has a method `erased` is told."""
        for phase in PHASES if everything else TICKS:
            entries = list(self.queues[phase])
            self.queues[phase].clear()
            for callback, _ in entries:
                if isinstance(callback, Erasable):
                    callback.erased()
        if everything:
            self.timers.clear()
            for kind in KINDS:
                self._drop([one for each in self.watched[kind].values() for one in each])

    def _drop(self, interests: list[Interest]) -> None:
        for one in interests:
            one._owner = None
            left = [other for other in self.watched[one.kind].get(one.key, []) if other is not one]
            if left:
                self.watched[one.kind][one.key] = left
            else:
                self.watched[one.kind].pop(one.key, None)
                self._tell(one.kind, one.key)

    def _tell(self, kind: Kind, key: int) -> None:
        if self.changed is not None:
            self.changed(kind, key)


def _is_closed(resource: Any, key: int) -> bool:
    """Whether what was registered under descriptor `key` has been closed since, so that the number is another's now."""
    return not isinstance(resource, int) and resource.fileno() != key


def _descriptor(resource: Resource) -> int:
    number = resource if isinstance(resource, int) else resource.fileno()
    if number < 0:
        raise ValueError(f"{resource!r} is closed: it has no descriptor")
    return number
