"""A keyed projection loads itself and follows by itself: by the events of its table, or by those of the application."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import msgspec
import pytest

from skerry import App, Command, Event, KeyedProjection, Projection, Record, Table, Unit
from skerry.errors import DeclarationError
from skerry.journal import RowDeleted, RowPut
from skerry.testing import running


class Price(msgspec.Struct, frozen=True):
    cents: int


class Change(Command):
    """Prices to put, and keys to delete, in one unit."""

    key: str
    puts: dict[str, int] = {}  # noqa: RUF012 - a default of msgspec
    deletes: tuple[str, ...] = ()


class Raise(Command):
    key: str


class Blink(Command):
    key: str


class Priced(Event):
    key: str
    cents: int


class Gone(Event):
    key: str


prices = Table("prices", key=str, row=Price, emits=True)


class Prices(KeyedProjection[str, Price]):
    table = prices


def shop() -> App:
    app = App("shop")
    app.projection(Prices)

    @app.handles(loads=lambda command: [(prices, key) for key in (*command.puts, *command.deletes)])
    def change(command: Change, unit: Unit) -> None:
        for key, cents in command.puts.items():
            unit.put(prices, key, Price(cents))
        for key in command.deletes:
            unit.delete(prices, key)

    return app


async def test_what_a_command_puts_is_in_memory() -> None:
    """One event for each changed row; the mapping has what the table has."""
    async with running(shop()) as world:
        await world.commands.send(Change("all", {"tea": 3, "rum": 9}))
        await world.commands.send(Change("all", {"tea": 4}, ("rum", "none")))
        memory = world.service(Prices)
        assert dict(memory) == {"tea": Price(4)}
        assert (memory.get("rum"), "rum" in memory, len(memory)) == (None, False, 1)
        records = await world.events()
    assert [(r.name, r.key) for r in records] == [
        ("row_put.prices", "tea"),
        ("row_put.prices", "rum"),
        ("row_put.prices", "tea"),
        ("row_deleted.prices", "rum"),
    ]


async def test_a_row_has_one_offset_everywhere() -> None:
    """The offset that memory knows of a row is the one that the table stores, for every row of a command."""
    async with running(shop()) as world:
        await world.commands.send(Change("all", {"tea": 3, "rum": 9}))
        memory = world.service(Prices)
        async with world.journal.snapshot(["prices"]) as snapshot:
            stored = {key: offset async for page in snapshot.rows("prices") for key, _, offset in page}
        assert {key: memory.offset(key) for key in memory} == stored == {"tea": 1, "rum": 2}
        assert memory.offset("none") == 0


async def test_row_events_come_after_those_that_the_command_emits() -> None:
    """So the last event of a command that changes one row is that row's, and the receipt names its version."""
    app = shop()

    @app.handles(loads=prices)
    def raised(command: Raise, unit: Unit) -> None:
        unit.put(prices, command.key, Price(1))
        unit.put(prices, command.key, Price(2))
        unit.emit(Priced(command.key, 2))

    app.emits(Priced)
    async with running(app) as world:
        receipt = await world.commands.send(Raise("tea"))
        assert [r.name for r in await world.events()] == ["priced", "row_put.prices"]
        assert receipt.position is not None
        assert world.service(Prices).entries["tea"].offset == receipt.position.offset == 2


async def test_what_was_put_and_deleted_in_one_command_never_was() -> None:
    """Nothing is told of a row that was not there before and is not there afterwards."""
    app = shop()

    @app.handles(loads=prices)
    def blink(command: Blink, unit: Unit) -> None:
        unit.put(prices, command.key, Price(1))
        unit.delete(prices, command.key)

    async with running(app) as world:
        await world.commands.send(Blink("tea"))
        assert await world.events() == []


async def test_row_events_are_heard_like_others() -> None:
    """By listeners and renderers, with typed rows."""
    app, heard = shop(), list[object]()

    @app.on(prices.Put)
    def put(event: RowPut[str, Price]) -> None:
        heard.append((event.key, event.row))

    @app.on(prices.Deleted)
    def deleted(event: RowDeleted[str, Price]) -> None:
        heard.append(event.key)

    async with running(app) as world:
        await world.commands.send(Change("all", {"tea": 3}))
        await world.commands.send(Change("all", {}, ("tea",)))
    assert heard == [("tea", Price(3)), "tea"]


plain = Table("plain", key=int, row=Price)


class Told(Event):
    key: int
    cents: int


class Untold(Event):
    key: int


class Plain(KeyedProjection[int, Price]):
    """Follows events of the application, and keeps an index."""

    table = plain
    deletes = (Untold,)

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def clear(self) -> None:
        super().clear()
        self.total = 0

    def changed(self, key: int, before: Price | None, after: Price | None) -> None:
        self.total += (after.cents if after else 0) - (before.cents if before else 0)

    @KeyedProjection.puts(Told)
    def told(self, event: Told) -> Price | None:
        return Price(event.cents) if event.cents else None


def record(offset: int, event: Event) -> Record:
    return Record(offset, "command", event.subject_key(), event.message_name, 1, 0.0, False, msgspec.Raw(b""))


def test_events_of_the_application_lead_to_rows() -> None:
    """`puts` gives the row, None means that there is none; `deletes` lists events after which there is none. Keys are
    of the table's type."""
    memory = Plain()
    appliers = memory.appliers()
    events = [Told(1, 5), Told(2, 7), Told(1, 6), Told(2, 0), Told(3, 1), Untold(3), Untold(4)]
    for offset, event in enumerate(events, 1):
        appliers[type(event)](event, record(offset, event))
    assert dict(memory) == {1: Price(6)}
    assert (memory.offset(1), memory.total) == (3, 6)


def test_an_index_follows_every_change() -> None:
    """`changed` is called while rows are loaded too, and a load begins with `clear`."""
    memory = Plain()
    for _ in range(2):
        memory.clear()
        memory.load(plain, 1, Price(5), 1)
        memory.load(plain, 2, Price(7), 2)
        assert memory.total == 12
    assert list(memory.dump()) == [(plain, 1, Price(5), 1), (plain, 2, Price(7), 2)]


def test_two_empty_ones_are_not_the_same() -> None:
    """A projection is itself, whatever is in it: processes keep several in one list."""
    assert Plain() != Plain()
    assert len({Plain(), Plain()}) == 2


def test_a_table_that_was_renamed_is_followed_under_both_names() -> None:
    """While consumers of the release before still write, and with events from then."""
    renamed = Table("new_prices", key=str, row=Price, renamed_from="prices", emits=True)

    class Renamed(KeyedProjection[str, Price]):
        table = renamed

    names = {event.message_name for event in Renamed.applied_events()}
    assert names == {
        f"{what}.{name}" for what in ("row_put", "row_deleted") for name in ("prices", "new_prices")
    }
    assert renamed.Put.message_name == "row_put.new_prices"


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({}, "keeps the rows of one table"),
        ({"table": plain}, "nothing keeps Wrong fresh: say Table"),
        ({"table": plain, "deletes": (Gone,), "stored": True}, "keeps the rows of one table"),
        ({"table": prices, "deletes": (Gone,)}, "follows the events of its table: leave out Gone"),
    ],
)
def test_a_wrong_declaration_says_what_to_write(body: dict[str, object], told: str) -> None:
    """At the declaration, with the cure."""
    wrong = type("Wrong", (KeyedProjection,), body)
    with pytest.raises(DeclarationError, match=told):
        App("shop").projection(wrong)


def test_a_method_that_gives_something_else_is_refused() -> None:
    """What `puts` marks gives a row of the table, or None, and takes the event alone."""

    class Other(KeyedProjection[int, Price]):
        table = plain

        @KeyedProjection.puts(Told)
        def told(self, event: Told) -> int:
            return 1

    class Full(KeyedProjection[int, Price]):
        table = plain

        @KeyedProjection.puts(Told)  # type: ignore[arg-type]
        def told(self, event: Told, record: Record) -> Price:
            return Price(1)

    with pytest.raises(
        DeclarationError, match=r"Other\.told must give a row of Table\('plain'\), Price, or None"
    ):
        App("shop").projection(Other)
    with pytest.raises(DeclarationError, match=r"Full\.told must take \(self, event\)"):
        App("shop").projection(Full)


def test_a_table_without_events_says_so() -> None:
    """Instead of an attribute that is not there."""
    with pytest.raises(DeclarationError, match=r"table plain has no events: say Table\(\.\.\., emits=True\)"):
        App("shop").on(plain.Put)


def test_further_events_may_be_applied_beside() -> None:
    """`Projection.applies` works as in every projection."""

    class Both(KeyedProjection[str, Price]):
        table = prices

        @Projection.applies(Priced)
        def priced(self, event: Priced, record: Record) -> None:
            self.set_row(event.key, Price(event.cents), record.offset)

    both = Both()
    both.appliers()[Priced](Priced("tea", 3), record(1, Priced("tea", 3)))
    assert both["tea"] == Price(3)


def test_a_thread_may_loop_over_it() -> None:
    """While the loop's thread changes it: nothing is raised, and what is seen is of one moment."""
    found = Prices()
    for number in range(100):
        found.set_row(f"{number:02}", Price(0), number)

    def looped() -> list[list[Any]]:
        loops = [iter(found), iter(found.values()), iter(found.items())]
        seen = [[next(each)] for each in loops]
        half.wait()  # the first one is read
        half.wait()  # all has changed
        return [[*first, *rest] for first, rest in zip(seen, loops, strict=True)]

    half = Barrier(2, timeout=60)
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(looped)
        half.wait()
        for number in range(100):
            found.remove_row(f"{number:02}")
            found.set_row(f"new {number}", Price(1), 100 + number)
        half.wait()
        keys, rows, pairs = coming.result()
    before = [f"{number:02}" for number in range(100)]
    assert keys == before
    assert rows == [Price(0)] * 100
    assert pairs == [(key, Price(0)) for key in before]
    assert len(list(found.items())) == 100
