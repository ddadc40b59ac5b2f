"""Commands that wait: unknown ones and those behind them, and what a handler holds; in the order in which they came."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import pytest

from skerry.backends.memory.journal import MemoryJournal
from skerry.backends.memory.transport import MemoryHub
from skerry.bus.bus import CommandIds, command_id_for
from skerry.bus.consumer import Consumer
from skerry.bus.decider import Decider
from skerry.bus.handlers import Handler, Handlers
from skerry.bus.waiting import envelope_of
from skerry.journal.journal import WAITS, Status
from skerry.journal.unit import Unit
from skerry.messages.envelope import Envelope
from skerry.messages.message import Command, Event, MessageTypes
from skerry.messages.serializer import Serializer
from skerry.testing.clock import VirtualClock


class Note(Command):
    key: str
    text: str = ""


class Newer(Command):
    """What the next release decides."""

    key: str


class Noted(Event):
    key: str
    text: str


class Note2(Command):
    message_name = "note"
    message_version: ClassVar[int] = 2
    key: str
    text: str = ""


class Bench:
    """A journal and a queue in memory, and consumers of two releases."""

    def __init__(self, journal: MemoryJournal, clock: VirtualClock, hold: bool) -> None:
        self.journal, self.clock, self.hold = journal, clock, hold
        self.hub = MemoryHub()
        self.transport = self.hub.endpoint("one")
        self.ids = CommandIds()
        self.told: list[tuple[str, str]] = []
        self.sent = 0

    def consumer(self, *, newer: bool = False) -> Consumer:
        def note(command: Command, unit: Unit) -> None:
            text = getattr(command, "text", "newer")
            if text == "bad":
                raise RuntimeError("not this one")
            unit.emit(Noted(command.routing_key(), text))

        handlers, types = Handlers(), MessageTypes()
        for kind in (Note2, Newer) if newer else (Note,):
            types.add(kind)
            handlers.add_command(Handler(kind, note, hold=self.hold))
        decider = Decider(handlers.commands, [], Serializer(types), lambda kind: None)
        consumer = Consumer(self.transport, self.journal, decider, clock=self.clock)
        for event in ("dead", "waiting"):
            consumer.events.on(
                event, lambda letter, event=event: self.told.append((event, letter.command_id))
            )
        return consumer

    @asynccontextmanager
    async def working(self, *, newer: bool = False) -> AsyncIterator[Consumer]:
        consumer = self.consumer(newer=newer)
        task = asyncio.create_task(consumer.run())
        try:
            yield consumer
        finally:
            await consumer.stop()
            await asyncio.wait_for(task, 30)

    async def send(
        self, key: str, text: str = "", *, id: str = "", name: str = "note", version: int = 1
    ) -> str:
        """Send one; it is decided, or kept as a letter, when this returns."""
        self.sent += 1
        body = f'{{"key":"{key}","text":"{text}"}}'.encode()
        sent = Envelope(id or self.ids.new(self.sent), name, version, key, body=body)
        await self.transport.send([sent], 0)
        return sent.id

    async def retry(self, id: str) -> None:
        """As `skerry dead retry`."""
        letter = await self.journal.dead_letter(id)
        assert letter is not None
        await self.journal.exhume(id)
        await self.transport.send([envelope_of(letter)], 0)

    async def texts(self, key: str) -> list[str]:
        records = await self.journal.read(0, 1000)
        return [bytes(r.data).decode().partition('"text":"')[2][:-2] for r in records if r.key == key]

    async def status(self, id: str) -> str:
        """What became of it: an outcome, or that it waits."""
        outcome, letter = await self.journal.outcome(id), await self.journal.dead_letter(id)
        if letter is not None and WAITS in letter.headers:
            assert outcome is None
            return "waits"
        return "nothing" if outcome is None else outcome.status.value


@asynccontextmanager
async def bench(hold: bool = False) -> AsyncIterator[Bench]:
    clock = VirtualClock()
    async with MemoryJournal(clock=clock) as journal:
        await journal.prepare([])
        one = Bench(journal, clock, hold)
        await one.transport.start()
        try:
            yield one
        finally:
            await one.transport.stop()


EARLY = "0" * 31 + "1"
LATE = "f" * 32


@pytest.mark.parametrize(
    ("first", "second"),
    [("", ""), (command_id_for("k1"), ""), (LATE, EARLY), (EARLY, LATE), ("", EARLY)],
    ids=["plain", "keyed and plain", "ids backwards", "ids forwards", "a slow clock"],
)
async def test_hold_holds_whatever_the_ids_say(first: str, second: str) -> None:
    """After a failure no later command of the key is applied, however many letters there are; others are."""
    async with bench(hold=True) as b, b.working():
        for number in range(1200):
            await b.journal.bury(envelope_letter(number))
        bad = await b.send("a", "bad", id=first)
        later = await b.send("a", "later", id=second)
        assert await b.status(later) == "failed"
        letter = await b.journal.dead_letter(later)
        assert letter is not None
        assert bad in letter.reason
        await b.send("b", "other")
        assert (await b.texts("a"), await b.texts("b")) == ([], ["other"])


def envelope_letter(number: int) -> Any:
    from skerry.journal.journal import DeadLetter

    return DeadLetter(f"{number:032x}"[::-1], "note", 1, f"old-{number}", b"{}", "of another key")


async def test_letters_cost_nothing_where_nothing_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Letters that lie about are not looked at for every batch."""
    async with bench() as b:
        looks: list[object] = []
        first_letters = b.journal.first_letters

        async def counted(keys: Any) -> Any:
            looks.append(keys)
            return await first_letters(keys)

        monkeypatch.setattr(b.journal, "first_letters", counted)
        await b.journal.bury(envelope_letter(1))
        async with b.working():
            await b.send("a", "bad")
            await b.send("a", "fine")
            assert (await b.texts("a"), looks) == (["fine"], [])


async def test_hold_within_one_message() -> None:
    """Commands that are decided in one batch are held as those of later ones are."""
    async with bench(hold=True) as b, b.working():
        pack = [
            Envelope(id, "note", 1, key, body=f'{{"key":"{key}","text":"{text}"}}'.encode())
            for id, key, text in ((LATE, "a", "bad"), (EARLY, "a", "later"), ("2" * 32, "b", "fine"))
        ]
        await b.transport.send(pack, 0)
        assert (await b.texts("a"), await b.texts("b")) == ([], ["fine"])


async def test_letters_are_retried_in_their_order() -> None:
    """One that fails again keeps its place, and those behind it stay held; mended, all are applied in order."""
    async with bench(hold=True) as b, b.working():
        ids = [await b.send("a", text, id=id) for text, id in (("bad", LATE), ("2", EARLY), ("3", "5" * 32))]
        for letter in await b.journal.letters():
            await b.retry(letter.command_id)
        assert [head.command_id for head in await b.journal.letters()] == ids
        assert await b.texts("a") == []

        await b.journal.exhume(ids[0])  # dropped
        for letter in await b.journal.letters():
            await b.retry(letter.command_id)
        assert await b.texts("a") == ["2", "3"]
        assert await b.journal.letters() == []


async def test_an_unknown_command_waits_and_its_key_with_it() -> None:
    """An unknown name, and a newer version: neither is a dead letter; other keys go on; a consumer that knows them
    decides everything in order."""
    async with bench() as b:
        async with b.working() as old:
            first = await b.send("a", "1")
            waits = [
                await b.send("a", name="newer"),
                await b.send("a", "2"),
                await b.send("a", "3", version=2),
            ]
            version = await b.send("b", "4", version=2)
            assert await b.status(first) == "applied"
            assert [await b.status(id) for id in (*waits, version)] == ["waits"] * 4
            await b.send("c", "other")
            assert (await b.texts("a"), await b.texts("b"), await b.texts("c")) == (["1"], [], ["other"])
            assert old.wants == {("newer", 1), ("note", 2)}
            assert await b.send("a", id=waits[0], name="newer") == waits[0]  # sent again: nothing changes
            await old.settle()
            assert (old.waiting, await b.texts("a")) == (4, ["1"])
            assert {event for event, _ in b.told} == {"waiting"}
        async with b.working(newer=True) as new:
            assert new.waiting == 0
            await b.send("a", "last", version=2)
            assert await b.texts("a") == ["1", "newer", "2", "3", "last"]
            assert await b.texts("b") == ["4"]
            assert await b.journal.letters() == []


async def test_what_nobody_knows_is_a_dead_letter_after_ten_minutes() -> None:
    """Then its key goes on: what waited behind it is decided."""
    async with bench() as b, b.working() as consumer:
        unknown, behind = await b.send("a", name="newer"), await b.send("a", "behind")
        await b.clock.advance(599)
        await b.send("a", id=unknown, name="newer")  # asking again does not prolong it
        await consumer.settle()
        assert (await b.status(unknown), await b.status(behind)) == ("waits", "waits")
        await b.clock.advance(2)
        await consumer.settle()
        assert (await b.status(unknown), await b.status(behind)) == ("failed", "applied")
        assert [head.command_id for head in await b.journal.letters()] == [unknown]
        await b.send("a", "next")
        assert await b.texts("a") == ["behind", "next"]


@pytest.mark.parametrize("wrong_by", [8 * 86_400.0, -8 * 86_400.0])
async def test_a_wrong_wall_clock_ends_no_wait(wrong_by: float) -> None:
    """Nor prolongs it: that of a consumer that comes after the one that noted the command."""
    async with bench() as b:
        async with b.working() as consumer:
            unknown, behind = await b.send("a", name="newer"), await b.send("a", "behind")
            await consumer.settle()
            assert (await b.status(unknown), await b.status(behind)) == ("waits", "waits")
        b.clock = VirtualClock(epoch=b.clock.now() + wrong_by)
        async with b.working() as wrong:
            await b.clock.advance(599)
            await wrong.settle()
            assert (await b.status(unknown), await b.status(behind)) == ("waits", "waits")
            await b.clock.advance(2)
            await wrong.settle()
            assert (await b.status(unknown), await b.status(behind)) == ("failed", "applied")


async def test_dropping_one_that_waits_lets_its_key_go_on() -> None:
    """At the next look, a second later at most."""
    async with bench() as b, b.working() as consumer:
        unknown, behind = await b.send("a", name="newer"), await b.send("a", "behind")
        await b.journal.exhume(unknown)
        await consumer.settle()
        assert await b.status(behind) == Status.APPLIED
        await b.send("a", "next")
        assert await b.texts("a") == ["behind", "next"]
