"""Reports exceptions that reach asyncio's exception handler to the supervisor."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Any

logger = logging.getLogger("skerry.runtime")


class LoopExceptionHandler:
    """The exception handler of the running asyncio loop between `install` and `restore`. Exceptions go to
    `report(component, error)`; other messages are logged under `owner`."""

    def __init__(self, owner: str, report: Callable[[str, BaseException], object]) -> None:
        self._owner, self._report = owner, report
        self._before: Callable[[asyncio.AbstractEventLoop, dict[str, Any]], object] | None = None

    def install(self) -> None:
        """Stand in for the handler that is there."""
        running = asyncio.get_running_loop()
        self._before = running.get_exception_handler()
        running.set_exception_handler(self._told)

    def restore(self) -> None:
        """Put the handler back that was there."""
        asyncio.get_running_loop().set_exception_handler(self._before)

    def _told(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        source = context.get("task") or context.get("future") or context.get("handle") or "asyncio"
        if isinstance(error, Exception):
            self._report(called(source), error)
        else:
            logger.error("%s: %s", self._owner, context.get("message"))


def called(source: object) -> str:
    """The name of a task or callback in messages."""
    if isinstance(source, asyncio.Task):
        return source.get_name()
    if isinstance(source, partial):
        return called(source.func)
    return getattr(source, "__qualname__", None) or repr(source)[:80]
