"""The consumer role: every partition has somebody who works on it, also after a hold, a stop, a take-over."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import msgspec
import pytest

from skerry import App, Command, Event, Record, Table, Unit
from skerry.backends.memory.journal import MemoryJournal
from skerry.backends.memory.transport import MemoryHub
from skerry.bus.outcomes import Receipt
from skerry.bus.pipeline import Proceed
from skerry.errors import Disconnected, OutcomeUnknown, Rejected
from skerry.journal.journal import Lease, Status
from skerry.kernel.kernel import Kernel
from skerry.kernel.settings import Settings
from skerry.messages.envelope import Envelope
from skerry.roles.consumer import ConsumerRole
from skerry.testing.clock import VirtualLoop, run_virtual, settle


class Number(msgspec.Struct, frozen=True):
    value: int


class Add(Command):
    key: str
    pause: float = 0.0


class Added(Event):
    key: str
    total: int


numbers = Table("numbers", key=str, row=Number)


class World:
    """One kernel on memory; consumer roles on it. `order`: keys in the order of being decided."""

    def __init__(self, stack: AsyncExitStack, journal: MemoryJournal, partitions: int) -> None:
        self.stack, self.journal = stack, journal
        self.order: list[str] = []
        self.at_work = 0
        self.most_at_work = 0
        self.app = App("consumers")
        self.reacted: list[int] = []
        self.settings = Settings(
            journal="memory:", transport="memory:", warm_start=False, partitions=partitions, drain=5.0
        )
        self.hub = MemoryHub()

        @self.app.handles(Add, loads=numbers, timeout_seconds=100)
        async def add(command: Add, unit: Unit) -> None:
            self.order.append(command.key)
            self.at_work += 1
            self.most_at_work = max(self.most_at_work, self.at_work)
            try:
                await asyncio.sleep(command.pause)
            finally:
                self.at_work -= 1
            row = unit.loaded(numbers, command.key) or Number(0)
            unit.put(numbers, command.key, Number(row.value + 1))
            unit.emit(Added(command.key, row.value + 1))

    async def open(self) -> None:
        transport = self.hub.endpoint("one")
        await transport.start()
        self.stack.push_async_callback(transport.stop)
        self.kernel = Kernel(
            self.app.declaration, self.settings, transport, self.journal, self.journal, name="one"
        )
        await self.journal.prepare(self.kernel.tables)
        await self.kernel.start_reading()
        self.stack.push_async_callback(self.kernel.stop_reading)

    def role(self, *, shared: bool = False) -> ConsumerRole:
        return ConsumerRole(self.kernel, shared=shared)

    async def add(self, key: str, pause: float = 0.0, wait: float = 5.0) -> Receipt:
        return await self.kernel.commands.send(Add(key, pause), wait_seconds=wait)


@asynccontextmanager
async def world(partitions: int = 1) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        journal = await stack.enter_async_context(MemoryJournal(clock=loop.clock))
        made = World(stack, journal, partitions)
        await made.open()
        yield made


def test_it_works_until_it_is_stopped() -> None:
    """Commands of all partitions are decided; afterwards none is, and nothing of it is left behind."""

    async def main() -> None:
        async with world(partitions=4) as here:
            role = here.role()
            await role.start()
            receipts = await asyncio.gather(*(here.add(f"k{n}") for n in range(20)))
            assert all(receipt.applied for receipt in receipts)
            await role.stop()
            assert role.consumers == {}
            with pytest.raises(OutcomeUnknown):
                await here.add("late", wait=1)
            assert [t.get_name() for t in asyncio.all_tasks() if "partition" in t.get_name()] == []

    run_virtual(main())


def test_a_batch_under_way_is_finished_at_a_stop() -> None:
    """What was taken is decided, committed and answered; only then does `stop` return."""

    async def main() -> None:
        async with world() as here:
            role = here.role()
            await role.start()
            waiting = asyncio.ensure_future(here.add("slow", pause=3.0))
            await asyncio.sleep(0.1)
            await role.stop()
            assert (await waiting).applied

    run_virtual(main())


def test_a_batch_that_takes_too_long_comes_again() -> None:
    """Longer than the drain time: the stop does not wait for ever; the next consumer gets the command, once."""

    async def main() -> None:
        async with world() as here:
            role = here.role()
            await role.start()
            waiting = asyncio.ensure_future(here.add("slow", pause=20.0, wait=30))
            await asyncio.sleep(0.1)
            before = asyncio.get_running_loop().time()
            await role.stop()
            assert asyncio.get_running_loop().time() - before < 7
            again = here.role()
            await again.start()
            assert (await waiting).applied
            assert (await here.journal.head()).position.offset == 1
            await again.stop()

    run_virtual(main())


@pytest.mark.parametrize("partitions", [1, 3])
def test_held_and_resumed(partitions: int) -> None:
    """While it is held nothing is decided; afterwards all of it is, in order."""

    async def main() -> None:
        async with world(partitions) as here:
            role = here.role()
            await role.start()
            await here.add("first")
            await role.hold()
            waiting = [asyncio.ensure_future(here.add("k", wait=30)) for _ in range(5)]
            await asyncio.sleep(2)
            assert here.order == ["first"]
            await role.resume()
            receipts = await asyncio.gather(*waiting)
            offsets = [receipt.position.offset for receipt in receipts if receipt.position]
            assert offsets == [2, 3, 4, 5, 6]
            await role.stop()

    run_virtual(main())


def test_held_before_it_has_begun() -> None:
    """A hold that comes right after the start counts too."""

    async def main() -> None:
        async with world() as here:
            role = here.role()
            await role.start()
            await role.hold()
            await asyncio.sleep(1)
            with pytest.raises(OutcomeUnknown):
                await here.add("k", wait=1)
            assert here.order == []
            await role.resume()
            assert (await here.add("k2")).applied
            await role.stop()

    run_virtual(main())


def test_resumed_while_the_last_batch_is_still_finishing() -> None:
    """The runtime recovers quicker than a batch ends: the partition must not be left without anybody."""

    async def main() -> None:
        async with world() as here:
            role = here.role()
            await role.start()
            slow = asyncio.ensure_future(here.add("slow", pause=3.0))
            await asyncio.sleep(0.1)
            await role.hold()
            await role.resume()
            assert (await slow).applied
            assert (await here.add("after")).applied
            assert here.most_at_work == 1
            await role.stop()

    run_virtual(main())


def test_it_can_be_started_again() -> None:
    """As a supervisor does after a failure: once, not twice on the same partition."""

    async def main() -> None:
        async with world(partitions=2) as here:
            role = here.role()
            for _ in range(3):
                await role.start()
                receipts = await asyncio.gather(*(here.add(f"k{n}", pause=0.1) for n in range(4)))
                assert all(receipt.applied for receipt in receipts)
                await role.stop()
            assert here.most_at_work <= 2

    run_virtual(main())


def test_two_consumers_divide_the_partitions() -> None:
    """On a shared journal: each partition has one at a time, all are worked on, and order per key holds."""

    async def main() -> None:
        async with world(partitions=4) as here:
            one, two = here.role(shared=True), here.role(shared=True)
            await one.start()
            await two.start()
            receipts = await asyncio.gather(*(here.add(f"k{n % 8}") for n in range(64)))
            assert all(receipt.applied for receipt in receipts)
            assert len(one.consumers) + len(two.consumers) == 4
            first, second = (one, two) if one.consumers else (two, one)
            await first.stop()
            await asyncio.sleep(here.settings.lease / 3)  # what was given back need not run out
            assert len(second.consumers) == 4
            receipts = await asyncio.gather(*(here.add(f"k{n % 8}") for n in range(64)))
            assert all(receipt.applied for receipt in receipts), "the other one has taken all over"
            await second.stop()

    run_virtual(main())


def test_a_lost_lease_ends_the_work_at_once() -> None:
    """Another owner has it: what this one wanted to write is refused, and it queues up for the lease again."""

    async def main() -> None:
        async with world() as here:
            role = here.role(shared=True)
            await role.start()
            await here.add("a")
            real = here.journal.acquire
            stolen = False

            async def acquire(name: str, owner: str, seconds: float) -> Lease | None:
                if stolen and name.startswith("partition"):
                    return None
                return await real(name, owner, seconds)

            here.journal.acquire = acquire  # type: ignore[method-assign]
            stolen = True
            await asyncio.sleep(here.settings.lease)
            assert role.consumers == {}
            stolen = False
            await asyncio.sleep(here.settings.lease * 2)
            assert (await here.add("b")).applied
            await role.stop()

    run_virtual(main())


def test_a_database_that_is_away_costs_no_lease() -> None:
    """Nobody else can take it meanwhile: the consumer goes on as soon as the database is back."""

    async def main() -> None:
        async with world() as here:
            role = here.role(shared=True)
            await role.start()
            await here.add("a")
            [consumer] = role.consumers.values()
            real = here.journal.acquire

            async def away(name: str, owner: str, seconds: float) -> Lease | None:
                raise Disconnected("away")

            here.journal.acquire = away  # type: ignore[method-assign]
            await asyncio.sleep(here.settings.lease * 0.8)
            here.journal.acquire = real  # type: ignore[method-assign]
            assert (await here.add("b")).applied
            assert list(role.consumers.values()) == [consumer]
            await role.stop()

    run_virtual(main())


def test_what_is_set_aside_and_what_hooks_raise_is_said(caplog: pytest.LogCaptureFixture) -> None:
    """A dead letter with its reason, an after-commit hook with its error: in the log, never silent."""

    async def main() -> None:
        async with world() as here:

            def broken() -> None:
                raise RuntimeError("hook is broken")

            async def hooked(command: Any, unit: Unit, proceed: Proceed) -> Any:
                if command.key == "bad":
                    raise ValueError("cannot be decided")
                unit.after_commit(broken)
                return await proceed(command, unit)

            here.app.middleware(hooked)
            role = here.role()
            await role.start()
            assert (await here.add("a")).applied
            assert (await here.add("bad")).status is Status.FAILED
            await settle()
            await role.stop()

    caplog.set_level(logging.ERROR)
    run_virtual(main())
    said = [r.getMessage() + (r.exc_text or "") for r in caplog.records]
    assert any("hook is broken" in text for text in said)
    assert any("became a dead letter: ValueError: cannot be decided" in text for text in said)


@pytest.mark.parametrize("key", ["\ud800", "a\x00b", "x" * 5000])
def test_a_command_that_cannot_even_be_set_aside_as_it_is(key: str) -> None:
    """Its key is no text that a database holds: it is set aside all the same, and the next ones go on."""

    async def main() -> None:
        async with world() as here:
            role = here.role()
            await role.start()
            sent = Envelope(
                "1" * 32, "add", 1, key, command=Add(key)
            )  # not by our bus, which refuses such a key
            await here.kernel.transport.send([sent], 0)
            assert (await here.add("next")).applied
            outcome = await here.journal.outcome(sent.id)
            assert outcome is not None
            assert outcome.status is Status.FAILED
            [letter] = await here.journal.dead_letters()
            assert letter.command_id == sent.id
            assert (await here.add("and on")).applied
            await role.stop()

    run_virtual(main())


@pytest.mark.parametrize("text", ["\ud800", "a\x00b"])
def test_a_reason_that_no_database_holds(text: str) -> None:
    """What a handler's error says may be any text: it is kept in a form that can be."""

    async def main() -> None:
        async with world() as here:

            async def refusing(command: Any, unit: Unit, proceed: Proceed) -> Any:
                if command.key == "rejected":
                    raise Rejected(text)
                if command.key == "failed":
                    raise ValueError(text)
                return await proceed(command, unit)

            here.app.middleware(refusing)
            role = here.role()
            await role.start()
            answers = await asyncio.gather(here.add("rejected"), here.add("failed"), here.add("fine"))
            assert [each.status for each in answers] == [Status.REJECTED, Status.FAILED, Status.APPLIED]
            await role.stop()

    run_virtual(main())


def test_reactors_run_where_commands_are_decided() -> None:
    """A declared reactor sees what was committed, with its services."""

    async def main() -> None:
        async with world() as here:
            seen: list[int] = []

            @here.app.reactor("tell", Added)
            def tell(event: Added, record: Record, kernel: Kernel) -> None:
                seen.append(event.total)

            role = here.role()
            await role.start()
            await settle()
            for _ in range(3):
                await here.add("a")
            await asyncio.sleep(3)
            assert seen == [1, 2, 3]
            await role.stop()

    run_virtual(main())
