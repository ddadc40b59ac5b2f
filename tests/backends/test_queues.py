"""What a consumer takes of a queue within a process."""

from __future__ import annotations

import pytest

from skerry.backends.queues import Consumer, Message, Queue
from skerry.messages.envelope import Envelope


def message(commands: int) -> Message:
    return Message([Envelope(f"{n:032x}", "add", 1, "k") for n in range(commands)], lambda: None)


@pytest.mark.parametrize(
    ("waiting", "most", "taken"),
    [([1, 1, 1], 2, [1, 1]), ([5, 1], 2, [5]), ([1, 5], 2, [1]), ([2, 2, 1], 4, [2, 2]), ([], 2, [])],
)
def test_as_many_commands_as_are_asked_for_or_one_message(
    waiting: list[int], most: int, taken: list[int]
) -> None:
    """Messages are not divided: one that is larger comes alone."""
    queue = Queue()
    consumer = Consumer(queue, lambda: None)
    for commands in waiting:
        queue.put(message(commands))
    assert [found.commands for _, found in consumer.take(most)] == taken
