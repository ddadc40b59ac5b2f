"""Bookings in SQL mode, on SQLite and on PostgreSQL: its rules hold whatever happens at once, and what is in its own
tables, in the journal and in memory is always the same."""

from __future__ import annotations

import asyncio
import importlib
import random
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest

from skerry.backends.postgres.journal import PostgresJournal
from skerry.backends.sqlite.journal import SqliteJournal
from skerry.bus.bus import partition_of
from skerry.bus.pipeline import Proceed
from skerry.journal.unit import Unit
from skerry.kernel.settings import Settings
from skerry.testing.app import World, running
from skerry.testing.services import PrivatePostgres, private_postgres, require

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
PARTITIONS = 4
Opening = Callable[[], AbstractAsyncContextManager[Any]]


@pytest.fixture(scope="module")
def server() -> Iterator[PrivatePostgres]:
    """Deadlocks, which bookings of the same guests in different orders run into, are looked for at once."""
    require("postgresql")
    with private_postgres(options={"deadlock_timeout": "20ms"}) as server:
        yield server


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.service("postgresql"))])
def opening(request: pytest.FixtureRequest, tmp_path: Path) -> Opening:
    if request.param == "sqlite":
        return lambda: SqliteJournal(str(tmp_path / "bookings.db"), "bookings")
    dsn = request.getfixturevalue("server").database()
    return lambda: PostgresJournal(dsn, "bookings")


@pytest.fixture
def bookings(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The example, imported anew."""
    monkeypatch.syspath_prepend(EXAMPLES)
    for name in ("bookings", "bookings_sql"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return importlib.import_module("bookings_sql")


@asynccontextmanager
async def started(bookings: ModuleType, opening: Opening) -> AsyncIterator[World]:
    """Four partitions: four transactions at once, where the database allows it."""
    settings = Settings(
        journal="memory:", transport="memory:", warm_start=False, partitions=PARTITIONS, wait=30.0
    )
    async with running(bookings.app, settings=settings, journal=opening()) as world:
        yield world


async def book(world: World, room: str, guest: str, seats: int = 1, slot: str = "s") -> int:
    body = {"slot": slot, "guest": guest, "seats": seats}
    return (await world.client.post(f"/rooms/{room}/bookings", json=body)).status


async def rows(world: World, sql: str) -> list[tuple[Any, ...]]:
    """What stands in the application's tables."""
    async with world.journal.batch([], []) as (batch, _), batch.savepoint():
        return [tuple(row) for row in await batch.connection().fetch(sql)]


async def told(world: World) -> list[tuple[str, str, str, int]]:
    """The bookings that follow from the events: room, slot, guest, seats."""
    found: dict[str, tuple[str, str, str, int]] = {}
    for record in await world.events():
        event = msgspec.json.decode(record.data)
        if record.name == "booked":
            found[event["booking"]] = (event["key"], event["slot"], event["guest"], event["seats"])
        elif record.name == "cancelled":
            del found[event["booking"]]
    return sorted(found.values())


async def test_the_rules_hold_under_concurrency(bookings: ModuleType, opening: Opening) -> None:
    """Six rooms over four partitions, sixty guests who all try every room at the same moment: no room is overbooked, no
    guest is in two rooms at once, and rows, events and memory tell the same bookings."""
    async with started(bookings, opening) as world:
        names = [f"room-{n}" for n in range(6)]
        for name in names:
            assert (await world.client.put(f"/rooms/{name}", json={"seats": 7})).status == 200
        wishes = [(room, f"guest-{n}") for n in range(60) for room in names]
        random.Random(5).shuffle(wishes)
        answers = await asyncio.gather(*(book(world, *wish) for wish in wishes))
        assert Counter(answers) == {201: 42, 409: 360 - 42}
        stored = await rows(world, "select room, slot, guest, seats from bookings")
        assert set(Counter(room for room, *_ in stored).values()) == {7}
        assert max(Counter(guest for _, _, guest, _ in stored).values()) == 1
        assert sorted(stored) == await told(world)
        memory = world.service(bookings.Availability).now
        assert {room: taken["s"] for room, taken in memory.taken.items()} == dict.fromkeys(names, 7)
        assert await world.journal.verify() == []


async def test_a_command_that_fails_leaves_no_trace(bookings: ModuleType, opening: Opening) -> None:
    """An error after the SQL was run: no row, no event; the command is with the dead letters, and those decided in the
    same transaction are not touched."""

    async def stumble(command: Any, unit: Unit, proceed: Proceed) -> Any:
        result = await proceed(command, unit)
        if getattr(command, "guest", "") == "unlucky":
            raise ZeroDivisionError("after the insert")
        return result

    bookings.app.middleware(stumble)
    async with started(bookings, opening) as world:
        await world.client.put("/rooms/blue", json={"seats": 100})
        guests = ["ada", "unlucky", "bob", "eve"]
        assert await asyncio.gather(*(book(world, "blue", guest) for guest in guests)) == [201, 500, 201, 201]
        assert await rows(world, "select guest from bookings order by guest") == [
            ("ada",),
            ("bob",),
            ("eve",),
        ]
        assert [guest for _, _, guest, _ in await told(world)] == ["ada", "bob", "eve"]
        [letter] = await world.journal.dead_letters()
        assert "after the insert" in letter.reason


async def test_what_the_database_refuses_fails_alone(bookings: ModuleType, opening: Opening) -> None:
    """A constraint that a handler runs into (SQL of its own that forgot a rule) is that command's failure."""

    async def forget(command: Any, unit: Unit, proceed: Proceed) -> Any:
        if getattr(command, "guest", "") == "nowhere":
            await unit.connection.execute(
                "insert into bookings (name, room, slot, guest, seats) values ('x', 'no room', 's', 'nowhere', 1)"
            )
        return await proceed(command, unit)

    bookings.app.middleware(forget)
    async with started(bookings, opening) as world:
        await world.client.put("/rooms/blue", json={"seats": 100})
        answers = await asyncio.gather(*(book(world, "blue", guest) for guest in ("ada", "nowhere", "bob")))
        assert answers == [201, 500, 201]
        assert await rows(world, "select guest from bookings order by guest") == [("ada",), ("bob",)]
        assert [guest for _, _, guest, _ in await told(world)] == ["ada", "bob"]


async def test_seats_come_back(bookings: ModuleType, opening: Opening) -> None:
    """What is cancelled can be booked again, by the same guest too; a room is never made smaller than its bookings."""
    async with started(bookings, opening) as world:
        await world.client.put("/rooms/blue", json={"seats": 2})
        body = {"slot": "s", "guest": "ada", "seats": 2}
        first = await world.client.post("/rooms/blue/bookings", json=body)
        assert await book(world, "blue", "bob") == 409
        assert (await world.client.put("/rooms/blue", json={"seats": 1})).status == 409
        assert (await world.client.delete(first.headers["location"])).status == 204
        assert (await world.client.delete(first.headers["location"])).status == 409
        assert await book(world, "blue", "ada") == 201
        assert (await world.client.put("/rooms/blue", json={"seats": 1})).status == 200
        assert (await world.client.get("/rooms/blue")).json()["left"] == {"s": 0}
        assert await book(world, "red", "bob") == 409


async def test_memory_comes_back(bookings: ModuleType, opening: Opening) -> None:
    """Started again, the tables are not made a second time and memory knows what was booked."""
    async with started(bookings, opening) as world:
        await world.client.put("/rooms/blue", json={"seats": 5})
        assert await book(world, "blue", "ada", seats=3) == 201
    async with started(bookings, opening) as world:
        assert (await world.client.get("/rooms/blue")).json()["left"] == {"s": 2}
        assert await book(world, "blue", "bob", seats=3) == 409


@pytest.mark.service("postgresql")
async def test_a_deadlock_is_nobodys_fault(bookings: ModuleType, server: PrivatePostgres) -> None:
    """Two transactions book for the same two guests in opposite orders and wait for each other: PostgreSQL ends one of
    them, which is decided again; every command is answered and the rules hold."""
    red = next(
        f"red-{n}" for n in range(100) if partition_of(f"red-{n}", PARTITIONS) != partition_of("blue", 4)
    )
    both_have_one = asyncio.Barrier(2)
    waited: set[str] = set()

    async def meet(command: Any, unit: Unit, proceed: Proceed) -> Any:
        result = await proceed(command, unit)
        if hasattr(command, "guest") and command.key not in waited:
            waited.add(command.key)
            await both_have_one.wait()
        return result

    bookings.app.middleware(meet)
    dsn = server.database()
    async with started(bookings, lambda: PostgresJournal(dsn, "bookings")) as world:
        for room in ("blue", red):
            await world.client.put(f"/rooms/{room}", json={"seats": 5})
        wishes = [("blue", "ada"), ("blue", "bob"), (red, "bob"), (red, "ada")]
        answers = await asyncio.gather(*(book(world, *wish) for wish in wishes))
        assert Counter(answers) == {201: 2, 409: 2}
        assert [guest for *_, guest, _ in sorted(await told(world), key=lambda b: b[2])] == ["ada", "bob"]
        assert await rows(world, "select guest from bookings order by guest") == [("ada",), ("bob",)]
    assert "deadlock detected" in await asyncio.to_thread((server.directory / "log").read_text)
