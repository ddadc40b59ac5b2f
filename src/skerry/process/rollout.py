"""Replacing: every child by a new process, or a single one, the old one ending when its successor works.

What operators wish for (replace all, stop, restart or add some) is done one after the other. Not here: how a process is
started and what happens when it ends (runner.py), the supervision of those that nobody replaces.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Protocol

from skerry.emitter import EventEmitter
from skerry.process.child import Child, Spec
from skerry.process.slot import Slot, Slots
from skerry.supervision.failure import Failure

LAST_SECONDS = 1.0
"""What one that has to end has at least: a consumer that is killed leaves its socket behind."""
TRIAL_SECONDS = 5.0
"""How long a successor that has decided nothing yet may be followed by its predecessor again."""


class ReplacingSettings(Protocol):
    """How long each step may take: see `RunnerSettings`."""

    @property
    def grace_seconds(self) -> float: ...
    @property
    def replaced_seconds(self) -> float: ...
    @property
    def ready_seconds(self) -> float: ...


class Starts(Protocol):
    """What a rollout needs of the runner: processes, and to be heard."""

    events: EventEmitter

    @property
    def settings(self) -> ReplacingSettings: ...
    @property
    def is_stopping(self) -> bool: ...
    def make(self, slot: Slot) -> Child: ...
    async def renew(self) -> None: ...
    async def open_slot(self, spec: Spec) -> Slot: ...
    def align(self, slot: Slot) -> None: ...
    async def end_child(self, child: Child, seconds: float) -> None: ...
    def on_end(self, slot: Slot, child: Child) -> None: ...
    def lost(self, failure: Failure) -> None: ...
    def own(self, work: Coroutine[object, object, object]) -> None: ...
    def say(self, text: str, level: str = "info") -> None: ...


class Rollout:
    """Replaces what is in `slots`. `halfway`: where the last replacement of all has stopped, in words, while that is
    so. Tells `rolling`, `rolled` (whether it went through), `replaced` (name), `recycled` (name, why) on the runner's
    `events`."""

    def __init__(self, runner: Starts, slots: Slots) -> None:
        self._runner, self._slots = runner, slots
        self.halfway = ""
        self._removed: dict[str, Slot] = {}
        """Slots that were scaled away: the supervisor may still hear of a failure there."""
        self._rolling = asyncio.Lock()
        self._asked = self._granted = 0
        self._went_through = False
        self._replaced: list[str] = []
        self._is_taken_back = False

    async def roll(self) -> bool:
        """Replace every child, one after the other, each when its successor works. False when a successor did not
        get ready: then the old ones that are left stay. What is wished for while it goes on is one more, together."""
        self._asked += 1
        wish = self._asked
        async with self._rolling:
            if wish > self._granted:  # else it was granted by one that has begun since
                self._granted = self._asked
                self._runner.events.emit("rolling")
                self._went_through = await self._replace_all()
                self._runner.events.emit("rolled", self._went_through)
            return self._went_through

    async def _replace_all(self) -> bool:
        self.halfway, self._replaced, self._is_taken_back = "", [], False
        await self._runner.renew()
        for stage in reversed(self._slots.stages):
            # Who stands by first: whoever of them takes over meanwhile runs the new code then.
            for slot in sorted(stage, key=lambda slot: slot.ready):
                if self._runner.is_stopping:
                    return False
                went_through = await self.replace(slot)
                if went_through:
                    self._replaced.append(slot.name)
                if not went_through or self._is_taken_back:
                    self._on_halfway()
                    return False
        self._runner.say("every process was replaced")
        return True

    def _on_halfway(self) -> None:
        """Say where it has stopped, and how to get out of there."""
        replaced = [slot.name for slot in self._slots if slot.name in self._replaced]
        left = [slot.name for slot in self._slots if slot.name not in replaced]
        if not replaced or not left or self._runner.is_stopping:
            self.halfway = ""
            return
        self.halfway = (
            f"the replacement stopped halfway: {', '.join(replaced)} new, {', '.join(left)} as before; mend the "
            "application and send SIGHUP to finish it, or put the old files back and send SIGHUP to take it back"
        )
        self._runner.say(self.halfway, "error")

    async def replace(self, slot: Slot) -> bool:
        """One child. The supervision of the present one goes on meanwhile, except that it is not restarted."""
        if slot.predecessor is not None:  # of the replacement before
            await slot.predecessor.end(self._runner.settings.grace_seconds)
        old = slot.child
        new = slot.successor = self._runner.make(slot)
        self._slots.extra.add(new)
        try:
            await new.start()
            state = await self._until(new, ("ready", "standby"), self._runner.settings.ready_seconds)
            if state not in ("ready", "standby") or self._runner.is_stopping:
                what = "does not start: it" if slot.is_stopped else "stays as it is: its successor"
                self._runner.say(f"{slot.name} {what} {self._why_not(new)}", "error")
                await new.end(1.0)
                return False
            if state == "standby" and old is not None and old.state == "ready":
                return await self._take_over(slot, old, new)
            self._promote(slot, new)
            if old is not None and old.exit_code is None:
                await self._runner.end_child(old, self._runner.settings.replaced_seconds)
            return await self._works(slot, new) and new.exit_code is None
        except OSError as error:
            self._slots.extra.discard(new)
            self._runner.say(f"{slot.name} cannot be replaced: {error}", "error")
            return False
        finally:
            slot.successor = None
            if slot.child is None and not slot.is_stopped and not self._runner.is_stopping:
                # The old one died meanwhile, and the new one never came up.
                self._runner.lost(slot.last_failure or new.failure())

    async def _take_over(self, slot: Slot, old: Child, new: Child) -> bool:
        """The new one waits for what the old one owns. The old one makes room but stays, and gets it back when the new
        one fails with it, until the new one has decided something."""
        old.make_room()
        if await self._until(old, ("standby",), self._runner.settings.replaced_seconds) != "standby":
            await self._runner.end_child(old, LAST_SECONDS)
        if old.exit_code is None:
            slot.predecessor = old
        self._promote(slot, new)
        if new.exit_code is not None:  # meanwhile
            self._runner.on_end(slot, new)
            return False
        if await self._works(slot, new):
            self._runner.own(self._let_go(old, new))
            return True
        if not self._runner.is_stopping:
            new.kill()
            await asyncio.wait({new.ended}, timeout=LAST_SECONDS)
        return False

    async def _works(self, slot: Slot, new: Child) -> bool:
        """Whether it gets ready, or another one of its kind gets what it waits for."""
        seconds = self._runner.settings.ready_seconds
        state = await self._until(new, ("ready",), seconds, lambda: self._slots.is_covered(slot))
        return state in ("ready", "standby")

    async def _let_go(self, old: Child, new: Child) -> None:
        """End one that stands by for its successor, when that has decided something, or has worked for a while."""
        deadline = time.monotonic() + TRIAL_SECONDS
        while new.exit_code is None and not new.decided and time.monotonic() < deadline:
            await asyncio.wait({new.ended, old.ended}, timeout=0.1, return_when=asyncio.FIRST_COMPLETED)
        if new.exit_code is None:
            await old.end(self._runner.settings.grace_seconds)

    def _promote(self, slot: Slot, new: Child) -> None:
        self._slots.promote(slot, new)
        self._runner.events.emit("replaced", slot.name)

    def _why_not(self, child: Child) -> str:
        if child.exit_code is not None:
            return child.why()
        return f"was not ready within {self._runner.settings.ready_seconds:g} s ({child.state})"

    async def _until(
        self,
        child: Child,
        states: tuple[str, ...],
        seconds: float,
        enough: Callable[[], bool] = lambda: False,
    ) -> str:
        """The child's state once it is one of these, or it ended, or that is enough, or the time is over."""
        try:
            async with asyncio.timeout(seconds):
                while not (child.state in states or child.exit_code is not None or enough()):
                    if self._runner.is_stopping:
                        break
                    await self._slots.change()
        except TimeoutError:
            pass
        return child.state if child.exit_code is None else "ended"

    def recall(self, slot: Slot, child: Child) -> bool:
        """Give the place back to the one before, if it still stands by and `child` has decided nothing."""
        before, slot.predecessor = slot.predecessor, None
        if before is None or before.exit_code is not None or before.asked_to_stop or child.decided:
            return False
        self._runner.say(
            f"{slot.name} {child.why()} before it had decided anything: the one before it works again",
            "error",
        )
        if slot.name in self._replaced:
            self._replaced.remove(slot.name)
            self._is_taken_back = True
            if not self._rolling.locked():
                self._on_halfway()
        self._slots.extra.discard(before)
        slot.child = before
        before.recall()
        return True

    # --- single ones

    async def stop_one(self, slot: Slot) -> None:
        """End one child; it is not started again before `restart_one` or `roll`."""
        async with self._rolling:
            if slot not in self._slots:
                return
            await self._empty(slot)
            self._runner.say(
                f"{slot.name} was stopped; a restart of it, or a replacement of all, starts it again"
            )

    async def recycle(self, slot: Slot, child: Child, reason: str) -> bool:
        """Replace a child that has used up what it may, unless it is not there any more."""
        async with self._rolling:
            if self._runner.is_stopping or slot.child is not child or child.asked_to_stop:
                return True
            self._runner.say(f"{slot.name} is replaced: {reason}")
            if not await self.replace(slot):
                return False
            slot.recycled += 1
            slot.recycled_for = reason
            self._count_as_new(slot)
            self._runner.events.emit("recycled", slot.name, reason)
            return True

    async def restart_one(self, slot: Slot) -> bool:
        """Replace one child as a roll does, or start one that was stopped. False when the new one did not get ready:
        then it is as it was."""
        async with self._rolling:
            if not self.halfway and slot.name in self._replaced:
                self._replaced.remove(slot.name)  # what becomes of it is no part of that replacement
            if self._runner.is_stopping or slot not in self._slots or not await self.replace(slot):
                return False
            self._runner.say(f"{slot.name} was restarted")
            self._count_as_new(slot)
            return True

    async def scale(self, role: str, specs: Sequence[Spec]) -> bool:
        """Have these children of that role and no others. New ones start one after the other, and the first that does
        not get ready is given up, with those that would follow; of those that are too many each finishes what it has
        under way."""
        async with self._rolling:
            if role not in self._slots.homes:
                self._slots.homes[role] = []
                self._slots.stages.append(self._slots.homes[role])
            home = self._slots.homes[role]
            for spec in specs:
                if self._runner.is_stopping:
                    return False
                if self._slots.find(spec.name) is None and not await self._add(home, spec):
                    return False
            wanted = {spec.name for spec in specs}
            surplus = [slot for slot in home if slot.spec.role == role and slot.name not in wanted]
            await asyncio.gather(*(self._remove(home, slot) for slot in surplus))
            return True

    async def _add(self, home: list[Slot], spec: Spec) -> bool:
        """Whether it works. Until it does its end is no failure of anything that runs."""
        slot = self._removed.pop(spec.name, None) or await self._runner.open_slot(spec)
        slot.spec, slot.last_failure = spec, None
        home.append(slot)
        self._runner.align(slot)
        if await self.replace(slot):
            self._runner.say(f"{slot.name} was added")
            self._count_as_new(slot)
            return True
        await self._remove(home, slot)
        return False

    async def _remove(self, home: list[Slot], slot: Slot) -> None:
        was_there = slot.child is not None
        await self._empty(slot)
        home.remove(slot)
        self._removed[slot.name] = slot
        if was_there:
            self._runner.say(f"{slot.name} was removed")

    async def _empty(self, slot: Slot) -> None:
        """End its process, and the one that stands by for it."""
        slot.is_stopped = True
        for child in (slot.predecessor, slot.child):
            if child is not None:
                await self._runner.end_child(child, self._runner.settings.replaced_seconds)

    def _count_as_new(self, slot: Slot) -> None:
        """It runs the new code, if a replacement has stopped halfway."""
        if self.halfway:
            self._replaced.append(slot.name)
            self._on_halfway()
