"""Who listens to what: registrations by event, in the order in which they were made, and the ways to end them.

Not here: calling the listeners (`emitter`, `async_emitter`).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import ClassVar, TypeVar, overload

from skerry.emitter.subscription import Listener, Name, Subscription, called

F = TypeVar("F", bound=Callable[..., object])


class Listeners:
    """The book of an emitter's registrations. An entry is out at once; emissions under way look at `active`."""

    _takes_coroutines: ClassVar[bool] = False

    def __init__(self) -> None:
        self._listeners: dict[Name, tuple[Subscription, ...]] = {}
        self._gone: dict[Name, int] = {}

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
        self._listeners[event] = (*self._listeners.get(event, ()), made)
        return made

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
        for event in list(self._listeners):
            self.remove_listeners(event)

    def find_listener(self, event: Name, listener: Listener) -> Subscription | None:
        """The earliest active registration of `listener` for `event`, however it was registered."""
        return next((one for one in self._registered(event) if one.listener == listener), None)

    def listeners(self, event: Name) -> tuple[Listener, ...]:
        """The listeners of `event`, as registered, in the order in which they are called."""
        return tuple(one.listener for one in self._listeners.get(event, ()) if one._active)

    def _registered(self, event: Name) -> list[Subscription]:
        return [one for one in self._listeners.get(event, ()) if one._active]

    def _cancel(self, one: Subscription) -> None:
        one._cancelled = True
        self._forget(one)

    def _forget(self, one: Subscription) -> None:
        """Take a registration out. Emissions skip it at once; long tuples are rebuilt when half is gone."""
        if not one._active:
            return
        one._active = False
        event = one.event
        listeners, gone = self._listeners[event], self._gone.get(event, 0) + 1
        if gone * 2 < len(listeners):
            self._gone[event] = gone
            return
        self._gone.pop(event, None)
        if left := tuple(other for other in listeners if other._active):
            self._listeners[event] = left
        else:
            del self._listeners[event]


def _is_coroutine_function(listener: object) -> bool:
    return inspect.iscoroutinefunction(listener) or inspect.iscoroutinefunction(type(listener).__call__)
