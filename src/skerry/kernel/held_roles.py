"""Roles that take nothing new while the process is being mended.

Not here: when they are held, and what is mended meanwhile (`runtime`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Iterable

from skerry.kernel.role import Role
from skerry.supervision.supervisor import Supervisor

logger = logging.getLogger("skerry.runtime")


class HeldRoles:
    """Tells roles to hold and to resume, each within `seconds`; one that fails or hangs at that does not keep the
    others. `owner` is named in the log; `supervisor` knows which of them were started anew."""

    def __init__(self, owner: str, supervisor: Supervisor, seconds: float) -> None:
        self._owner, self._supervisor, self._seconds = owner, supervisor, seconds
        self._held: list[tuple[Role, int]] = []

    async def hold(self, roles: Iterable[Role]) -> None:
        """Tell every role that is still supervised to take nothing new, the last one first."""
        self._held = []
        for role in reversed(list(roles)):
            if self._supervisor.has(role.name):
                self._held.append((role, self._supervisor.generation(role.name)))
                await self._bounded(role.hold(), f"{role.name} hold")

    async def resume(self) -> None:
        """Tell those that were held to go on, the first one first; not one that was started anew or destroyed since."""
        for role, generation in reversed(self._held):
            if self._supervisor.has(role.name) and self._supervisor.generation(role.name) == generation:
                await self._bounded(role.resume(), f"{role.name} resume")

    async def _bounded(self, work: Awaitable[object], what: str) -> None:
        try:
            async with asyncio.timeout(self._seconds):
                await work
        except Exception as error:
            logger.error("%s: %s failed or took too long", self._owner, what, exc_info=error)
