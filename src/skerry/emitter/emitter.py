"""`EventEmitter`: what one emission does, in its order: the own listeners, then the emitters it is passed on to.

Not here: registering and ending (`listeners`), emission through a loop (`async_emitter`).
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, overload

from skerry.emitter.listeners import Listeners, Name, Subscription, called, short
from skerry.emitter.stream import Arguments, EventStream, Overflow, arrival
from skerry.errors import EmitterError

E = TypeVar("E")

_NAMES_ONLY = (str, bytes, int, float, type, frozenset, enum.Enum, type(None))
_EVERY = object()


class Mode(enum.IntFlag):
    """What an emitter lets through. A muted emission is not counted by anybody."""

    PASS = 0
    MUTE_INCOMING = 1
    """Own listeners (copies are listeners) hear nothing."""
    MUTE_OUTGOING = 2
    """Emitters that events are forwarded to hear nothing."""
    MUTE_BOTH = 3


class EventEmitter(Listeners):
    """The synchronous emitter: `emit` returns when every listener has been called. See the package's text."""

    def __init__(self) -> None:
        super().__init__()
        self._forwards: tuple[EventEmitter, ...] = ()
        self._is_reached = False
        """Whether another one has ever passed something on to this one: else no circle can close here."""
        self._mode = 0
        self.on_error: Callable[[Exception, Name], object] | None = None
        """Where the error of a listener goes, with the event's name; unset: `emit` raises them together."""

    # Emission.

    def emit(self, event: Any, /, *args: Any, **kwargs: Any) -> None:
        """Call the listeners of `event` in order, then forward it. Without listeners it does nothing.

        Raises an ExceptionGroup of the listeners' exceptions after all were called (see `on_error`).
        """
        try:
            listeners = self._listeners.get(event)
        except TypeError:
            listeners = None  # a typed event that cannot be hashed
        if listeners is None or self._mode:
            return self._emit_otherwise(event, listeners, args, kwargs)
        errors: list[Exception] | None = None
        # This loop is the hot path: the snapshot is an immutable tuple, `_active` a slot.
        if kwargs:
            for one in listeners:
                if one._active:
                    try:
                        one.call(*args, **kwargs)
                    except Exception as error:
                        errors = self._caught(error, one.event, one.listener, errors)
        else:
            for one in listeners:
                if one._active:
                    try:
                        one.call(*args)
                    except Exception as error:
                        errors = self._caught(error, one.event, one.listener, errors)
        if self._forwards:
            errors = self._forward(event, args, kwargs, errors)
        if errors is not None:
            raise ExceptionGroup(f"listeners of {short(event)} failed", errors)
        return None

    def _emit_otherwise(
        self,
        event: Any,
        found: tuple[Subscription, ...] | None,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        """The rarer ways: a typed event, a muted emitter, nobody listening here."""
        errors = self._call_own(event, found, args, kwargs)
        if self._forwards and not self._mode & Mode.MUTE_OUTGOING:
            errors = self._forward(event, args, kwargs, errors)
        if errors is not None:
            raise ExceptionGroup(f"listeners of {short(event)} failed", errors)

    def _call_own(
        self,
        event: Any,
        found: tuple[Subscription, ...] | None,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> list[Exception] | None:
        listeners, given = self._resolve(event, found, args, kwargs)
        errors: list[Exception] | None = None
        for one in listeners:
            if one._active:
                try:
                    one.call(*given, **kwargs)
                except Exception as error:
                    errors = self._caught(error, one.event, one.listener, errors)
        return errors

    def _resolve(
        self,
        event: Any,
        found: tuple[Subscription, ...] | None,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> tuple[tuple[Subscription, ...], tuple[Any, ...]]:
        """Which listeners an emission reaches and with which arguments, without looking at forwards."""
        if self._mode and self._mode & Mode.MUTE_INCOMING:  # a flag's `&` is slow
            return (), args
        if found is None:
            found = self._found(event)
        if found is None and not args and not kwargs and _is_typed(event):
            return self._emission(type(event)) or (), (event,)
        return found or (), args

    def _found(self, event: Any) -> tuple[Subscription, ...] | None:
        try:
            return self._emission(event)
        except TypeError:
            return None  # a typed event that cannot be hashed

    def _forward(
        self, event: Any, args: tuple[Any, ...], kwargs: dict[str, Any], errors: list[Exception] | None
    ) -> list[Exception] | None:
        """Depth first, in order, and without recursion: a chain may be of any length."""
        passing = [_Passing(self, errors)]
        while True:
            at = passing[-1]
            other = at.next()
            if other is None:
                passing.pop()
                if not passing:
                    return at.errors
                passing[-1].take(at, event)
            elif type(other).emit is EventEmitter.emit:
                passing.append(_Passing(other, other._call_own(event, None, args, kwargs)))
            else:
                try:
                    other.emit(event, *args, **kwargs)
                except Exception as error:
                    at.errors = at.emitter._caught(error, event, other, at.errors)

    def _caught(
        self, error: Exception, event: Any, listener: object, errors: list[Exception] | None
    ) -> list[Exception] | None:
        """Hand an error on, or keep it. An error of `on_error` itself is never lost: it is raised."""
        if not isinstance(error, ExceptionGroup):
            error.add_note(f"in listener {called(listener)} of event {short(event)}")
        if self.on_error is not None:
            try:
                self.on_error(error, event)
            except Exception as second:
                error = second
            else:
                return errors
        return [error] if errors is None else [*errors, error]

    # Passing on.

    def copy_event(self, other: EventEmitter, event: Name) -> Subscription:
        """Emit `event` on `other` too, as a listener in its order. EmitterError for a circle."""
        self._refuse_circle(other, event)

        def pass_on(*args: Any, **kwargs: Any) -> None:
            other.emit(event, *args, **kwargs)

        made = self._add(event, pass_on, 0, None)
        made.target = other
        other._is_reached = True
        return made

    def copy_events(self, other: EventEmitter, events: Iterable[Name]) -> tuple[Subscription, ...]:
        """`copy_event` for each; none is made when one of them is refused."""
        events = tuple(events)
        for event in events:
            self._refuse_circle(other, event)
        return tuple(self.copy_event(other, event) for event in events)

    def forward_events(self, other: EventEmitter) -> EventEmitter:
        """Emit every event on `other` too, after the own listeners. Twice is once. EmitterError for a circle."""
        if other not in self._forwards:
            self._refuse_circle(other, _EVERY)
            self._forwards = (*self._forwards, other)
            other._is_reached = True
        return other

    def discard_events(self, other: EventEmitter) -> EventEmitter:
        """Stop forwarding to `other`, in the running emission too. Copies stay: cancel their handles."""
        self._forwards = tuple(one for one in self._forwards if one is not other)
        return other

    def _refuse_circle(self, other: EventEmitter, event: Name) -> None:
        """Whether `event` would come back here. A copy carries one name, a forward every name."""
        if other is not self and not self._is_reached:
            return
        seen: set[tuple[int, Name]] = set()
        open_ends: list[tuple[EventEmitter, Name]] = [(other, event)]
        while open_ends:
            at, name = open_ends.pop()
            if at is self:
                what = "every event" if event is _EVERY else f"event {short(event)}"
                raise EmitterError(f"passing {what} on to {other!r} would form a circle")
            if (id(at), name) in seen:
                continue
            seen.add((id(at), name))
            open_ends.extend((further, name) for further in at._forwards)
            names = list(at._members) if name is _EVERY else [name]
            copies = ((c.target, n) for n in names for c in at._registered(n))
            open_ends.extend((target, n) for target, n in copies if isinstance(target, EventEmitter))

    @property
    def mode(self) -> Mode:
        """Which emissions pass: all (default), or with incoming, outgoing or both muted."""
        return Mode(self._mode)

    @mode.setter
    def mode(self, mode: Mode) -> None:
        self._mode = int(Mode(mode))

    @contextmanager
    def muted(self, *, incoming: bool = True, outgoing: bool = True) -> Iterator[None]:
        """Mute for the length of a `with` block, on top of what is muted already."""
        before = self._mode
        self._mode = before | incoming * Mode.MUTE_INCOMING | outgoing * Mode.MUTE_OUTGOING
        try:
            yield
        finally:
            self._mode = before

    # Waiting.

    @overload
    async def wait_for(self, event: type[E], timeout: float | None) -> E: ...  # type: ignore[overload-overlap]
    @overload
    async def wait_for(self, event: Name, timeout: float | None) -> Arguments: ...
    async def wait_for(self, event: Any, timeout: float | None) -> Any:
        """The next emission: a class gives its instance, any other name the `Arguments`.

        Raises DeadlineExceeded after `timeout` seconds; None waits for ever.
        """
        return await arrival(self, event, timeout)

    @overload
    def stream(self, event: type[E], maxsize: int = ..., overflow: Overflow = ...) -> EventStream[E]: ...  # type: ignore[overload-overlap]
    @overload
    def stream(self, event: Name, maxsize: int = ..., overflow: Overflow = ...) -> EventStream[Arguments]: ...
    def stream(self, event: Any, maxsize: int = 256, overflow: Overflow = "drop_oldest") -> EventStream[Any]:
        """Iterate over emissions from now on; at most `maxsize` wait to be fetched.

        When it is full: `drop_oldest`, `drop_newest` (both counted in `dropped`), or `error`: the emission
        reports an EmitterError.
        """
        return EventStream(self, event, maxsize, overflow)


class _Passing:
    """One emitter on the way of an emission: which of its forwards is next, what has failed so far."""

    __slots__ = ("_left", "emitter", "errors")

    def __init__(self, emitter: EventEmitter, errors: list[Exception] | None) -> None:
        self.emitter, self.errors = emitter, errors
        self._left = iter(emitter._forwards)

    def next(self) -> EventEmitter | None:
        """The next that the emission goes to; both may change meanwhile."""
        for other in self._left:
            if other in self.emitter._forwards and not self.emitter._mode & Mode.MUTE_OUTGOING:
                return other
        return None

    def take(self, passed: _Passing, event: Any) -> None:
        """What has failed at a forward and behind it: to `on_error` as one, else with the rest."""
        found = passed.errors
        if found is None:
            return
        if self.emitter.on_error is None:
            self.errors = found if self.errors is None else [*self.errors, *found]
        else:
            group = ExceptionGroup(f"listeners of {short(event)} failed", found)
            self.errors = self.emitter._caught(group, event, passed.emitter, self.errors)


def _is_typed(event: object) -> bool:
    """Whether an emitted value is a typed event rather than a name."""
    return not isinstance(event, _NAMES_ONLY) and type(event) is not tuple
