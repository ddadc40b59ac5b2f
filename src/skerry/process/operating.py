"""Carries out what an operator orders of a runner: settings are read again, names and numbers are checked, and the
runner does the rest.

Not here: the socket over which orders come (control.py), how children are replaced (runner.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

import msgspec

from skerry.errors import SettingsError
from skerry.process.child import Spec
from skerry.process.orders import AnyOrder, Outcome, Reload, Restart, Scale, Stop, orders
from skerry.process.runner import Runner


class Operator:
    """`environment()`: what new children are given, from the settings as they are in their files now; it raises
    SettingsError. `specs(role, count)`: so many of a role, with what they are given now; it raises SettingsError for a
    number that cannot be."""

    def __init__(
        self,
        runner: Runner,
        environment: Callable[[], Mapping[str, str]],
        specs: Callable[[str, int], Sequence[Spec]],
    ) -> None:
        self._runner, self._environment, self._specs = runner, environment, specs
        self._obeying: set[asyncio.Task[Outcome]] = set()

    async def act(self, order: AnyOrder, tell: Callable[[str], None]) -> Outcome:
        """Carry it out; `tell` hears what the runner says meanwhile."""
        with self._runner.events.on("said", tell):
            try:
                return await self._act(order)
            except SettingsError as error:
                return Outcome(2, str(error))

    async def obey(self, text: bytes) -> tuple[int, str]:
        """Carry out an order that came as JSON, to its end, also when its client leaves; its outcome's code
        and text. Raises ValueError for what is no order."""
        try:
            order = orders.decode(text)
        except msgspec.MsgspecError as error:
            raise ValueError(f"no such order: {error}") from error
        task = asyncio.create_task(self.act(order, lambda text: None), name="skerry-order")
        self._obeying.add(task)
        task.add_done_callback(self._obeying.discard)
        outcome = await asyncio.shield(task)
        return outcome.code, outcome.text

    async def roll_and_say(self) -> None:
        """Read the settings again and replace every child with one that has them; with a wrong setting nothing is
        replaced, and that is said in the log."""
        try:
            self._runner.equip(self._environment())
        except SettingsError as error:
            self._runner.say(f"nothing is replaced: {error}", "error")
        else:
            await self._runner.rollout.roll()

    def roll_beside(self) -> None:
        """The same, without waiting."""
        self._runner.own(self.roll_and_say())

    async def _act(self, order: AnyOrder) -> Outcome:
        runner = self._runner
        match order:
            case Reload(wait):
                runner.equip(self._environment())
                runner.say("replacing every process")
                if not wait:
                    runner.own(runner.rollout.roll())
                    return Outcome(0, "every process is being replaced; --wait tells how it went")
                if await runner.rollout.roll():
                    return Outcome(0, "done")
                return Outcome(1, runner.rollout.halfway or "nothing was replaced; everything runs as before")
            case Scale(role, count):
                if await runner.rollout.scale(role, self._specs(role, count)):
                    return Outcome(0, f"{role}: {count}")
                return Outcome(1, f"a new {role} did not get ready; those that were there stay")
            case Stop(name) | Restart(name):
                slot = runner.slots.find(name)
                if slot is None:
                    names = ", ".join(each.name for each in runner.slots)
                    return Outcome(2, f"there is no process {name!r}; there are {names}")
                if isinstance(order, Stop):
                    await runner.rollout.stop_one(slot)
                    return Outcome(0, "done")
                if await runner.rollout.restart_one(slot):
                    return Outcome(0, "done")
                return Outcome(1, f"{name} was not restarted; it is {slot.state}, as before")
