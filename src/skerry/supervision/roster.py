"""The children of one supervisor, in the order of starting; each starts and stops within a time.

Not here: who is started again, and when (`supervisor`, as `policy` decides).
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

from skerry.errors import DeadlineExceeded
from skerry.supervision.children import Child
from skerry.supervision.failure import SupervisionError
from skerry.supervision.policy import RestartBudget

logger = logging.getLogger("skerry.supervision")


@dataclass(slots=True)
class Supervised:
    """A child, the way to make it anew, what restarts it has left; `generation` counts its starts."""

    child: Child
    make: Callable[[], Child] | None
    budget: RestartBudget
    generation: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Roster:
    """Children by name. `owner` is named in errors; `timeout_seconds` bounds each start and each stop."""

    def __init__(self, owner: str, timeout_seconds: float) -> None:
        self._owner, self.timeout_seconds = owner, timeout_seconds
        self._children: dict[str, Supervised] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """In the order of starting."""
        return tuple(self._children)

    def __contains__(self, name: str) -> bool:
        return name in self._children

    def __iter__(self) -> Iterator[Supervised]:
        return iter(list(self._children.values()))

    def add(self, one: Supervised) -> None:
        """One more, after the others."""
        self._children[one.child.name] = one

    def find(self, name: str) -> Supervised | None:
        """The child of that name, if there is one."""
        return self._children.get(name)

    def get(self, name: str) -> Supervised:
        """The child of that name. SupervisionError when there is none."""
        try:
            return self._children[name]
        except KeyError:
            known = ", ".join(self._children) or "none"
            raise SupervisionError(f"{self._owner} has no child {name!r}; its children: {known}") from None

    def forget(self, name: str) -> None:
        """Take a child out."""
        del self._children[name]

    async def start(self, one: Supervised) -> None:
        """Start a child. DeadlineExceeded when that takes too long."""
        one.generation += 1
        await self._bounded(one.child.start(), f"starting {one.child.name}")

    async def stop(self, one: Supervised) -> None:
        """Stop a child; an error or a hang on the way is a failure of its own, and does not keep others."""
        try:
            await self._bounded(one.child.stop(), f"stopping {one.child.name}")
        except Exception as error:
            logger.error("%s did not stop cleanly", one.child.name, exc_info=error)

    async def _bounded(self, work: Awaitable[object] | object, what: str) -> None:
        if inspect.isawaitable(work):
            try:
                async with asyncio.timeout(self.timeout_seconds) as scope:
                    await work
            except TimeoutError as error:
                if scope.expired():
                    raise DeadlineExceeded(what, self.timeout_seconds) from error
                raise
