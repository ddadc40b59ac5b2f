"""Queues of a namespace that nobody works on under these settings: of another generation, or beyond the partitions.

They are what a change of the number of partitions leaves behind. Not here: deleting them (operations.py).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from skerry.backends.rabbitmq.link import Link
from skerry.backends.rabbitmq.settings import RabbitSettings
from skerry.backends.rabbitmq.topology import Topology, depth

MAX_PARTITIONS = 1024
_GENERATIONS_BACK = 32


@dataclass(frozen=True, slots=True)
class OldQueue:
    """One such queue. `messages`: those that no consumer has been given."""

    name: str
    generation: int
    messages: int
    consumers: int
    wanted: RabbitSettings

    @property
    def is_idle(self) -> bool:
        """Whether nothing is lost and nobody disturbed when it goes."""
        return not self.messages and not self.consumers

    def __str__(self) -> str:
        differs = "partitions" if self.generation == self.wanted.generation else "generation"
        what = f"queue {self.name} exists, but {differs} = {getattr(self.wanted, differs)}"
        if self.is_idle:
            return f"{what}: it is empty and unused, `skerry infra tidy` deletes it"
        if self.consumers:
            return f"{what}: {self.consumers} consumers of other settings are connected to it"
        return (
            f"{what}: it holds {self.messages} messages that nobody works on; run a consumer with the former "
            "partitions and generation until it is empty"
        )


async def old_queues(link: Link, settings: RabbitSettings) -> list[OldQueue]:
    """All of them, the oldest generation first. Raises what aiormq raises (see `calling`)."""
    found = []
    oldest = max(1, settings.generation - _GENERATIONS_BACK)
    for generation in range(oldest, settings.generation + 2):
        topology = Topology(replace(settings, generation=generation))
        first = settings.partitions if generation == settings.generation else 0
        for number in range(first, MAX_PARTITIONS):
            name = topology.partition(number).name
            held = await depth(await link.loose_channel(), name, settings.connect_seconds)
            if held is None:
                break
            found.append(OldQueue(name, generation, *held, settings))
    return found
