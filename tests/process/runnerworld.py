"""A runner over real children that do nothing but what a test wants of them."""

from __future__ import annotations

import asyncio
import io
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from skerry.process.child import Spec
from skerry.process.output import Output
from skerry.process.restarts import RestartSettings
from skerry.process.runner import Runner, RunnerSettings
from skerry.supervision.policy import Intensity

PROGRAM = Path(__file__).with_name("child_program.py")


def spec(name: str, kind: str, *more: str) -> Spec:
    return Spec(name, kind, [sys.executable, str(PROGRAM), kind, *more])


class World:
    """A runner over some children, and what it wrote."""

    def __init__(
        self,
        *stages: list[Spec],
        hang_seconds: float = 10.0,
        grace_seconds: float = 4.0,
        replaced_seconds: float = 30.0,
        as_json: bool = False,
    ) -> None:
        self.text = io.StringIO()
        self.output = Output(self.text, as_json=as_json)
        restarts = RestartSettings(Intensity(5, 60.0), 2, first_pause=0.01, longest_pause=0.02)
        self.runner = Runner(
            stages,
            self.output,
            RunnerSettings(restarts, grace_seconds, replaced_seconds, hang_seconds, ready_seconds=90.0),
        )
        self.events: list[tuple[object, ...]] = []
        for event in ("started", "ready", "ended", "all_ready", "replaced", "rolled", "recycled"):
            self.runner.events.on(event, lambda *values, event=event: self.note(event, *values))
        self._noted = asyncio.Event()

    def note(self, *event: object) -> None:
        self.events.append(event)
        self._noted.set()

    async def until(self, ready: Callable[[], bool], seconds: float = 90.0) -> None:
        """Wait for something that the runner's events bring about."""
        async with asyncio.timeout(seconds):
            while not ready():
                self._noted.clear()
                await self._noted.wait()

    def count(self, event: str, name: str = "") -> int:
        return sum(1 for e in self.events if e[0] == event and (not name or e[1] == name))

    def pid(self, name: str) -> int:
        [child] = [slot.child for slot in self.runner.slots if slot.name == name]
        assert child is not None
        return child.pid

    def written(self) -> str:
        self.output.close()
        return self.text.getvalue()


@asynccontextmanager
async def running(world: World) -> AsyncIterator[asyncio.Task[int]]:
    task = asyncio.create_task(world.runner.run())
    try:
        yield task
    finally:
        world.runner.stop()
        await asyncio.wait_for(task, 60)
        for slot in world.runner.slots:
            assert slot.child is None or slot.child.exit_code is not None


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False
