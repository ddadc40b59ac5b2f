"""`AsyncEventEmitter`: each call of a listener is an entry of a loop, or is awaited.

Registrations are counted when the event is emitted, not when the call is made: what waits between the two is kept
account of here, and given back when the call is never made. Not here: the loop itself (`schedule` is given), tasks.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

from skerry.emitter.emitter import EventEmitter, Mode, _Passing
from skerry.emitter.listeners import Name, Subscription, called, short
from skerry.errors import DeadlineExceeded


class QueuedCall:
    """A call of one listener that waits in a loop's queue. `erased` is what the loop says when it drops the entry."""

    __slots__ = ("_args", "_emitter", "_kwargs", "_one")

    def __init__(
        self, emitter: AsyncEventEmitter, one: Subscription, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        self._emitter, self._one, self._args, self._kwargs = emitter, one, args, kwargs

    def __call__(self) -> object:
        return self._emitter._deliver(self._one, self._args, self._kwargs)

    def erased(self) -> None:
        """The call will not be made."""
        self._emitter._not_made(self._one)


class AsyncEventEmitter(EventEmitter):
    """Delivers every call as its own entry of a loop; coroutine functions may listen.

    `schedule(entry)` queues a callable without arguments for the loop: `Loop.on_tick`, or the `call_soon` of an
    asyncio loop when no listener is a coroutine function. The entry of a coroutine function returns its
    coroutine, which the loop runs (`Loop` does, as a task of its own). Registrations are counted when the event
    is emitted; a cancelled one is not called any more, though its call may be queued already.
    """

    _takes_coroutines: ClassVar[bool] = True

    def __init__(self, schedule: Callable[[Callable[[], object]], object]) -> None:
        super().__init__()
        self._schedule = schedule
        # Registrations that have had their last emission, while its call waits: removal must still find them.
        self._last_calls: dict[Subscription, None] = {}

    def emit(self, event: Any, /, *args: Any, **kwargs: Any) -> None:
        """Queue one entry for each listener, in order, then one for each forward."""
        for one, given in self._admitted(event, args, kwargs):
            self._schedule(QueuedCall(self, one, given, kwargs))
        if self._forwards and not self._mode & Mode.MUTE_OUTGOING:
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
        results, errors = await self._call_own_async(event, args, kwargs, limit, timeout_seconds)
        passing = [_Passing(self, errors)]  # as in `emit`: a chain may be of any length
        while passing:
            at = passing[-1]
            other = at.next()
            if other is None:
                passing.pop()
                if passing:
                    passing[-1].take(at, event)
            elif isinstance(other, AsyncEventEmitter):
                _, found = await other._call_own_async(event, args, kwargs, limit, timeout_seconds)
                passing.append(_Passing(other, found))
            else:
                try:
                    other.emit(event, *args, **kwargs)
                except Exception as error:
                    at.errors = at.emitter._caught(error, event, other, at.errors)
        if at.errors is not None:
            raise ExceptionGroup(f"listeners of {short(event)} failed", at.errors)
        return results

    async def _call_own_async(
        self,
        event: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        limit: int | None,
        timeout_seconds: float | None,
    ) -> tuple[list[Any], list[Exception] | None]:
        """What the own listeners returned, and what failed."""
        results: dict[Subscription, Any] = {}
        waiting: set[Subscription] = set()
        errors: list[Exception] | None = None
        room = None if limit is None else asyncio.Semaphore(limit)

        async def call(one: Subscription, given: tuple[Any, ...]) -> None:
            nonlocal errors
            if room is not None:
                await room.acquire()
            try:
                waiting.discard(one)
                if self._taken(one):
                    results[one] = await self._finish(one, given, kwargs, timeout_seconds)
            except Exception as error:
                errors = self._caught(error, one.event, one.listener, errors)
            finally:
                if room is not None:
                    room.release()

        admitted = self._admitted(event, args, kwargs)
        waiting.update(one for one, _ in admitted)
        try:
            if limit == 1 or len(admitted) == 1:
                for one, given in admitted:
                    await call(one, given)
            else:
                ends = await asyncio.gather(*(call(*each) for each in admitted), return_exceptions=True)
                for end in ends:
                    if end is not None:
                        raise end
        finally:
            for one in waiting:  # cancelled before their turn
                self._not_made(one)
        return [results[one] for one, _ in admitted if one in results], errors

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
                raise DeadlineExceeded(called(one.listener), timeout_seconds or 0.0) from error
            raise

    def _admitted(
        self, event: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> list[tuple[Subscription, tuple[Any, ...]]]:
        """Count this emission for everybody who listens; those whom it reaches, with what they are given."""
        listeners, given = self._resolve(event, None, args, kwargs)
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

    def _not_made(self, one: Subscription) -> None:
        """One counted call will not be made."""
        one._queued -= 1
        if one._queued == 0:
            self._last_calls.pop(one, None)
        one._give_back()

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
