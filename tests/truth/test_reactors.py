"""A reactor can be watched, and a bad event parks its key only: on every pair of backends."""

from __future__ import annotations

import asyncio
from typing import Any

from pairworld import Pair, until  # type: ignore[import-not-found]

from skerry import App, Command, Event, Unit
from skerry.clock import SystemClock


class Order(Command):
    key: str
    n: int


class Ordered(Event):
    key: str
    n: int


class Held(SystemClock):
    """On it every pause lasts until it is let go."""

    def __init__(self) -> None:
        self.go = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        await self.go.wait()


async def test_a_parked_key_is_told_and_others_go_on(pair: Pair) -> None:
    """Metrics, readiness and the letter tell of an event that fails, and what it said is in none of them; the others
    are done meanwhile; given up, it counts where the alert looks."""
    app = App("reacting")
    done: list[int] = []
    failed: list[int] = []

    @app.handles(Order)
    def order(command: Order, unit: Unit) -> None:
        unit.emit(Ordered(command.key, command.n))

    @app.reactor("hook", Ordered, begin="start", attempts=2)
    def hook(event: Ordered) -> None:
        if event.n == 1:
            failed.append(event.n)
            raise RuntimeError("a secret address")
        done.append(event.n)

    async with pair.process(app, "one", decides=True) as process:
        kernel, client, clock = process.kernel, process.client, Held()
        kernel.reactors[0].clock = clock
        for key, n in (("a", 1), ("b", 2), ("a", 3), ("b", 4)):
            assert (await kernel.commands.send(Order(key, n), wait_seconds=20.0)).applied
        await until(lambda: done == [2, 4] and bool(kernel.reactors[0].parked))
        ready = await client.get("/health/ready")
        assert ready.status == 200
        assert "reactor hook: event 1 was tried 1 times (RuntimeError); its key waits" in ready.text
        assert "secret" not in ready.text
        metrics = (await client.get("/metrics")).text
        assert 'skerry_reactor_parked_keys{reactor="hook"} 1.0' in metrics
        assert 'skerry_reactor_retries_total{reactor="hook"} 1.0' in metrics
        clock.go.set()
        await until(lambda: done == [2, 4, 3])
        writer: Any = kernel.writer
        await until(lambda: kernel.reactors[0].behind == 0)
        assert (await writer.cursor("hook")).offset == 4
        metrics = (await client.get("/metrics")).text
        for line in ("given_up_total", "working"):
            assert f'skerry_reactor_{line}{{reactor="hook"}} 1.0' in metrics
        assert 'skerry_reactor_offset{reactor="hook"} 4.0' in metrics
        assert len(failed) == 2
