"""A place for one child: who is in it now, who is to follow, and its history. A child of the supervision. And all
places together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence

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


class Slots:
    """All places, by the stage in which they end, and every process that there is. `extra`: those that are to replace
    others, or were replaced."""

    def __init__(self, stages: Sequence[Sequence[Slot]]) -> None:
        self.stages = [list(stage) for stage in stages]
        self.homes = {slot.spec.role: stage for stage in self.stages for slot in stage}
        self.extra: set[Child] = set()
        self._changed = asyncio.Event()

    def __iter__(self) -> Iterator[Slot]:
        return (slot for stage in self.stages for slot in stage)

    def __len__(self) -> int:
        return sum(map(len, self.stages))

    def __getitem__(self, number: int) -> Slot:
        return list(self)[number]

    def find(self, name: str) -> Slot | None:
        return next((slot for slot in self if slot.name == name), None)

    def children(self) -> list[Child]:
        """Every process, those that are to replace others or were replaced included."""
        current = [slot.child for slot in self if slot.child is not None]
        return [*current, *self.extra]

    def is_covered(self, slot: Slot) -> bool:
        """Whether it stands by for another child of its kind, which works."""
        return slot.state == "standby" and any(
            each.ready for each in self if each.spec.role == slot.spec.role and each is not slot
        )

    def promote(self, slot: Slot, new: Child) -> None:
        """Let a process that was to replace another one take its place."""
        self.extra.discard(new)
        if slot.child is not None:
            self.extra.add(slot.child)
        slot.child = new
        slot.is_stopped = False
        if new.state == "ready":
            slot.budget.ever_ready = True

    def note_change(self) -> None:
        """The state of some process is another one."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def change(self) -> None:
        """Wait until the state of any process has changed."""
        await self._changed.wait()
