"""The line to a runner or a parent process that processes of these tests have."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from skerry.loop.blocked import Outside
from skerry.supervision.failure import Failure


class Control:
    """The line to a runner, as a process sees it: what is said is kept in `told`, what is asked is answered "all"."""

    def __init__(self) -> None:
        self.gauges: Callable[[], dict[str, float | str]] = dict
        self.metrics: Callable[[], str] = str
        self.findings: Callable[[], dict[str, list[str]]] = dict
        self.on_yield: Callable[[], None] = lambda: None
        self.on_recall: Callable[[], None] = lambda: None
        self.looked: Outside | None = None
        self.on_ask: Callable[[str], Awaitable[str]]
        self.told: list[Any] = []
        self.is_ready = asyncio.Event()
        self.is_waiting = asyncio.Event()
        self.stop: Callable[[float], None] | None = None

    async def start(self, stop: Callable[[float], None]) -> None:
        self.stop = stop

    def ready(self) -> None:
        self.told.append("ready")
        self.is_ready.set()

    def state(self, name: str, reasons: list[str] | None = None) -> None:
        self.told.append(name)
        self.is_waiting.set()

    def failure(self, failure: Failure, *, fatal: bool = False) -> None:
        self.told.append((failure.message, fatal))

    async def all_metrics(self, seconds: float = 2.0) -> str:
        return "all"

    async def close(self) -> None:
        self.told.append("closed")
