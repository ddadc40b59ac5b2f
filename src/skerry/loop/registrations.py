"""What a loop is asked to call: ticks, timers, streams and signals, in one of two sets.

There is a normal set and, while a loop is held, a failure set beside it. Registrations join the normal one, within
`failure_scope` the failure set. Not here: waiting and calling (`driver`), holding and moving (`loop`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from skerry.clock import Clock
from skerry.loop.interests import Interest, InterestSet, Kind, Resource
from skerry.loop.timers import Timer

Callback = Callable[[], object]

_INTO: ContextVar[InterestSet | None] = ContextVar("skerry_failure_set", default=None)


class Registrations:
    """The two sets of a loop, and every way of joining them. It calls nothing: the loop that has adopted a set does."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._normal = InterestSet()
        self._failure: InterestSet | None = None

    @property
    def held(self) -> bool:
        """Whether the normal interests are suspended."""
        return self._failure is not None

    @property
    def interests(self) -> InterestSet:
        """The normal set, adopted or held."""
        return self._normal

    # Ticks. Callbacks may be coroutine functions; each runs in the context of its registration.

    def on_start(self, callback: Callback) -> None:
        """Run once when the loop next starts."""
        self._target().queue("start", callback)

    def on_stop(self, callback: Callback) -> None:
        """Run once when the loop next stops."""
        self._target().queue("stop", callback)

    def on_before_tick(self, callback: Callback) -> None:
        """Run once, first in the next iteration."""
        self._target().queue("before_tick", callback)

    def on_tick(self, callback: Callback) -> None:
        """Run once in the next iteration."""
        self._target().queue("tick", callback)

    def on_after_tick(self, callback: Callback) -> None:
        """Run once, last in the next iteration."""
        self._target().queue("after_tick", callback)

    # Timers, streams, signals.

    def add_timer(self, seconds: float, callback: Callback) -> Timer:
        """Call once, `seconds` of running from now, never earlier. ValueError for less than 0."""
        return self._target().timers.add(Timer(seconds, callback), self.clock.monotonic())

    def add_periodic_timer(self, seconds: float, callback: Callback) -> Timer:
        """Call at every multiple of `seconds` from now.

        No drift: the grid stays. Points that pass while the loop is busy, or while a coroutine that the timer
        started is still running, are skipped and counted in `Timer.missed`.
        """
        return self._target().timers.add(Timer(seconds, callback, periodic=True), self.clock.monotonic())

    def add_read_stream(self, resource: Resource, callback: Callable[[Any], object]) -> Interest:
        """Call `callback(resource)` whenever reading would not block; a second callback comes after the first."""
        return self._target().watch("read", resource, callback)

    def add_write_stream(self, resource: Resource, callback: Callable[[Any], object]) -> Interest:
        """Call `callback(resource)` whenever writing would not block."""
        return self._target().watch("write", resource, callback)

    def remove_read_stream(self, resource: Resource) -> int:
        """End all reading callbacks of `resource`, which may be closed already; how many there were."""
        return self._unwatch("read", resource)

    def remove_write_stream(self, resource: Resource) -> int:
        """End all writing callbacks of `resource`."""
        return self._unwatch("write", resource)

    def remove_stream(self, resource: Resource) -> int:
        """End all callbacks of `resource`."""
        return self._unwatch("read", resource) + self._unwatch("write", resource)

    def add_signal(self, signum: int, callback: Callable[[int], object]) -> Interest:
        """Call `callback(signum)` in the loop when the signal arrives. Main thread only (RuntimeError)."""
        return self._target().watch("signal", signum, callback)

    def remove_signal(self, signum: int) -> int:
        """End all callbacks of a signal; its default action is back."""
        return self._unwatch("signal", signum)

    # Which set.

    @contextmanager
    def failure_scope(self) -> Iterator[None]:
        """Within it (and in callbacks registered within it) registrations join the failure set while held."""
        token = _INTO.set(self._failure)
        try:
            yield
        finally:
            _INTO.reset(token)

    def _target(self) -> InterestSet:
        into = _INTO.get()
        return into if into is not None and into is self._failure else self._normal

    @property
    def _active(self) -> InterestSet:
        return self._normal if self._failure is None else self._failure

    def _unwatch(self, kind: Kind, resource: Resource) -> int:
        both = (self._normal,) if self._failure is None else (self._normal, self._failure)
        return sum(each.unwatch(kind, resource) for each in both)
