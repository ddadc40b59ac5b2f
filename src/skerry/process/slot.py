"""A place for one child: who is in it now, who is to follow, and its history. A child of the supervision."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from skerry.process.child import Child, Spec
from skerry.process.restarts import ProcessBudget
from skerry.supervision.failure import Failure


class Slot:
    """`spawn(slot)` starts a process in it. `successor`: the process that is to replace the present one. `predecessor`:
    the one that has made room for it, and stands by until the present one has decided something."""

    def __init__(
        self, spec: Spec, budget: ProcessBudget, spawn: Callable[[Slot], Awaitable[None]], stop_seconds: float
    ) -> None:
        self.spec, self.budget = spec, budget
        self._spawn, self._stop_seconds = spawn, stop_seconds
        self.child: Child | None = None
        self.successor: Child | None = None
        self.predecessor: Child | None = None
        self.last_failure: Failure | None = None
        self.starts = 0
        self.recycled = 0
        self.recycled_for = ""
        """How often its process was replaced for what it had used, and why the last time."""
        self.given_up = False
        self.is_crash_looping = False
        """Whether it has been restarted more often than it may be."""
        self.is_stopped = False
        """Whether an operator wants nothing in it, for now."""

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def restarts(self) -> int:
        return max(0, self.starts - 1)

    @property
    def ready(self) -> bool:
        return self.child is not None and self.child.state == "ready"

    @property
    def state(self) -> str:
        if self.child is not None:
            return self.child.state
        if self.is_stopped:
            return "stopped"
        if self.is_crash_looping:
            return "crash looping"
        return "given up" if self.given_up else "waiting to restart"

    async def start(self) -> None:
        """Start a process. Raises OSError when the system refuses."""
        self.starts += 1
        await self._spawn(self)

    async def stop(self) -> None:
        """End the process that is in it, if any."""
        if self.child is not None:
            await self.child.end(self._stop_seconds)
