"""The node that stands in for tarsnode: how often it starts what dies."""

from __future__ import annotations

import time
from pathlib import Path

from skerry.testing.tars.node import FakeNode, StartLimit, configuration_for


def test_ten_starts_in_a_minute_then_one_in_ten_minutes() -> None:
    """Until somebody orders one."""
    limit = StartLimit()
    limit.note(0.0, ordered=True)
    for number in range(1, 10):
        assert limit.allows(number)
        limit.note(float(number))
    assert not limit.allows(10.0)
    assert not limit.allows(608.9)
    assert limit.allows(609.0)
    limit.note(609.0)
    assert not limit.allows(700.0)
    limit.note(700.0, ordered=True)
    assert limit.allows(701.0)


def test_starts_that_lie_far_apart_are_not_limited() -> None:
    """Nine of them in any minute."""
    limit = StartLimit()
    for number in range(100):
        assert limit.allows(number * 7.0)
        limit.note(number * 7.0)


async def test_what_dies_at_once_is_not_started_for_ever(tmp_path: Path) -> None:
    """The node gives up for the time being, and starts it again when it is told to."""
    configuration = configuration_for("PyServer", ["HelloObj"])
    async with FakeNode(tmp_path, configuration, ["true"]) as node:
        await node.start()
        for _ in range(8):  # as if it had died that often
            node.limit.note(time.monotonic())
        await node.until(lambda: node.limit.reached)
        assert not node.limit.allows(time.monotonic())
        assert len(node.starts) <= 2
        await node.start()
        assert not node.limit.reached
