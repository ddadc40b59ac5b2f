"""A process that ends, or hangs, at a named step of the consumer's work.

    # crashing.py, a target of a test: `skerry consumer crashing:app`
    from livekv.app import app
    from skerry.testing.faultpoints import install
    install()                          # does nothing unless SKERRY_FAULT is set

`SKERRY_FAULT=committed:3` kills the process (SIGKILL) when it comes to that step for the third time;
`committing:1:stop` stops it there (SIGSTOP), so that a test may let it go on later. The product has no hooks: the
opened transport and journal are wrapped, which is why this works on every backend and costs nothing elsewhere.
"""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from skerry.bus.transport import Commands, Delivery, Transport
from skerry.errors import SettingsError
from skerry.journal.hints import Hint
from skerry.journal.journal import Batch, JournalWriter, Lease, StoredRow, Writes
from skerry.roles import running
from skerry.roles.wiring import Made, Parts

VARIABLE = "SKERRY_FAULT"
STEPS = ("received", "claimed", "committing", "committed", "published", "acking")
"""Commands are taken; ids are claimed and rows loaded; all is decided, nothing written; it is durable; events are
told; about to acknowledge."""
ACTIONS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}

Place = tuple[str, str]


@dataclass(slots=True)
class FaultPoint:
    """Ends this process at the `count`th time that `step` is reached. `act` does it (a test may put its own)."""

    step: str
    count: int = 1
    action: str = "kill"
    act: Callable[[int], object] = lambda number: os.kill(os.getpid(), number)

    @classmethod
    def parse(cls, text: str) -> FaultPoint:
        """STEP, STEP:COUNT or STEP:COUNT:ACTION. Raises SettingsError."""
        step, _, rest = text.partition(":")
        count, _, action = rest.partition(":")
        count, action = count or "1", action or "kill"
        if step not in STEPS or not count.isdigit() or action not in ACTIONS:
            raise SettingsError(
                VARIABLE, f"{text!r} is not STEP[:COUNT[:kill|stop]], STEP one of {', '.join(STEPS)}"
            )
        return cls(step, int(count), action)

    def reach(self, step: str) -> None:
        """The process has come to `step`."""
        if step == self.step:
            self.count -= 1
            if self.count == 0:
                self.act(ACTIONS[self.action])


def install(environ: Mapping[str, str] = os.environ) -> None:
    """Let this process fail where `SKERRY_FAULT` says, from its start on. Raises SettingsError."""
    text = environ.get(VARIABLE, "")
    if not text:
        return
    point = FaultPoint.parse(text)
    room: Any = running
    opened = room.open_parts

    @asynccontextmanager
    async def faulty(*given: Any, made: Made = lambda parts: None, **named: Any) -> AsyncIterator[Parts]:
        async with opened(*given, made=lambda parts: made(wrapped(parts, point)), **named) as parts:
            yield wrapped(parts, point)

    room.open_parts = faulty


def wrapped(parts: Parts, point: FaultPoint) -> Parts:
    """The same parts with a fault in them; those of a process that decides nothing stay as they are."""
    if parts.writer is None:
        return parts
    transport: Any = _Transport(parts.transport, point)
    writer: Any = _Writer(parts.writer, point)
    return replace(parts, transport=transport, writer=writer)


class _Transport:
    def __init__(self, inner: Transport, point: FaultPoint) -> None:
        self._inner, self._point = inner, point

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def publish(self, hint: Hint) -> None:
        self._inner.publish(hint)
        if hint.last >= hint.first:  # no mere tip
            self._point.reach("published")

    async def commands(self, partition: int) -> _Commands:
        return _Commands(await self._inner.commands(partition), self._point)


class _Commands:
    def __init__(self, inner: Commands, point: FaultPoint) -> None:
        self._inner, self._point = inner, point

    async def receive(self, max_commands: int) -> list[Delivery]:
        deliveries = await self._inner.receive(max_commands)
        self._point.reach("received")
        return deliveries

    def ack(self, deliveries: Sequence[Delivery]) -> Awaitable[None]:
        self._point.reach("acking")
        return self._inner.ack(deliveries)

    def close(self) -> Awaitable[None]:
        return self._inner.close()


class _Writer:
    def __init__(self, inner: JournalWriter, point: FaultPoint) -> None:
        self._inner, self._point = inner, point

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    @asynccontextmanager
    async def batch(
        self, claims: Sequence[str], keys: Iterable[Place], lease: Lease | None = None, recall: bool = False
    ) -> AsyncIterator[tuple[_Batch, Mapping[Place, StoredRow]]]:
        async with self._inner.batch(claims, keys, lease, recall) as (batch, rows):
            self._point.reach("claimed")
            yield _Batch(batch, self._point), rows


class _Batch:
    def __init__(self, inner: Batch, point: FaultPoint) -> None:
        self._inner, self._point = inner, point

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def commit(self, writes: Writes) -> int:
        self._point.reach("committing")
        base = await self._inner.commit(writes)
        self._point.reach("committed")
        return base
