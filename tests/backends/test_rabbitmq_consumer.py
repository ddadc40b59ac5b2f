"""A consumer's doubt about itself, by what the broker says of its queue."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from skerry.backends.rabbitmq import consumer
from skerry.backends.rabbitmq.consumer import UNLED_BEATS, RabbitCommands
from skerry.testing.clock import VirtualClock

Depth = tuple[int, int] | None


async def doubts(monkeypatch: pytest.MonkeyPatch, *said: Depth) -> list[str | None]:
    """What a consumer thinks of itself at each beat, where the broker says that of its queue."""
    answers = list(said)

    async def depth(channel: Any, queue: str, seconds: float) -> Depth:
        return answers.pop(0)

    monkeypatch.setattr(consumer, "depth", depth)
    link: Any = SimpleNamespace()
    commands = RabbitCommands(link, link, "q", None, VirtualClock(), lambda closed: None)
    return [await commands.doubt(1.0) for _ in said]


async def test_a_queue_that_counts_nobody_is_doubt_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages wait and nobody is counted, or the queue is gone: this consumer is none any more."""
    well, nobody, gone = await doubts(monkeypatch, (0, 1), (3, 0), None)
    assert well is None
    assert nobody == "queue q counts no consumer"
    assert gone == "queue q is gone"


async def test_a_queue_without_a_leader_is_given_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """No messages and no consumers is what a broker says of a queue whose leader is silent: it has some beats to get
    another one, since a connection made meanwhile would wait for the silent broker too. Longer, it is doubt."""
    found = await doubts(monkeypatch, *[(0, 0)] * UNLED_BEATS, (0, 2), *[(0, 0)] * (UNLED_BEATS + 1))
    assert found == [None] * (2 * UNLED_BEATS + 1) + ["queue q counts no consumer"]
