"""Consumers divide the partitions: evenly, without anybody who decides it, and at once when one goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from livekv.app import app
from livekv.messages import PutValue
from skerry.backends.memory.journal import MemoryJournal
from skerry.backends.memory.transport import MemoryHub
from skerry.bus.transport import Announcement
from skerry.kernel.kernel import Kernel
from skerry.kernel.settings import Settings
from skerry.roles.consumer import ConsumerRole
from skerry.roles.partition_balance import LEFT_TO_OTHERS, SHARING, ConsumerStatus, PartitionBalance
from skerry.testing.clock import VirtualClock, VirtualLoop, run_virtual

PARTITIONS = 4
SETTINGS = Settings(journal="memory:", transport="memory:", warm_start=False, partitions=PARTITIONS)
LEASE = SETTINGS.lease
MOVED = LEASE * 4
"""Seconds after which everything has moved, with a margin."""


class World:
    def __init__(self, journal: MemoryJournal, hub: MemoryHub, stack: AsyncExitStack) -> None:
        self.journal, self._hub, self._stack = journal, hub, stack
        self.kernels: list[Kernel] = []

    async def consumer(self) -> ConsumerRole:
        """One more, at work; the first one's kernel sends commands too."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        name = f"consumer-{len(self.kernels) + 1}"
        endpoint = self._hub.endpoint(name)
        await endpoint.start()
        self._stack.push_async_callback(endpoint.stop)
        kernel = Kernel(
            app.declaration, SETTINGS, endpoint, self.journal, self.journal, clock=loop.clock, name=name
        )
        await self.journal.prepare(kernel.tables)
        await kernel.start_reading()
        self._stack.push_async_callback(kernel.stop_reading)
        self.kernels.append(kernel)
        role = ConsumerRole(kernel, shared=True)
        await role.start()
        self._stack.push_async_callback(role.stop)
        return role


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    async with MemoryJournal(clock=loop.clock) as journal, AsyncExitStack() as stack:
        yield World(journal, MemoryHub(), stack)


def held(*roles: ConsumerRole) -> list[int]:
    return sorted(len(role.consumers) for role in roles)


def test_each_gets_its_share_and_gives_up_what_is_more() -> None:
    """The first one has all; a second and a third get theirs; order and effect of what is written meanwhile hold."""

    async def main() -> None:
        async with world() as here:
            first = await here.consumer()
            await asyncio.sleep(1)
            assert held(first) == [4]
            second = await here.consumer()
            for number in range(40):
                await asyncio.sleep(MOVED / 40)
                assert (await here.kernels[0].commands.send(PutValue(f"k{number}", "1"))).applied
            assert held(first, second) == [2, 2]
            third = await here.consumer()
            await asyncio.sleep(MOVED)
            assert held(first, second, third) == [1, 1, 2]
            assert (await here.journal.head()).position.offset == 40

    run_virtual(main())


def test_one_that_stops_is_followed_at_once() -> None:
    """Not after the pause in which others look for free partitions: it says that it gave them back."""

    async def main() -> None:
        async with world() as here:
            first, second = await here.consumer(), await here.consumer()
            await asyncio.sleep(MOVED)
            assert held(first, second) == [2, 2]
            await second.stop()
            await asyncio.sleep(0.01)
            assert held(first, second) == [0, 4]

    run_virtual(main())


def test_strange_words_are_passed_over() -> None:
    """An announcement of another version, or of another topic, changes nothing."""

    async def main() -> None:
        async with world() as here:
            first = await here.consumer()
            await asyncio.sleep(1)
            for said in (b"", b"{}", b'["x"]', b"\xff"):
                here.kernels[0].transport.announce(Announcement(SHARING, said))
            here.kernels[0].transport.announce(Announcement("other", b""))
            await asyncio.sleep(MOVED)
            assert held(first) == [4]
            assert first.sharing.others == {}

    run_virtual(main())


# --- the decision alone


def sharing(clock: VirtualClock, **others: int) -> PartitionBalance:
    made = PartitionBalance("me", 5.0, clock)
    for owner, count in others.items():
        made.heard(ConsumerStatus(owner, 1, count))
    return made


def test_a_free_partition_is_left_to_those_with_fewer_for_a_while() -> None:
    """They may not be able to take it, so in the end it is taken all the same."""
    one = sharing(VirtualClock(), a=0, b=3)
    assert [one.may_take(0, 1) for _ in range(LEFT_TO_OTHERS + 1)] == [False] * LEFT_TO_OTHERS + [True]
    assert one.may_take(1, 0)
    assert sharing(VirtualClock()).may_take(0, 3)


def test_who_is_silent_or_goodbye_does_not_count() -> None:
    """Else partitions would be left to the dead."""
    clock = VirtualClock()
    one = sharing(clock, a=0, b=2)
    one.heard(ConsumerStatus("a", 1, -1))
    assert one.others == {"b": 2}
    clock.jump(5.1)
    assert one.others == {}
    one.heard(ConsumerStatus("me", 1, 9))
    assert one.others == {}


def test_the_one_with_most_gives_up_down_to_its_share() -> None:
    """One at a time, so that not all give up the same; never for a difference of one."""
    assert sharing(VirtualClock(), a=0).gives_up(8) == 4
    assert sharing(VirtualClock(), a=0, b=0).gives_up(4) == 2
    assert sharing(VirtualClock(), a=1).gives_up(2) == 0
    assert sharing(VirtualClock(), a=0, b=5).gives_up(4) == 0
    assert sharing(VirtualClock(), a=0, z=2).gives_up(2) == 0
    assert sharing(VirtualClock(), a=2, z=0).gives_up(2) == 1


def test_giving_up_in_vain_becomes_rarer() -> None:
    """Somebody who says that it has none and takes none does not keep partitions moving."""
    clock = VirtualClock()
    one = sharing(clock)
    gave = []
    for second in range(300):
        one.heard(ConsumerStatus("a", 1, 0))
        if one.gives_up(2):
            gave.append(second)
        clock.jump(1)
    assert gave == [0, 5, 15, 35, 75, 135, 195, 255]
