"""Fault points: each step is reached where its name says, and nothing is wrapped where nothing was asked for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from livekv.app import app
from livekv.messages import PutValue
from skerry.backends.memory.journal import MemoryJournal
from skerry.backends.memory.transport import MemoryHub
from skerry.errors import SettingsError
from skerry.kernel.kernel import Kernel
from skerry.kernel.settings import Settings
from skerry.roles import running
from skerry.roles.consumer import ConsumerRole
from skerry.roles.wiring import Parts
from skerry.testing.faultpoints import ACTIONS, STEPS, FaultPoint, install, wrapped

SETTINGS = Settings(journal="memory:", transport="memory:", warm_start=False)


class Died(BaseException):
    """What stands for SIGKILL here."""


@asynccontextmanager
async def deciding(point: FaultPoint) -> AsyncIterator[tuple[Kernel, MemoryJournal]]:
    """livekv with a consumer in which `point` waits."""
    async with MemoryJournal() as journal:
        transport = MemoryHub().endpoint("test")
        await transport.start()
        parts = wrapped(Parts(transport, journal, journal), point)
        kernel = Kernel(app.declaration, SETTINGS, parts.transport, parts.reader, parts.writer, name="test")
        consumer = ConsumerRole(kernel)
        await consumer.start()
        await kernel.start_reading()
        try:
            yield kernel, journal
        finally:
            await kernel.stop_reading()
            await consumer.stop()
            await transport.stop()


@pytest.mark.parametrize(("step", "durable"), list(zip(STEPS, (0, 0, 0, 1, 1, 1), strict=True)))
async def test_a_step_is_reached_where_it_says(step: str, durable: int) -> None:
    """Of two commands, one by one, the second one reaches the step; what is durable then is what the name promises."""
    seen: list[tuple[int, int]] = []
    point = FaultPoint(step, 2)
    async with deciding(point) as (kernel, journal):
        point.act = lambda number: seen.append((number, journal._position.offset))
        await kernel.commands.send(PutValue("a", "1"))
        assert seen == []
        await kernel.commands.send(PutValue("b", "2"))
    assert seen == [(ACTIONS["kill"], 1 + durable)]


@pytest.mark.parametrize("text", ["nowhere", "committed:x", "committed:1:sleep", ":1"])
def test_a_wrong_fault_is_said(text: str) -> None:
    """A test that asks for a step that does not exist must not pass by nothing happening."""
    with pytest.raises(SettingsError, match="SKERRY_FAULT"):
        install({"SKERRY_FAULT": text})


def test_what_a_text_means() -> None:
    """Count and action have defaults."""
    assert FaultPoint.parse("acking") == FaultPoint("acking", 1, "kill", FaultPoint("acking").act)
    found = FaultPoint.parse("committing:3:stop")
    assert (found.step, found.count, found.action) == ("committing", 3, "stop")


async def test_nothing_is_wrapped_unless_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the variable nothing is touched; with it, processes that decide nothing keep their parts."""
    room: Any = running
    before = room.open_parts
    install({})
    assert room.open_parts is before
    monkeypatch.setattr(room, "open_parts", before)  # undone after the test
    install({"SKERRY_FAULT": "committed"})
    assert room.open_parts is not before
    async with MemoryJournal() as journal:
        parts = Parts(MemoryHub().endpoint("x"), journal, None)
        assert wrapped(parts, FaultPoint("committed")) is parts
