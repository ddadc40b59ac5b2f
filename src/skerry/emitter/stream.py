"""Emissions as something to wait for: the next one, or all from now on in a bounded queue.

Not here: calling listeners; what waits is a listener like any other.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Generic, Literal, TypeVar, cast

from skerry.emitter.listeners import Listeners, Name, short
from skerry.errors import DeadlineExceeded, EmitterError

Overflow = Literal["drop_oldest", "drop_newest", "error"]
E = TypeVar("E")


class Arguments(tuple[Any, ...]):
    """What one emission carried: the tuple of its positional arguments, with `kwargs` beside it."""

    kwargs: dict[str, Any]

    @classmethod
    def of(cls, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
        made = cls(args)
        made.kwargs = kwargs
        return made


async def arrival(emitter: Listeners, event: Name, timeout: float | None) -> Any:
    """What the next emission of `event` carries. DeadlineExceeded after `timeout` seconds."""
    arrived: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def settle(*args: Any, **kwargs: Any) -> None:
        _wake(arrived, _payload(event, args, kwargs))

    with emitter.once(event, settle):
        try:
            async with asyncio.timeout(timeout):
                return await arrived
        except TimeoutError:
            raise DeadlineExceeded(f"waiting for {short(event)}", timeout or 0.0) from None


class EventStream(Generic[E]):
    """`async for` over the emissions of one event; ends when closed. `async with` closes it."""

    def __init__(self, emitter: Listeners, event: Any, maxsize: int, overflow: Overflow) -> None:
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
                    f"the stream of {short(self.event)} holds {self.maxsize} emissions already"
                )
            if self.overflow == "drop_newest":
                return
            self._waiting.popleft()
        self._waiting.append(cast(E, _payload(self.event, args, kwargs)))
        if self._fetcher is not None:
            _wake(self._fetcher, None)

    def close(self) -> None:
        """Take no more; what waits can still be fetched, then the iteration ends."""
        self._closed = True
        self._subscription.cancel()
        if self._fetcher is not None:
            _wake(self._fetcher, None)

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


def _wake(waiting: asyncio.Future[Any], result: Any) -> None:
    """Complete a future, in the thread of its loop, whichever thread emits."""
    loop = waiting.get_loop()
    if _is_running(loop):
        _complete(waiting, result)
    elif not loop.is_closed():
        loop.call_soon_threadsafe(_complete, waiting, result)


def _complete(waiting: asyncio.Future[Any], result: Any) -> None:
    if not waiting.done():
        waiting.set_result(result)


def _is_running(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:  # no loop runs in this thread
        return False


def _payload(event: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What waiting for `event` yields: the instance for a class, else all that was passed."""
    return (
        args[0] if isinstance(event, type) and len(args) == 1 and not kwargs else Arguments.of(args, kwargs)
    )
