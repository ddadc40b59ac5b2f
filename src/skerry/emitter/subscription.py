"""One registration of one listener: which emissions it is given, and how it ends.

Emitters make it and give it out as the handle. Not here: the book in which it stands (`listeners`).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from skerry.emitter.emitter import EventEmitter
    from skerry.emitter.listeners import Listeners

Listener = Callable[..., object]
Name: TypeAlias = Hashable | type[Any]
"""What names an event: any hashable, or the class of a typed event."""


class Subscription:
    """One registration. `cancel()` ends exactly this one; also a context manager that cancels at its end."""

    __slots__ = (
        "__weakref__", "_active", "_cancelled", "_emitter", "_first", "_last", "_queued", "_seen", "call", "event",
        "listener", "target",
    )  # fmt: skip

    def __init__(
        self, emitter: Listeners, event: Name, listener: Listener, first: int, last: int | None
    ) -> None:
        self.event, self.listener = event, listener
        self.target: EventEmitter | None = None
        """Where a copy goes (`copy_event`)."""
        self._emitter = emitter
        self._active, self._cancelled, self._queued = True, False, 0
        # Emissions are numbered as they reach this listener; those from `first` to `last` are delivered.
        self._first, self._last = first, last
        self._seen = None if first == 0 and last is None else itertools.count()
        self.call = listener if self._seen is None else self._counted

    @property
    def active(self) -> bool:
        """Whether a further emission may reach the listener."""
        return self._active

    def cancel(self) -> None:
        """End this registration now. Calls that still wait in a loop are not made either. Twice is once."""
        self._emitter._cancel(self)

    def _admit(self) -> bool:
        """Count one emission; whether it is to be delivered. Ended before the last call is made."""
        if self._seen is None:
            return True
        number = next(self._seen)  # one atomic step: exact however calls interleave
        if number < self._first:
            return False
        if self._last is None:
            return True
        if number >= self._last:
            self._emitter._forget(self)
        return number <= self._last

    def _counted(self, *args: object, **kwargs: object) -> object:
        return self.listener(*args, **kwargs) if self._admit() else None

    def __enter__(self) -> Subscription:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.cancel()

    def __repr__(self) -> str:
        state = "active" if self._active else "ended"
        return f"<Subscription {short(self.event)} -> {called(self.listener)}, {state}>"


def called(listener: object) -> str:
    """A listener's name in messages."""
    return getattr(listener, "__qualname__", None) or repr(listener)[:80]


def short(event: object) -> str:
    """An event's name in messages."""
    return event.__name__ if isinstance(event, type) else repr(event)[:80]
