"""Registrations by event, in the order in which they were made: who listens to what, counted how, and until when.

`Subscription` is one registration and the handle that is given out for it. Not here: calling the listeners
(`emitter`, `async_emitter`).
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Hashable
from typing import Any, ClassVar, TypeAlias, TypeVar, overload

F = TypeVar("F", bound=Callable[..., object])
Listener = Callable[..., object]
Name: TypeAlias = Hashable | type[Any]
"""What names an event: any hashable, or the class of a typed event."""

logger = logging.getLogger("skerry.emitter")


class Subscription:
    """One registration. `cancel()` ends exactly this one; also a context manager that cancels at its end."""

    __slots__ = (
        "__weakref__", "_active", "_cancelled", "_first", "_last", "_listeners", "_queued", "_seen", "call", "event",
        "listener", "target",
    )  # fmt: skip

    def __init__(
        self, listeners: Listeners, event: Name, listener: Listener, first: int, last: int | None
    ) -> None:
        self.event, self.listener = event, listener
        self.target: Listeners | None = None
        """The emitter that a copy goes to (`copy_event`)."""
        self._listeners = listeners
        self._active, self._cancelled, self._queued = True, False, 0
        # Emissions are numbered as they reach this listener; those from `first` to `last` are delivered.
        self._first, self._last, self._seen = first, last, 0
        self.call = listener if first == 0 and last is None else self._counted

    @property
    def active(self) -> bool:
        """Whether a further emission may reach the listener."""
        return self._active

    def cancel(self) -> None:
        """End this registration now. Calls that still wait in a loop are not made either. Twice is once."""
        self._listeners._cancel(self)

    def _admit(self) -> bool:
        """Count one emission; whether it is to be delivered. Ended before the last call is made."""
        if self._first == 0 and self._last is None:
            return True
        number = self._seen
        self._seen = number + 1
        if number < self._first:
            return False
        if self._last is None:
            return True
        if number >= self._last:
            self._listeners._end(self)
        return number <= self._last

    def _give_back(self) -> None:
        """An emission that was counted is not delivered after all: another one takes its place."""
        if self._last is not None and not self._cancelled:
            self._last += 1
            if not self._active:
                self._listeners._begin(self)

    def _counted(self, *args: object, **kwargs: object) -> object:
        return self.listener(*args, **kwargs) if self._admit() else None

    def __enter__(self) -> Subscription:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.cancel()

    def __repr__(self) -> str:
        state = "active" if self._active else "ended"
        return f"<Subscription {short(self.event)} -> {called(self.listener)}, {state}>"


class Listeners:
    """An emitter's registrations. Ending one takes effect at once, for emissions in progress too."""

    _takes_coroutines: ClassVar[bool] = False

    def __init__(self) -> None:
        self.leak_warning: int | None = 1_000
        """More listeners of one event than this are logged once as a likely leak; None: never."""
        self._members: dict[Name, dict[Subscription, None]] = {}
        # What an emission iterates: made from `_members` when first needed, dropped when they change.
        self._listeners: dict[Name, tuple[Subscription, ...]] = {}
        self._warned: set[Name] = set()

    # Registration. Every form takes the listener or, without one, is a decorator that gives it back.

    @overload
    def on(self, event: Name, listener: Listener) -> Subscription: ...
    @overload
    def on(self, event: Name) -> Callable[[F], F]: ...
    def on(self, event: Name, listener: Listener | None = None) -> object:
        """Call `listener` with the arguments of every emission of `event`."""
        return self._register(event, listener, 0, None)

    @overload
    def once(self, event: Name, listener: Listener) -> Subscription: ...
    @overload
    def once(self, event: Name) -> Callable[[F], F]: ...
    def once(self, event: Name, listener: Listener | None = None) -> object:
        """Exactly one call; the registration has ended before it is made."""
        return self._register(event, listener, 0, 1)

    @overload
    def times(self, event: Name, n: int, listener: Listener) -> Subscription: ...
    @overload
    def times(self, event: Name, n: int) -> Callable[[F], F]: ...
    def times(self, event: Name, n: int, listener: Listener | None = None) -> object:
        """Exactly `n` calls. ValueError for n < 1."""
        return self._register(event, listener, 0, n)

    @overload
    def delay(self, event: Name, k: int, listener: Listener) -> Subscription: ...
    @overload
    def delay(self, event: Name, k: int) -> Callable[[F], F]: ...
    def delay(self, event: Name, k: int, listener: Listener | None = None) -> object:
        """Every emission after `k` have gone by. ValueError for k < 0."""
        return self._register(event, listener, k, None)

    @overload
    def delay_once(self, event: Name, k: int, listener: Listener) -> Subscription: ...
    @overload
    def delay_once(self, event: Name, k: int) -> Callable[[F], F]: ...
    def delay_once(self, event: Name, k: int, listener: Listener | None = None) -> object:
        """One call, after `k` emissions have gone by: of 0, 1, 2, 3, 4 the one with 3 for k = 3."""
        return self._register(event, listener, k, 1)

    @overload
    def delay_times(self, event: Name, k: int, n: int, listener: Listener) -> Subscription: ...
    @overload
    def delay_times(self, event: Name, k: int, n: int) -> Callable[[F], F]: ...
    def delay_times(self, event: Name, k: int, n: int, listener: Listener | None = None) -> object:
        """`n` calls, after `k` emissions have gone by."""
        return self._register(event, listener, k, n)

    def _register(self, event: Name, listener: Listener | None, k: int, n: int | None) -> object:
        if k < 0:
            raise ValueError(f"a delay is 0 or more emissions, not {k}")
        if n is not None and n < 1:
            raise ValueError(f"a listener is called 1 or more times, not {n}; leave it out instead")
        last = None if n is None else k + n - 1

        def decorate(f: F) -> F:
            self._add(event, f, k, last)
            return f

        return decorate if listener is None else self._add(event, listener, k, last)

    def _add(self, event: Name, listener: Listener, first: int, last: int | None) -> Subscription:
        self._check(listener)
        made = Subscription(self, event, listener, first, last)
        self._begin(made)
        return made

    def _begin(self, one: Subscription) -> None:
        one._active = True
        members = self._members.setdefault(one.event, {})
        members[one] = None
        self._listeners.pop(one.event, None)
        if self.leak_warning is not None and len(members) > self.leak_warning:
            self._warn(one.event, len(members))

    def _warn(self, event: Name, count: int) -> None:
        if event not in self._warned:
            self._warned.add(event)
            logger.warning(
                "%d listeners of %s on one %s: is each of them cancelled when it is done? (leak_warning is the limit)",
                count, short(event), type(self).__name__,
            )  # fmt: skip

    def _check(self, listener: Listener) -> None:
        if not callable(listener):
            raise TypeError(f"a listener is a callable, not {listener!r}")
        if not self._takes_coroutines and _is_coroutine_function(listener):
            raise TypeError(
                f"{called(listener)} is a coroutine function: nobody would await it here; use AsyncEventEmitter"
            )

    # Removal.

    def remove_listener(self, event: Name, listener: Listener) -> bool:
        """End the earliest registration of `listener` for `event`, of any form; whether there was one."""
        found = self.find_listener(event, listener)
        if found is not None:
            found.cancel()
        return found is not None

    def remove_listeners(self, event: Name) -> None:
        """End every registration for `event`."""
        for one in self._registered(event):
            one.cancel()

    def flush_listeners(self) -> None:
        """End every registration for every event, copies included. Forwards stay (`discard_events`)."""
        for event in list(self._members):
            self.remove_listeners(event)

    def find_listener(self, event: Name, listener: Listener) -> Subscription | None:
        """The earliest active registration of `listener` for `event`, however it was registered."""
        return next((one for one in self._registered(event) if one.listener == listener), None)

    def listeners(self, event: Name) -> tuple[Listener, ...]:
        """The listeners of `event`, as registered, in the order in which they are called."""
        return tuple(one.listener for one in self._members.get(event, ()))

    def _registered(self, event: Name) -> list[Subscription]:
        return list(self._members.get(event, ()))

    def _emission(self, event: Name) -> tuple[Subscription, ...] | None:
        """What an emission of `event` that begins now goes through; None when nobody listens."""
        found = self._listeners.get(event)
        if found is None and (members := self._members.get(event)):
            found = self._listeners[event] = tuple(members)
        return found

    def _cancel(self, one: Subscription) -> None:
        one._cancelled = True
        self._end(one)

    def _end(self, one: Subscription) -> None:
        """Take a registration out; emissions in progress skip it."""
        if not one._active:
            return
        one._active = False
        members = self._members[one.event]
        del members[one]
        if not members:
            del self._members[one.event]
        self._listeners.pop(one.event, None)


def _is_coroutine_function(listener: object) -> bool:
    return inspect.iscoroutinefunction(listener) or inspect.iscoroutinefunction(type(listener).__call__)


def called(listener: object) -> str:
    """A listener's name in messages."""
    return getattr(listener, "__qualname__", None) or repr(listener)[:80]


def short(event: object) -> str:
    """An event's name in messages."""
    return event.__name__ if isinstance(event, type) else repr(event)[:80]
