"""Reactors: at least once and in order, from a durable place, by one at a time; a bad event does not stop the rest."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from skerry.backends.memory.journal import MemoryJournal
from skerry.backends.memory.transport import MemoryHub
from skerry.errors import Disconnected
from skerry.journal.hints import tip
from skerry.journal.journal import DeadLetter, NewEvent, NewOutcome, Record, Status, Writes
from skerry.journal.reactor import REPLAY, RETRY, Reactor, ReactorRun
from skerry.messages.message import Event, MessageTypes
from skerry.messages.serializer import Serializer
from skerry.position import Position
from skerry.testing.clock import VirtualLoop, run_virtual


class Ordered(Event):
    key: str
    number: int


class Other(Event):
    key: str


class World:
    """A journal on memory and virtual time. `seen`: (time, number) of every try."""

    def __init__(self, stack: AsyncExitStack, journal: MemoryJournal, loop: VirtualLoop) -> None:
        self.stack, self.journal, self.loop = stack, journal, loop
        types = MessageTypes()
        types.add(Ordered)
        types.add(Other)
        self.serializer = Serializer(types)
        self.hub = MemoryHub().endpoint("one")
        self.count = 0
        self.seen: list[tuple[float, int]] = []
        self.told: list[tuple[Any, ...]] = []
        self.at_work = self.most_at_work = 0
        self.tasks: list[asyncio.Task[None]] = []

    @property
    def numbers(self) -> list[int]:
        return [number for _, number in self.seen]

    async def write(self, *numbers: int | None, tell: bool = True) -> None:
        """One commit of events; None is one of another kind."""
        writes = Writes()
        for number in numbers:
            self.count += 1
            event: Event = Other("a") if number is None else Ordered("a", number)
            id, data = f"{self.count:032x}", self.serializer.encode(event)
            writes.events.append(NewEvent(id, "a", event.message_name, 1, data, 1.0, False))
            writes.outcomes.append(NewOutcome(id, Status.APPLIED, len(writes.events), 1))
        async with self.journal.batch([o.command_id for o in writes.outcomes], []) as (batch, _):
            await batch.commit(writes)
        if tell:
            self.hub.publish(tip((await self.journal.head()).position))

    def react(self, body: Callable[[Ordered], Awaitable[None] | None] | None = None) -> Any:
        async def react(event: Ordered, record: Record) -> None:
            self.seen.append((self.loop.time(), event.number))
            self.at_work += 1
            self.most_at_work = max(self.most_at_work, self.at_work)
            try:
                result = body(event) if body is not None else None
                if result is not None:
                    await result
            finally:
                self.at_work -= 1

        return react

    def run(self, reactor: Reactor, *, owner: str = "me", shared: bool = True) -> asyncio.Task[None]:
        self.made(reactor, owner=owner, shared=shared)
        return self.tasks[-1]

    def made(self, reactor: Reactor, *, owner: str = "me", shared: bool = True, **options: Any) -> ReactorRun:
        """Like `run`; what runs."""
        run = ReactorRun(
            reactor,
            reactor.react,
            self.journal,
            self.hub,
            self.serializer,
            owner,
            shared,
            clock=self.loop.clock,
            **options,
        )
        for name in ("reacted", "retrying", "gave_up", "waiting"):
            run.emitter.on(name, lambda *args, name=name: self.told.append((name, *args)))
        self.tasks.append(asyncio.create_task(run.run()))
        return run

    async def end(self, task: asyncio.Task[None]) -> None:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    async def cursor(self) -> int | None:
        found = await self.journal.cursor("mail")
        return None if found is None else found.offset


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    async with AsyncExitStack() as stack:
        journal = await stack.enter_async_context(MemoryJournal(clock=loop.clock))
        await journal.prepare([])
        made = World(stack, journal, loop)
        await made.hub.start()
        stack.push_async_callback(made.hub.stop)
        yield made
        for task in made.tasks:
            task.cancel()
        await asyncio.gather(*made.tasks, return_exceptions=True)


def mail(here: World, body: Any = None, **options: Any) -> Reactor:
    return replace(Reactor("mail", here.react(body), (Ordered,), begin="start"), **options)


def proves(test: Callable[[World], Awaitable[None]]) -> Callable[[], None]:
    """Run the test in a world of its own, in virtual time."""

    def run() -> None:
        async def main() -> None:
            async with world() as here:
                await test(here)

        run_virtual(main())

    run.__doc__, run.__name__ = test.__doc__, test.__name__
    return run


@proves
async def test_events_in_order_and_at_once(here: World) -> None:
    """Its own kinds only, in journal order, within a moment after the commit was told."""
    await here.write(1, None, 2)
    here.run(mail(here))
    await asyncio.sleep(0.1)
    assert here.numbers == [1, 2]
    await here.write(3)
    await asyncio.sleep(0.1)
    assert here.numbers == [1, 2, 3]
    assert await here.cursor() == 4


@proves
async def test_a_lost_hint_costs_a_second(here: World) -> None:
    """Nobody told it: it looks by itself."""
    here.run(mail(here))
    await asyncio.sleep(0.1)
    await here.write(1, tell=False)
    await asyncio.sleep(2)
    assert here.numbers == [1]


@proves
async def test_a_new_one_begins_where_it_says(here: World) -> None:
    """ "now": what comes from then on; "start": everything that the journal still has."""
    await here.write(1, 2)
    here.run(mail(here, begin="now"))
    await asyncio.sleep(0.1)
    await here.write(3)
    await asyncio.sleep(0.1)
    assert here.numbers == [3]
    await here.end(here.tasks[0])
    await here.journal.forget("mail")
    await here.journal.trim(Position((await here.journal.head()).position.epoch, 1))
    here.seen.clear()
    here.run(mail(here, begin="start"))
    await asyncio.sleep(0.1)
    assert here.numbers == [2, 3]


@proves
async def test_it_goes_on_where_it_was(here: World) -> None:
    """After a stop nothing is done again and nothing is left out; also what came meanwhile is done."""
    task = here.run(mail(here))
    await here.write(1, 2)
    await asyncio.sleep(0.1)
    await here.end(task)
    await here.write(3, 4)
    here.run(mail(here))
    await asyncio.sleep(0.1)
    assert here.numbers == [1, 2, 3, 4]


@proves
async def test_what_was_not_finished_is_done_again(here: World) -> None:
    """Ended in the middle of a try: at least once means this one comes again, and only this one."""

    async def slow(event: Ordered) -> None:
        if event.number == 2:
            await asyncio.sleep(10)

    task = here.run(mail(here, slow))
    await here.write(1, 2, 3)
    await asyncio.sleep(5)
    await here.end(task)
    here.run(mail(here, slow))
    await asyncio.sleep(20)
    assert here.numbers == [1, 2, 2, 3]


@proves
async def test_failures_are_tried_again_with_growing_pauses(here: World) -> None:
    """Later events wait: order holds. Each try is told."""

    def twice(event: Ordered) -> None:
        if here.numbers.count(1) <= 3 and event.number == 1:
            raise OSError("the mail server is away")

    here.run(mail(here, twice, first_pause=1.0, longest_pause=60.0))
    await here.write(1, 2)
    await asyncio.sleep(60)
    assert here.numbers == [1, 1, 1, 1, 2]
    times = [time for time, number in here.seen if number == 1]
    pauses = [b - a for a, b in pairwise(times)]
    assert all(0.5 * 2**n <= pause <= 1.0 * 2**n + 0.01 for n, pause in enumerate(pauses)), pauses
    assert [each[0] for each in here.told if each[0] == "retrying"] == ["retrying"] * 3


@proves
async def test_a_bad_event_is_put_aside(here: World) -> None:
    """After its attempts it is a dead letter with its bytes and reason; the rest goes on."""

    def bad(event: Ordered) -> None:
        if event.number == 1:
            raise ValueError("no such address \x00\ud800")

    here.run(mail(here, bad, attempts=3, first_pause=0.1))
    await here.write(1, 2)
    await asyncio.sleep(5)
    assert here.numbers == [1, 1, 1, 2]
    [letter] = await here.journal.dead_letters()
    assert (letter.command_id, letter.name, letter.attempts) == ("reactor-mail-1", "ordered", 3)
    assert letter.reason == "reactor mail: ValueError: no such address \\0\\ud800"
    assert letter.body == b'{"key":"a","number":1}'
    assert "Traceback" in letter.details
    assert await here.cursor() == 2


@proves
async def test_zero_attempts_are_for_ever(here: World) -> None:
    """Some things must not be left out: then the rest waits."""

    def bad(event: Ordered) -> None:
        raise ValueError("no")

    here.run(mail(here, bad, attempts=0, first_pause=1, longest_pause=1))
    await here.write(1, 2)
    await asyncio.sleep(100)
    assert set(here.numbers) == {1}
    assert len(here.numbers) > 90
    assert await here.journal.dead_letters() == []


@proves
async def test_an_event_that_cannot_be_read_is_put_aside_at_once(here: World) -> None:
    """Its form does not fit: trying again would not help."""
    writes = Writes(events=[NewEvent("f" * 32, "a", "ordered", 1, b'{"key":1}', 1.0, False)])
    writes.outcomes.append(NewOutcome("f" * 32, Status.APPLIED, 1, 1))
    async with here.journal.batch(["f" * 32], []) as (batch, _):
        await batch.commit(writes)
    here.run(mail(here))
    await here.write(2)
    await asyncio.sleep(1)
    assert here.numbers == [2]
    [letter] = await here.journal.dead_letters()
    assert letter.attempts == 1


@proves
async def test_a_try_has_a_deadline(here: World) -> None:
    """One that hangs is a failure like another."""

    async def hangs(event: Ordered) -> None:
        if event.number == 1:
            await asyncio.Event().wait()

    here.run(mail(here, hangs, attempts=2, timeout_seconds=3.0, first_pause=0.1))
    await here.write(1, 2)
    await asyncio.sleep(7)
    assert here.numbers == [1, 1, 2]
    assert len(await here.journal.dead_letters()) == 1


@proves
async def test_it_goes_back_where_an_operator_wants(here: World) -> None:
    """While it works, and while it waits for something new: it sees everything after that place again, once, and the
    journal is held for it until it does."""
    here.run(mail(here, begin="start"))
    await here.write(1, 2, 3)
    await asyncio.sleep(10)
    head = (await here.journal.head()).position
    await here.journal.advance("mail" + REPLAY, Position(head.epoch, 1))
    assert {(reader.name, reader.position.offset) for reader in await here.journal.readers()} == {
        ("mail", 3),
        ("mail" + REPLAY, 1),
    }
    await here.write(4)
    await asyncio.sleep(10)
    assert here.numbers in ([1, 2, 3, 4, 2, 3, 4], [1, 2, 3, 2, 3, 4])
    assert [reader.name for reader in await here.journal.readers()] == ["mail"]
    assert await here.cursor() == 4
    await here.journal.advance("mail" + REPLAY, Position("a lost history", 0))
    await asyncio.sleep(10)
    assert here.numbers[-1] == 4, "a place of another history is no place to begin from"
    assert [reader.name for reader in await here.journal.readers()] == ["mail"]


@proves
async def test_a_letter_that_is_marked_is_tried_again(here: World) -> None:
    """An operator mended what it calls and asks for another try: it leaves when that worked, else it stays."""
    broken = True

    def bad(event: Ordered) -> None:
        if broken and event.number == 1:
            raise ValueError("no")

    here.run(mail(here, bad, attempts=1))
    await here.write(1, 2)
    await asyncio.sleep(1)
    [letter] = await here.journal.dead_letters()
    await asyncio.sleep(30)
    assert here.numbers == [1, 2], "nobody asked"
    await here.journal.bury(replace(letter, headers={**letter.headers, RETRY: "1"}))
    await asyncio.sleep(10)
    assert here.numbers == [1, 2, 1]
    [letter] = await here.journal.dead_letters()
    assert (letter.attempts, RETRY in letter.headers) == (2, False)
    broken = False
    await here.journal.bury(replace(letter, headers={**letter.headers, RETRY: "1"}))
    await asyncio.sleep(10)
    assert here.numbers == [1, 2, 1, 1]
    assert await here.journal.dead_letters() == []


@proves
async def test_one_process_at_a_time(here: World) -> None:
    """The second one waits; it takes over when the first is gone, and does nothing twice."""
    first = here.run(mail(here), owner="first")
    await asyncio.sleep(0.1)
    here.run(mail(here), owner="second")
    await here.write(1, 2)
    await asyncio.sleep(30)
    assert here.numbers == [1, 2]
    assert ("waiting", "mail") in here.told
    await here.end(first)
    await here.write(3)
    await asyncio.sleep(10)
    assert here.numbers == [1, 2, 3]


@proves
async def test_a_slow_try_keeps_the_lease(here: World) -> None:
    """A reaction that takes longer than a lease is still one at a time."""

    async def slow(event: Ordered) -> None:
        await asyncio.sleep(50)

    here.run(mail(here, slow, timeout_seconds=100), owner="first")
    await asyncio.sleep(0.1)
    here.run(mail(here, slow, timeout_seconds=100), owner="second")
    await here.write(1, 2)
    await asyncio.sleep(120)
    assert here.numbers == [1, 2]
    assert here.most_at_work == 1


@proves
async def test_a_lost_lease_ends_the_try(here: World) -> None:
    """This process was away too long and another one took over: what it is at is not brought to an end here."""

    async def slow(event: Ordered) -> None:
        await asyncio.sleep(50)

    here.run(mail(here, slow, timeout_seconds=100), owner="first")
    await here.write(1)
    await asyncio.sleep(1)
    held = here.journal._leases["reactor:mail"]
    here.journal._leases["reactor:mail"] = type(held)("second", held.fence + 1, held.until + 1000)
    await asyncio.sleep(20)
    assert here.at_work == 0
    assert await here.cursor() == 0


@proves
async def test_a_database_that_is_away(here: World) -> None:
    """It waits, with pauses, and goes on by itself."""
    real, away = here.journal.read, True

    async def read(after: int, limit: int) -> Any:
        if away:
            raise Disconnected("away")
        return await real(after, limit)

    here.journal.read = read  # type: ignore[method-assign]
    task = here.run(mail(here))
    await here.write(1)
    await asyncio.sleep(60)
    assert here.numbers == []
    assert not task.done()
    away = False
    await asyncio.sleep(11)
    assert here.numbers == [1]


@proves
async def test_a_restored_journal(here: World) -> None:
    """A new epoch: it goes on at the same place, as far as the restored journal reaches."""
    here.run(mail(here))
    await here.write(1, 2)
    await asyncio.sleep(0.1)
    await here.journal.new_epoch()
    await here.write(3)
    await asyncio.sleep(2)
    assert here.numbers == [1, 2, 3]


@proves
async def test_a_listener_of_its_news_that_fails_is_no_failed_try(here: World) -> None:
    """What was done is done: not again because somebody could not hear of it."""
    run = ReactorRun(
        mail(here), here.react(), here.journal, here.hub, here.serializer, "me", False, clock=here.loop.clock
    )
    run.emitter.on_error = lambda error, event: here.told.append((error, event))

    def broken(*args: object) -> None:
        raise RuntimeError("listener")

    run.emitter.on("reacted", broken)
    here.tasks.append(asyncio.create_task(run.run()))
    await here.write(1, 2)
    await asyncio.sleep(5)
    assert here.numbers == [1, 2]
    assert len(here.told) == 2


@proves
async def test_alone_on_its_journal_it_needs_no_lease(here: World) -> None:
    """An embedded journal has one consumer: no writes for a lease."""
    task = here.run(mail(here), shared=False)
    await here.write(1)
    await asyncio.sleep(0.1)
    assert here.numbers == [1]
    assert here.journal._leases == {}
    await here.end(task)


async def write_keys(here: World, *events: tuple[str, int]) -> None:
    """One commit of events of these keys."""
    writes = Writes()
    for key, number in events:
        here.count += 1
        id, data = f"{here.count:032x}", here.serializer.encode(Ordered(key, number))
        writes.events.append(NewEvent(id, key, "ordered", 1, data, 1.0, False))
        writes.outcomes.append(NewOutcome(id, Status.APPLIED, len(writes.events), 1))
    async with here.journal.batch([o.command_id for o in writes.outcomes], []) as (batch, _):
        await batch.commit(writes)
    here.hub.publish(tip((await here.journal.head()).position))


@proves
async def test_a_bad_event_parks_its_key_and_no_other(here: World) -> None:
    """Later events of its key wait behind it, in order; others go on at once, also ones that come later. The cursor
    stands before it, and the run tells which event of which key it is; when it works everything catches up."""
    broken = True

    def bad(event: Ordered) -> None:
        if broken and event.number == 1:
            raise ValueError("a secret address")

    run = here.made(mail(here, bad, attempts=0, first_pause=1.0, longest_pause=4.0))
    await write_keys(here, ("a", 1), ("b", 2), ("a", 3), ("c", 4))
    await asyncio.sleep(0.2)
    assert here.numbers == [1, 2, 4]
    await write_keys(here, ("b", 5), ("a", 6))
    await asyncio.sleep(0.2)
    assert [n for n in here.numbers if n != 1] == [2, 4, 5]
    assert (await here.cursor(), run.behind) == (0, 6)
    [parked] = run.parked.values()
    assert (parked.key, parked.offset) == ("a", 1)
    assert "secret" not in " ".join(run.told())
    broken = False
    await asyncio.sleep(5)
    assert here.numbers[-3:] == [1, 3, 6]
    assert (await here.cursor(), run.behind, run.parked) == (6, 0, {})


@proves
async def test_concurrency_keeps_the_order_of_a_key(here: World) -> None:
    """So many keys at a time and no more; the events of one in order."""

    async def slow(event: Ordered) -> None:
        await asyncio.sleep(1.0)

    here.run(mail(here, slow, concurrency=3))
    await write_keys(here, *((key, n) for n, key in enumerate("abcdaab")))
    await asyncio.sleep(10)
    assert here.most_at_work == 3
    assert sorted(here.numbers) == list(range(7))
    times = {number: time for time, number in here.seen}
    assert times[0] < times[4] < times[5]
    assert times[1] < times[6]
    assert await here.cursor() == 7


@proves
async def test_the_cursor_is_stored_now_and_then(here: World) -> None:
    """Not with each event: a thousand quick ones cost a few statements; an ordered stop stores all that is done."""
    stored: list[int] = []
    advance = here.journal.advance

    async def counted(subscriber: str, position: Position) -> None:
        stored.append(position.offset)
        await advance(subscriber, position)

    here.journal.advance = counted  # type: ignore[method-assign]
    task = here.run(mail(here))
    await here.write(*range(1000))
    await asyncio.sleep(0.5)
    assert len(here.numbers) == 1000
    assert len(stored) < 10
    await here.write(1)
    await asyncio.sleep(0.01)
    await here.end(task)
    assert stored[-1] == 1001


@proves
async def test_what_waits_is_bounded(here: World) -> None:
    """Behind a key that is parked for long no more than so many events are kept; then reading waits too."""

    def bad(event: Ordered) -> None:
        raise ValueError("no")

    run = here.made(mail(here, bad, attempts=0, first_pause=1.0, longest_pause=1.0), most_waiting=10)
    await write_keys(here, *(("a", n) for n in range(50)))
    await asyncio.sleep(30)
    assert set(here.numbers) == {0}
    assert run._read_to == 10


@proves
async def test_one_event_that_is_done_makes_room_for_another(here: World) -> None:
    """Where as many wait as may, reading goes on with each event that is processed, not with the end of its key."""
    bad = {0: 1, 1: 1_000}

    def mostly_bad(event: Ordered) -> None:
        if bad.get(event.number, 0):
            bad[event.number] -= 1
            raise ValueError("not yet")

    here.made(mail(here, mostly_bad, attempts=0, first_pause=1.0, longest_pause=1.0), most_waiting=2)
    await write_keys(here, ("a", 0), ("a", 1), ("b", 2))
    await asyncio.sleep(10)
    assert 2 in here.numbers


@proves
async def test_a_letter_that_cannot_be_stored_ends_the_wait_for_room(here: World) -> None:
    """Where as many wait as may, a database that is away for a moment does not stop the reactor for ever."""

    def bad(event: Ordered) -> None:
        raise ValueError("no")

    bury, away = here.journal.bury, [Disconnected("away")]

    async def bury_later(letter: DeadLetter) -> None:
        if away:
            raise away.pop()
        await bury(letter)

    here.journal.bury = bury_later  # type: ignore[method-assign]
    here.made(mail(here, bad, attempts=2, first_pause=1.0, longest_pause=1.0), most_waiting=2)
    await write_keys(here, *(("a", n) for n in range(4)))
    await asyncio.sleep(60)
    assert [letter.key for letter in await here.journal.dead_letters()] == ["a"] * 4
    assert await here.cursor() == 4
