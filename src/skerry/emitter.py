"""Named events inside one process: whoever has news emits it, whoever cares has registered a listener.

    server = EventEmitter()
    handle = server.on("connection", greet)      # or @server.on("connection")
    server.emit("connection", peer)              # greet(peer)
    handle.cancel()

Every component has or is an emitter of its own; there is no central one. A name is any hashable. A class may
be name and payload at once: `emitter.on(Opened, f)`, then `emitter.emit(Opened(peer))` calls `f(Opened(peer))`
(the exact class; strings, numbers, bytes, tuples and enum members are only ever names).

What is promised:
* own listeners are called in the order of registration, then the emitters that events are forwarded to;
* a listener that is removed is not called any more, in the running emission too; one that is added meanwhile
  starts with the next emission;
* `once` and `times` count exactly, also when a listener emits the same event again;
* a listener that fails does not keep others from being called: all errors are raised together at the end as
  an `ExceptionGroup`, or go to `on_error(error, event)` one by one where it is set. `CancelledError`,
  `KeyboardInterrupt` and `SystemExit` pass at once.

`AsyncEventEmitter(schedule)` delivers each call as its own entry of a loop (`schedule` is `Loop.on_tick`), and
`await emit_async(...)` awaits coroutine listeners. Counting and cancelling mean the same in both.

Not here: no tasks, no threads (an emitter belongs to the thread of its loop; from another one go through
`Loop.post`), no delivery to other processes (see `skerry.bus`).
"""

from __future__ import annotations

import asyncio
import enum
import inspect
import itertools
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Generic, Literal, TypeAlias, TypeVar, cast, overload

from skerry.errors import DeadlineExceeded, EmitterError

Listener = Callable[..., object]
Name: TypeAlias = Hashable | type[Any]
"""What names an event: any hashable, or the class of a typed event."""
Overflow = Literal["drop_oldest", "drop_newest", "error"]
E = TypeVar("E")
F = TypeVar("F", bound=Callable[..., object])

_NAMES_ONLY = (str, bytes, int, float, type, frozenset, enum.Enum, type(None))


class Mode(enum.IntFlag):
    """What an emitter lets through. A muted emission is not counted by anybody."""

    PASS = 0
    MUTE_INCOMING = 1
    """Own listeners (copies are listeners) hear nothing."""
    MUTE_OUTGOING = 2
    """Emitters that events are forwarded to hear nothing."""
    MUTE_BOTH = 3


class Arguments(tuple[Any, ...]):
    """What one emission carried: the tuple of its positional arguments, with `kwargs` beside it."""

    kwargs: dict[str, Any]

    @classmethod
    def of(cls, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
        made = cls(args)
        made.kwargs = kwargs
        return made


class Subscription:
    """One registration. `cancel()` ends exactly this one; also a context manager that cancels at its end."""

    __slots__ = (
        "__weakref__", "_active", "_cancelled", "_emitter", "_first", "_last", "_queued", "_seen", "call", "event",
        "listener", "target",
    )  # fmt: skip

    def __init__(
        self, emitter: EventEmitter, event: Name, listener: Listener, first: int, last: int | None
    ) -> None:
        self.event, self.listener = event, listener
        self.target: EventEmitter | None = None
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
        return f"<Subscription {_short(self.event)} -> {_called(self.listener)}, {state}>"


class EventEmitter:
    """The synchronous emitter: `emit` returns when every listener has been called. See the module's text."""

    def __init__(self) -> None:
        self._listeners: dict[Name, tuple[Subscription, ...]] = {}
        self._gone: dict[Name, int] = {}
        self._forwards: tuple[EventEmitter, ...] = ()
        self._mode = 0
        self.on_error: Callable[[Exception, Name], object] | None = None
        """Where the error of a listener goes, with the event's name; unset: `emit` raises them together."""

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
        if _is_coroutine_function(listener):
            raise TypeError(
                f"{_called(listener)} is a coroutine function: nobody would await it here; use AsyncEventEmitter"
            )

    # Emission.

    def emit(self, event: Any, /, *args: Any, **kwargs: Any) -> None:
        """Call the listeners of `event` in order, then pass it on. Nobody listening: nothing happens.

        Raises an ExceptionGroup of everything that listeners raised, after all were called (see `on_error`).
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
            raise ExceptionGroup(f"listeners of {_short(event)} failed", errors)
        return None

    def _emit_otherwise(
        self,
        event: Any,
        found: tuple[Subscription, ...] | None,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        """The rarer ways: a typed event, a muted emitter, nobody listening here."""
        listeners, given = self._resolve(event, found, args, kwargs)
        errors: list[Exception] | None = None
        for one in listeners:
            if one._active:
                try:
                    one.call(*given, **kwargs)
                except Exception as error:
                    errors = self._caught(error, one.event, one.listener, errors)
        if self._forwards and not self._mode & Mode.MUTE_OUTGOING:
            errors = self._forward(event, args, kwargs, errors)
        if errors is not None:
            raise ExceptionGroup(f"listeners of {_short(event)} failed", errors)

    def _resolve(
        self,
        event: Any,
        found: tuple[Subscription, ...] | None,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> tuple[tuple[Subscription, ...], tuple[Any, ...]]:
        """Which listeners an emission reaches and with which arguments, without looking at forwards."""
        if self._mode & Mode.MUTE_INCOMING:
            return (), args
        if found is None and not args and not kwargs and _is_typed(event):
            return self._listeners.get(type(event), ()), (event,)
        return found or (), args

    def _forward(
        self, event: Any, args: tuple[Any, ...], kwargs: dict[str, Any], errors: list[Exception] | None
    ) -> list[Exception] | None:
        for other in self._forwards:
            if other in self._forwards and not self._mode & Mode.MUTE_OUTGOING:  # both may change meanwhile
                try:
                    other.emit(event, *args, **kwargs)
                except Exception as error:
                    errors = self._caught(error, event, other, errors)
        return errors

    def _caught(
        self, error: Exception, event: Any, listener: object, errors: list[Exception] | None
    ) -> list[Exception] | None:
        """Hand an error on, or keep it. An error of `on_error` itself is never lost: it is raised."""
        if not isinstance(error, ExceptionGroup):
            error.add_note(f"in listener {_called(listener)} of event {_short(event)}")
        if self.on_error is not None:
            try:
                self.on_error(error, event)
            except Exception as second:
                error = second
            else:
                return errors
        return [error] if errors is None else [*errors, error]

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

    # Passing on.

    def copy_event(self, other: EventEmitter, event: Name) -> Subscription:
        """Emit `event` on `other` too, as a listener in its order. EmitterError for a circle."""
        self._refuse_circle(other, event)

        def pass_on(*args: Any, **kwargs: Any) -> None:
            other.emit(event, *args, **kwargs)

        made = self._add(event, pass_on, 0, None)
        made.target = other
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
        return other

    def discard_events(self, other: EventEmitter) -> EventEmitter:
        """Stop forwarding to `other`, in the running emission too. Copies stay: cancel their handles."""
        self._forwards = tuple(one for one in self._forwards if one is not other)
        return other

    def _refuse_circle(self, other: EventEmitter, event: Name) -> None:
        """Whether `event` would come back here. A copy carries one name, a forward every name."""
        seen: set[tuple[int, Name]] = set()
        open_ends: list[tuple[EventEmitter, Name]] = [(other, event)]
        while open_ends:
            at, name = open_ends.pop()
            if at is self:
                what = "every event" if event is _EVERY else f"event {_short(event)}"
                raise EmitterError(f"passing {what} on to {other!r} would form a circle")
            if (id(at), name) in seen:
                continue
            seen.add((id(at), name))
            open_ends.extend((further, name) for further in at._forwards)
            names = list(at._listeners) if name is _EVERY else [name]
            open_ends.extend((c.target, n) for n in names for c in at._registered(n) if c.target is not None)

    @property
    def mode(self) -> Mode:
        """What passes: everything (default), or with incoming, outgoing or both muted."""
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
        arrived: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def settle(*args: Any, **kwargs: Any) -> None:
            if not arrived.done():
                arrived.set_result(_payload(event, args, kwargs))

        with self._add(event, settle, 0, 0):
            try:
                async with asyncio.timeout(timeout):
                    return await arrived
            except TimeoutError:
                raise DeadlineExceeded(f"waiting for {_short(event)}", timeout or 0.0) from None

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


class EventStream(Generic[E]):
    """`async for` over the emissions of one event; ends when closed. `async with` closes it."""

    def __init__(self, emitter: EventEmitter, event: Any, maxsize: int, overflow: Overflow) -> None:
        if maxsize < 1:
            raise ValueError(f"a stream holds 1 or more emissions, not {maxsize}")
        if overflow not in ("drop_oldest", "drop_newest", "error"):
            raise ValueError(f"overflow is drop_oldest, drop_newest or error, not {overflow!r}")
        self.event, self.maxsize, self.overflow = event, maxsize, overflow
        self.dropped = 0
        """How many emissions were dropped because nobody fetched them in time."""
        self._waiting: deque[E] = deque()
        self._fetcher: asyncio.Future[None] | None = None
        self._closed = False
        self._subscription = emitter.on(event, self._arrived)

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def closed(self) -> bool:
        return self._closed

    def _arrived(self, *args: Any, **kwargs: Any) -> None:
        if len(self._waiting) >= self.maxsize:
            self.dropped += 1
            if self.overflow == "error":
                raise EmitterError(
                    f"the stream of {_short(self.event)} holds {self.maxsize} emissions already"
                )
            if self.overflow == "drop_newest":
                return
            self._waiting.popleft()
        self._waiting.append(cast(E, _payload(self.event, args, kwargs)))
        self._wake()

    def _wake(self) -> None:
        if self._fetcher is not None and not self._fetcher.done():
            self._fetcher.set_result(None)

    def close(self) -> None:
        """Take no more; what waits can still be fetched, then the iteration ends."""
        self._closed = True
        self._subscription.cancel()
        self._wake()

    def __aiter__(self) -> EventStream[E]:
        return self

    async def __anext__(self) -> E:
        if self._fetcher is not None:
            raise EmitterError("another task is waiting for this stream already")
        while not self._waiting:
            if self._closed:
                raise StopAsyncIteration
            self._fetcher = asyncio.get_running_loop().create_future()
            try:
                await self._fetcher
            finally:
                self._fetcher = None
        return self._waiting.popleft()

    async def __aenter__(self) -> EventStream[E]:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self.close()


class AsyncEventEmitter(EventEmitter):
    """Delivers every call as its own entry of a loop; coroutine functions may listen.

    `schedule(entry)` queues a callable without arguments for the loop: `Loop.on_tick`, or the `call_soon` of an
    asyncio loop when no listener is a coroutine function. The entry of a coroutine function returns its
    coroutine, which the loop runs (`Loop` does, as a task of its own). Registrations are counted when the event
    is emitted; a cancelled one is not called any more, though its call may be queued already.
    """

    def __init__(self, schedule: Callable[[Callable[[], object]], object]) -> None:
        super().__init__()
        self._schedule = schedule
        # Registrations that have had their last emission, while its call waits: removal must still find them.
        self._last_calls: dict[Subscription, None] = {}

    def _check(self, listener: Listener) -> None:
        if not callable(listener):
            raise TypeError(f"a listener is a callable, not {listener!r}")

    def emit(self, event: Any, /, *args: Any, **kwargs: Any) -> None:
        """Queue one entry for each listener, in order, then one for each forward."""
        for one, given in self._admitted(event, args, kwargs):
            self._schedule(partial(self._deliver, one, given, kwargs))
        if not self._mode & Mode.MUTE_OUTGOING:
            for other in self._forwards:
                self._schedule(partial(self._pass_on, other, event, args, kwargs))

    async def emit_async(
        self,
        event: Any,
        /,
        *args: Any,
        limit: int | None = 1,
        timeout_seconds: float | None = 30.0,
        **kwargs: Any,
    ) -> list[Any]:
        """Call the listeners and wait for them; the results of those that returned, in registration order.

        `limit` is how many may be under way at once: 1 (default) is one after another, None all together.
        `timeout_seconds` is for each coroutine listener (None: no bound); one that takes longer is cancelled
        and counts as failed with DeadlineExceeded. Errors as in `emit`. Forwards follow after the listeners.
        """
        if limit is not None and limit < 1:
            raise ValueError(f"1 or more listeners may run at once, not {limit}")
        results: dict[Subscription, Any] = {}
        errors: list[Exception] | None = None
        room = None if limit is None else asyncio.Semaphore(limit)

        async def call(one: Subscription, given: tuple[Any, ...]) -> None:
            nonlocal errors
            if room is not None:
                await room.acquire()
            try:
                if self._taken(one):
                    results[one] = await self._finish(one, given, kwargs, timeout_seconds)
            except Exception as error:
                errors = self._caught(error, one.event, one.listener, errors)
            finally:
                if room is not None:
                    room.release()

        admitted = self._admitted(event, args, kwargs)
        if limit == 1 or len(admitted) == 1:
            for one, given in admitted:
                await call(one, given)
        else:
            ends = await asyncio.gather(*(call(*each) for each in admitted), return_exceptions=True)
            for end in ends:
                if end is not None:
                    raise end
        if not self._mode & Mode.MUTE_OUTGOING:
            for other in self._forwards:
                try:
                    if isinstance(other, AsyncEventEmitter):
                        await other.emit_async(
                            event, *args, limit=limit, timeout_seconds=timeout_seconds, **kwargs
                        )
                    else:
                        other.emit(event, *args, **kwargs)
                except Exception as error:
                    errors = self._caught(error, event, other, errors)
        if errors is not None:
            raise ExceptionGroup(f"listeners of {_short(event)} failed", errors)
        return [results[one] for one, _ in admitted if one in results]

    async def _finish(
        self, one: Subscription, args: tuple[Any, ...], kwargs: dict[str, Any], timeout_seconds: float | None
    ) -> Any:
        if isinstance(one.target, AsyncEventEmitter):
            result: Any = one.target.emit_async(one.event, *args, timeout_seconds=timeout_seconds, **kwargs)
        else:
            result = one.listener(*args, **kwargs)
        if not inspect.isawaitable(result):
            return result
        try:
            async with asyncio.timeout(timeout_seconds) as scope:
                return await result
        except TimeoutError as error:
            if scope.expired():
                raise DeadlineExceeded(_called(one.listener), timeout_seconds or 0.0) from error
            raise

    def _admitted(
        self, event: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> list[tuple[Subscription, tuple[Any, ...]]]:
        """Count this emission for everybody who listens; those whom it reaches, with what they are given."""
        try:
            found = self._listeners.get(event)
        except TypeError:
            found = None
        listeners, given = self._resolve(event, found, args, kwargs)
        admitted = [one for one in listeners if one._active and one._admit()]
        for one in admitted:
            one._queued += 1
            if not one._active:
                self._last_calls[one] = None
        return [(one, given) for one in admitted]

    def _taken(self, one: Subscription) -> bool:
        """One counted call is about to be made; whether it still should."""
        one._queued -= 1
        if one._queued == 0:
            self._last_calls.pop(one, None)
        return not one._cancelled

    def _deliver(self, one: Subscription, args: tuple[Any, ...], kwargs: dict[str, Any]) -> object:
        if not self._taken(one):
            return None
        try:
            result = one.listener(*args, **kwargs)
        except Exception as error:
            self._raise(self._caught(error, one.event, one.listener, None))
            return None
        return self._watched(result, one) if inspect.iscoroutine(result) else result

    async def _watched(self, running: Any, one: Subscription) -> None:
        try:
            await running
        except Exception as error:
            self._raise(self._caught(error, one.event, one.listener, None))

    def _pass_on(
        self, other: EventEmitter, event: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        if other in self._forwards and not self._mode & Mode.MUTE_OUTGOING:
            try:
                other.emit(event, *args, **kwargs)
            except Exception as error:
                self._raise(self._caught(error, event, other, None))

    @staticmethod
    def _raise(errors: list[Exception] | None) -> None:
        if errors:
            raise errors[0]

    def _registered(self, event: Name) -> list[Subscription]:
        waiting = [
            one for one in self._last_calls if one.event == event and one._queued and not one._cancelled
        ]
        return waiting + super()._registered(event)

    def _cancel(self, one: Subscription) -> None:
        super()._cancel(one)
        self._last_calls.pop(one, None)

    def flush_listeners(self) -> None:
        super().flush_listeners()
        for one in list(self._last_calls):
            self._cancel(one)


_EVERY = object()


def _is_typed(event: object) -> bool:
    """Whether an emitted value is a typed event rather than a name."""
    return not isinstance(event, _NAMES_ONLY) and type(event) is not tuple


def _payload(event: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What waiting for `event` yields: the instance for a class, else all that was passed."""
    return (
        args[0] if isinstance(event, type) and len(args) == 1 and not kwargs else Arguments.of(args, kwargs)
    )


def _is_coroutine_function(listener: object) -> bool:
    return inspect.iscoroutinefunction(listener) or inspect.iscoroutinefunction(type(listener).__call__)


def _called(listener: object) -> str:
    return getattr(listener, "__qualname__", None) or repr(listener)[:80]


def _short(event: object) -> str:
    return event.__name__ if isinstance(event, type) else repr(event)[:80]
