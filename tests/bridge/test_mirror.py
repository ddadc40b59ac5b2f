"""Mirrors on PostgreSQL: memory equals the table, whoever writes to it; what is made, shown, checked, dropped."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import msgspec
import psycopg
import pytest
import sqlalchemy

from skerry import App, Projection, Record
from skerry.backends.memory.transport import MemoryHub
from skerry.backends.postgres.journal import PostgresJournal
from skerry.bus.intake import Mover
from skerry.errors import Conflict, DeclarationError, SettingsError
from skerry.http.feed import FeedEvent
from skerry.journal.mirror import Mirror, Transactions
from skerry.journal.projector import Projector
from skerry.journal.row_events import RowDeleted, RowPut
from skerry.kernel.settings import Settings
from skerry.messages.serializer import Serializer
from skerry.roles.comparing import differences
from skerry.testing.app import World, running
from skerry.testing.services import PrivatePostgres

pytestmark = pytest.mark.service("postgresql")
SOAK = os.environ.get("SKERRY_SOAK") == "1"
MANY = 1_000_000 if SOAK else 6_000
"""Rows of a large table."""
PATIENCE_SECONDS = 900 if SOAK else 60


class Size(Enum):
    SMALL = "small"
    LARGE = "large"


class Thing(msgspec.Struct, frozen=True):
    id: int
    price: Decimal | None = None
    at: datetime | None = None
    day: date | None = None
    tags: list[str] = []
    grid: list[list[int]] | None = None
    extra: Any = None
    size: Size | None = None
    code: UUID | None = None
    data: bytes | None = None
    ok: bool | None = None
    ratio: float | None = None


class Seat(msgspec.Struct, frozen=True):
    row: str
    number: int
    guest: str | None = None


TABLES = """
create type size as enum ('small', 'large');
create table thing (id bigint primary key, price numeric, at timestamptz, day date, tags text[] not null default '{}',
    grid integer[][], extra jsonb, size size, code uuid, data bytea, ok boolean, ratio double precision,
    secret text not null default 'hidden');
create table seat ("row" text, number integer, guest text, primary key ("row", number)) partition by list ("row");
create table seat_a partition of seat for values in ('A');
create table seat_b partition of seat for values in ('B');
"""


class Theatre:
    """An App with two mirrors, and the database that they are of."""

    def __init__(self, server: PrivatePostgres) -> None:
        self.server, self.dsn = server, server.database()
        self.name = self.dsn.rpartition("/")[2]
        self.query(TABLES)
        self.app = App("theatre")
        self.things: Mirror[Thing] = self.app.mirror("thing", key="id", row=Thing, live=True)
        self.seats: Mirror[Seat] = self.app.mirror("public.seat", key=("row", "number"), row=Seat)

    @property
    def mirrors(self) -> list[Any]:
        return [mirror.mirrored for mirror in self.app.declaration.mirrors.values()]

    def query(self, sql: str) -> str:
        return self.server.query(sql, self.name)

    def connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.dsn, autocommit=True)

    @asynccontextmanager
    async def journal(self) -> AsyncIterator[PostgresJournal]:
        async with PostgresJournal(self.dsn, "theatre") as journal:
            await journal.prepare([])
            yield journal

    @asynccontextmanager
    async def playing(self, *, make: bool = True) -> AsyncIterator[World]:
        async with self.journal() as journal:
            if make:
                await journal.make(self.mirrors)
        settings = Settings(
            journal=self.dsn, transport="memory:", warm_start=False, start_timeout=PATIENCE_SECONDS
        )
        async with running(
            self.app, settings=settings, journal=PostgresJournal(self.dsn, "theatre")
        ) as world:
            yield world

    async def settled(self, world: World) -> None:
        """Until nothing waits and memory has all of it."""
        deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
        while self.query("select count(*) from theatre__intake") != "0":
            assert asyncio.get_running_loop().time() < deadline
            await world.clock.sleep(0.01)
        head = await world.journal.head()
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await world.kernel.projector.reach(head.position)

    def stored(self, mirror: Mirror[Any]) -> dict[Any, Any]:
        """What the table has now, by another way than the mirror's."""
        names = ", ".join(f'"{column}"' for column in mirror.mirrored.columns)
        with self.connect() as connection:
            rows = connection.execute(f"select {names} from {mirror.mirrored.table}").fetchall()
        made = [mirror.row(*row) for row in rows]
        keys = [tuple(getattr(row, column) for column in mirror.mirrored.key) for row in made]
        return {key[0] if len(key) == 1 else key: row for key, row in zip(keys, made, strict=True)}


@pytest.fixture
def theatre(postgres: PrivatePostgres) -> Theatre:
    return Theatre(postgres)


async def test_rows_of_every_kind(theatre: Theatre) -> None:
    """Loaded and told, they are the same: numerics whole, times with their zone, arrays, JSON, enums, bytes, NULLs;
    only the columns of `row=` leave the database."""
    insert = """insert into thing values ({id}, 12345678901234567890.10, '2026-11-30 18:00:00.25+01', '2026-02-28',
        '{{a,"b c",NULL}}'::text[], '{{{{1,2}},{{3,4}}}}', '{{"a": [1, null, "%\\\\ü"]}}', 'large',
        '00000000-0000-4000-8000-000000000001', '\\x00ff10{long}', true, 0.1)""".replace(",NULL", "")
    theatre.query(insert.format(id=1, long="ab" * 100))
    theatre.query("insert into thing (id) values (2)")
    async with theatre.playing() as world:
        things = theatre.things
        loaded = things[1]
        theatre.query(insert.format(id=3, long="ab" * 100))
        theatre.query("insert into thing (id) values (4)")
        await theatre.settled(world)
        assert msgspec.structs.replace(things[3], id=1) == loaded
        assert loaded.price == Decimal("12345678901234567890.10")
        assert loaded.at == datetime(2026, 11, 30, 17, 0, 0, 250_000, UTC)
        assert loaded.extra == {"a": [1, None, "%\\ü"]}
        assert loaded.data == bytes.fromhex("00ff10" + "ab" * 100)
        assert (loaded.size, loaded.grid, loaded.tags) == (Size.LARGE, [[1, 2], [3, 4]], ["a", "b c"])
        assert things[2] == Thing(2)
        assert things[4] == Thing(4)
        assert b"hidden" not in b"".join(bytes(record.data) for record in await world.events())


async def test_a_mapping(theatre: Theatre) -> None:
    """`[]`, `get`, `in`, `len`, loops; composite keys are tuples."""
    theatre.query("insert into seat values ('A', 1, 'Ann'), ('B', 2, null)")
    async with theatre.playing():
        seats = theatre.seats
        assert seats["A", 1] == Seat("A", 1, "Ann")
        assert ("B", 2) in seats
        assert seats.get(("A", 2)) is None
        assert len(seats) == 2
        assert sorted(seats) == [("A", 1), ("B", 2)] == sorted(seats.keys())
        assert sorted(guest.guest or "" for guest in seats.values()) == ["", "Ann"]
        with pytest.raises(KeyError):
            seats["C", 1]


async def test_threads_may_loop_over_it(theatre: Theatre) -> None:
    """While events change it: nothing is raised, and a loop is over the rows of one moment."""
    theatre.query("insert into seat select 'A', n, '0' from generate_series(1, 2000) as n")
    async with theatre.playing() as world:
        stop = asyncio.Event()

        def loop() -> int:
            rounds = 0
            while not stop.is_set() or not rounds:
                assert sum(1 for _ in theatre.seats) == len(theatre.seats.values()) == 2000
                rounds += all(guest.guest in ("0", "1", "2") for _, guest in theatre.seats.items())
            return rounds

        looping = asyncio.create_task(asyncio.to_thread(loop))
        try:
            for guest in "12":
                theatre.query(f"update seat set guest = '{guest}'")
                await theatre.settled(world)
        finally:
            stop.set()
            assert await looping


async def test_whoever_writes_it_follows(theatre: Theatre) -> None:
    """Bulk updates, COPY, changed keys, rows that move to another partition, writes to one partition, TRUNCATE of all
    and of a part, rollbacks, upserts, deletes: after each, memory is the table."""
    steps = [
        "insert into seat select 'A', n, 'guest ' || n from generate_series(1, 300) as n",
        "update seat set guest = upper(guest)",
        "update seat set number = number + 1000 where number <= 10",
        "update seat set \"row\" = 'B' where number > 200",
        "insert into seat_b values ('B', 7, 'direct')",
        "begin; delete from seat; rollback",
        "begin; savepoint s; update seat set guest = 'x'; rollback to s; update seat set guest = 'y'; commit",
        "insert into seat values ('A', 20, 'z') on conflict (\"row\", number) do update set guest = excluded.guest",
        "delete from seat where number % 2 = 0",
        "truncate seat_b",
        "insert into seat values ('B', 1, null), ('A', 2, '%s %I')",
        "truncate seat",
        "insert into seat values ('A', 5, 'last')",
    ]
    async with theatre.playing() as world:
        for step in steps:
            theatre.query(step)
            await theatre.settled(world)
            assert dict(theatre.seats.items()) == theatre.stored(theatre.seats), step
        with theatre.connect() as connection, connection.cursor().copy("copy seat from stdin") as copy:
            for number in range(50, 80):
                copy.write_row(("B", number, None))
        await theatre.settled(world)
        assert dict(theatre.seats.items()) == theatre.stored(theatre.seats)
        assert len(theatre.seats) == 31
        assert await world.journal.verify() == []


async def test_loading_beside_writers(theatre: Theatre) -> None:
    """A process starts while changes wait in the intake and a transaction is open: of their events it applies those
    whose transaction its reading of the table had not seen, and no other: no row goes back to an older state."""
    theatre.query("insert into thing (id, price) values (1, 0), (2, 0)")
    values: list[Any] = []
    things: Any = theatre.things
    async with theatre.journal() as journal:
        await journal.make(theatre.mirrors)
        journal.follow(theatre.mirrors)
        transport, serializer = MemoryHub().endpoint(), Serializer(theatre.app.declaration.messages)
        await transport.start()
        left = journal.intake.left

        async def one(limit: int = 1) -> Any:
            return await left(1)

        with theatre.connect() as early, theatre.connect() as late:
            early.execute("begin; update thing set price = 10 where id = 2")
            for price in (1, 2):
                theatre.query(f"update thing set price = {price} where id = 1")
            projector = Projector(journal, transport, [theatre.things.projection()], serializer)
            projector.listen(lambda records, epoch: values.append((things[1].price, things[2].price)))
            await projector.start()
            assert (things[1].price, things[2].price) == (2, 0)
            early.execute("commit")
            late.execute("update thing set price = 3 where id = 1")
            mover = Mover(
                journal, transport, serializer, [], mirrored=theatre.app.declaration.mirrored_events()
            )
            journal.intake.left = one  # type: ignore[method-assign]
            for _ in range(4):
                assert await mover.move() == 1
            async with asyncio.timeout(30):
                await projector.reach((await journal.head()).position)
            await projector.stop()
    assert values == [(2, 10), (2, 10), (2, 10), (3, 10)]
    assert dict(theatre.things.items()) == theatre.stored(theatre.things)


@pytest.mark.timeout(1200 if SOAK else 300)
async def test_a_long_load_stops_no_writer_and_shows_no_half(
    theatre: Theatre, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process loads a table, and later all of it anew, beside a writer. Halfway through each reading another one
    commits at once, and nobody has seen a part of the rows; in the end memory is the table. `SKERRY_SOAK=1` does it
    with a million rows."""
    theatre.query(f"insert into thing (id, price) select n, 0 from generate_series(1, {MANY}) as n")
    things, halfway, seen = theatre.things, list[int](), set[int]()
    loads = things.projection.load
    stop = threading.Event()

    def write() -> None:
        with theatre.connect() as connection:
            while not stop.wait(0.002):
                connection.execute(f"update thing set price = price + 1 where id in (2, {MANY})")

    def look() -> set[int]:
        seen = set[int]()
        while not stop.is_set():
            seen.add(len(things))
        return seen

    with theatre.connect() as other:
        other.execute("set statement_timeout = '20s'")

        def load(rows: Any, table: Any, key: Any, row: Any, offset: int) -> None:
            loads(rows, table, key, row, offset)
            if len(rows._loading) == MANY // 2:
                halfway.append(len(things))
                other.execute("update thing set price = price + 1 where id = 1")
                other.execute(f"insert into thing (id, price) values ({MANY + len(halfway)}, 1)")

        monkeypatch.setattr(things.projection, "load", load)
        beside = [asyncio.create_task(asyncio.to_thread(each)) for each in (write, look)]
        try:
            async with theatre.playing() as world:
                assert len(things) >= MANY
                loaded = asyncio.Event()
                world.kernel.projector.events.on("reloaded", lambda position: loaded.set())
                await world.journal.new_epoch("a test")
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await loaded.wait()
                stop.set()
                await asyncio.gather(*beside)
                await theatre.settled(world)
                assert [count >= MANY for count in halfway] == [False, True]
                assert seen <= {0, *range(MANY, MANY + 3)}
                assert dict(things.items()) == theatre.stored(things)
        finally:
            stop.set()
            await asyncio.gather(*beside, return_exceptions=True)


def test_transactions_that_were_seen() -> None:
    """As `pg_current_snapshot` tells: all below the first that runs, none from the next one on, those between that do
    not run."""
    seen = Transactions("10:20:10,14")
    assert [number for number in range(8, 22) if seen.has(str(number))] == [
        8,
        9,
        11,
        12,
        13,
        15,
        16,
        17,
        18,
        19,
    ]
    assert Transactions("5:5:").has("4")
    assert not Transactions("5:5:").has("5")


async def test_events_for_listeners_projections_and_streams(theatre: Theatre) -> None:
    """`Put` and `Deleted` are events like others; a mirror is a table for projections; streams tell of it only where it
    is declared live."""
    app, things = theatre.app, theatre.things
    heard: list[str] = []

    @app.on(things.Put)
    def put(event: RowPut, record: Record) -> None:
        heard.append(f"{event.table} {event.key} {event.row.price} by {record.who}")

    @app.on(theatre.seats.Deleted)
    def deleted(event: RowDeleted) -> None:
        heard.append(f"{event.table} {event.key}")

    @app.projection
    class Total(Projection):
        table = things
        value = Decimal(0)

        def clear(self) -> None:
            self.value = Decimal(0)

        def load(self, table: Any, key: Any, row: Any, offset: int) -> None:
            self.value += row.price

        @Projection.applies(things.Put)
        def put(self, event: RowPut, record: Record) -> None:
            self.value += event.row.price

    app.live("/events")
    theatre.query("insert into thing (id, price) values (1, 10)")
    async with theatre.playing() as world:
        assert world.service(Total).value == 10
        told: list[Any] = []
        keys: list[str | None] = []

        def tell(events: Sequence[FeedEvent]) -> None:
            told.extend(msgspec.json.decode(each.payload) for each in events)
            keys.extend(each.key for each in events)

        world.kernel.feed.subscribe(tell)
        theatre.query("insert into seat values ('A', 1)")
        theatre.query("delete from seat")
        theatre.query("insert into thing (id, price) values (2, 5.50)")
        await theatre.settled(world)
        assert heard == ["public.seat ('A', 1)", "thing 2 5.50 by postgres"]
        assert world.service(Total).value == Decimal("15.50")
        [event] = told
        assert event["type"] == "domain_event"
        assert (event["event"], event["table"], event["key"]) == ("row_put", "thing", 2)
        assert event["row"]["id"] == 2
        assert "secret" not in event["row"]
        assert keys == [
            "thing:2"
        ]  # listeners that are slow get the newest of each key: tables have keys of their own


async def test_what_is_made_is_shown_checked_and_dropped(theatre: Theatre) -> None:
    """Nothing is made by a start: it is not ready, and says what to do. A changed declaration is different, and made
    anew; `drop` leaves nothing."""
    async with theatre.playing(make=False) as world:
        answer = await world.client.get("/health/ready")
        deadline = asyncio.get_running_loop().time() + 30
        while "infra create" not in answer.text and asyncio.get_running_loop().time() < deadline:
            await world.clock.sleep(0.05)
            answer = await world.client.get("/health/ready")
        assert answer.status == 503
        assert "skerry infra create TARGET" in answer.text
        assert (await world.client.get("/health/ready?for=traffic")).status == 200
    async with theatre.journal() as journal:
        shown = "\n".join(sql for _, sql in await journal.unready(theatre.mirrors))
        assert "create trigger theatre__mirror after insert or update or delete" in shown
        made = await journal.make(theatre.mirrors)
        assert "trigger theatre__truncated on seat_b" in made
        assert await journal.unready(theatre.mirrors) == []
        assert await journal.make(theatre.mirrors) == []
        theatre.query("create table seat_c partition of seat for values in ('C')")
        assert [what for what, _ in await journal.unready(theatre.mirrors)] == [
            "trigger theatre__truncated on seat_c"
        ]
        theatre.query("alter table thing disable trigger theatre__mirror")
        assert len(await journal.unready(theatre.mirrors)) == 2
        await journal.make(theatre.mirrors)
        [things] = [each for each in theatre.mirrors if each.name == "thing"]
        strays = {what for what, _ in await journal.unready([things])}
        assert "the end of trigger theatre__mirror on seat, of a mirror that is not declared," in strays
        await journal.make([things])
        assert theatre.query("select count(*) from pg_trigger where tgrelid = 'seat'::regclass") == "0"
        await journal.make(theatre.mirrors)
        erased = await journal.erase("")
        assert "trigger theatre__mirror on thing" in erased
        assert theatre.query("select count(*) from pg_trigger where tgname like 'theatre%'") == "0"
        assert theatre.query("select count(*) from pg_proc where proname like 'theatre%'") == "0"


async def test_writers_need_no_more_rights_than_they_have(theatre: Theatre) -> None:
    """Whoever may write to the table may leave its changes, and keeps its name; nothing is SECURITY DEFINER."""
    user = f"clerk_{theatre.name}"
    theatre.query(f"create role {user} login password 'x'; grant select, insert, update on thing to {user}")
    async with theatre.playing() as world:
        place = theatre.dsn.partition("@")[2]
        with psycopg.connect(f"postgresql://{user}:x@{place}", autocommit=True) as connection:
            connection.execute("insert into thing (id) values (1)")
        await theatre.settled(world)
        assert 1 in theatre.things
        assert [record.who for record in await world.events()] == [user]
    assert theatre.query("select count(*) from pg_proc where prosecdef and proname like 'theatre%'") == "0"


async def test_a_table_in_use_is_told(theatre: Theatre, monkeypatch: pytest.MonkeyPatch) -> None:
    """Triggers wait for a table for a short time only, then again, then it is said whose it is."""
    monkeypatch.setattr("skerry.backends.postgres.mirrors.LOCK_SECONDS", 0.05)
    monkeypatch.setattr("skerry.backends.postgres.mirrors.ATTEMPTS", 2)
    monkeypatch.setattr("skerry.backends.postgres.mirrors.PAUSE_SECONDS", 0.01)
    async with theatre.journal() as journal:
        with theatre.connect() as connection, connection.transaction():
            connection.execute("lock table thing")
            with pytest.raises(Conflict, match="thing was in use"):
                await journal.make(theatre.mirrors)
        assert await journal.make(theatre.mirrors)


async def test_a_column_that_goes_breaks_no_writer(theatre: Theatre) -> None:
    """It is null from then on; what does not fit stops the mirror, which readiness tells, and the next declaration that
    fits goes on."""
    async with theatre.playing() as world:
        theatre.query("alter table thing add column more text")
        theatre.query("insert into thing (id, price) values (1, 5)")
        await theatre.settled(world)
        assert theatre.things[1].price == 5
        theatre.query("alter table thing rename column price to cost")
        theatre.query("update thing set cost = 6")
        await theatre.settled(world)
        assert theatre.things[1].price is None
        theatre.query("alter table thing rename column tags to words")
        theatre.query("update thing set cost = 7")
        await theatre.settled(world)
        assert "Mirror_thing" in world.kernel.projector.stopped
        assert theatre.query("select cost from thing") == "7"


async def test_verify_compares(theatre: Theatre, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written while a trigger was off is named; what is on its way is not."""
    monkeypatch.setattr("skerry.roles.comparing.PAUSE_SECONDS", 0.05)
    theatre.query("insert into thing (id, price) values (1, 1), (2, 1), (3, 1)")
    async with theatre.playing() as world:
        theatre.query("update thing set price = 2")
        theatre.query("delete from thing where id = 3")
        await theatre.settled(world)
        declaration = theatre.app.declaration
        assert await differences(world.journal, declaration) == []
        theatre.query("alter table thing disable trigger theatre__mirror")
        theatre.query("update thing set price = 3 where id = 1")
        theatre.query("insert into thing (id, price) values (3, 1)")
        told = await differences(world.journal, declaration)
        named = sorted(line.partition(" is ")[0] for line in told)
        assert named == ["mirror thing: row '1'", "mirror thing: row '3'"]


def test_what_cannot_be_mirrored() -> None:
    """It is said at declaration, with the cure; keys of models and tables are known."""
    app = App("shop")
    with pytest.raises(DeclarationError, match="key="):
        app.mirror("orders", row=Thing)
    with pytest.raises(DeclarationError, match=r"msgspec\.Struct"):
        app.mirror("orders", key="id", row=int)
    with pytest.raises(DeclarationError, match="not 7"):
        app.mirror(7, key="id", row=Thing)
    number = sqlalchemy.Column("id", sqlalchemy.Integer, primary_key=True)
    table = sqlalchemy.Table("seat", sqlalchemy.MetaData(), number)
    assert app.mirror(table, row=Thing).mirrored.key == ("id",)
    with pytest.raises(DeclarationError, match="two tables or mirrors"):
        app.mirror("other.seat", key="id", row=Thing)


async def test_elsewhere_it_is_refused(theatre: Theatre) -> None:
    """A journal that cannot mirror says so at the start; a table that is not there is named."""
    with pytest.raises(SettingsError, match="postgresql:"):
        async with running(theatre.app):
            pass
    async with theatre.journal() as journal:
        theatre.query("drop table seat cascade")
        with pytest.raises(SettingsError, match=r"public\.seat is not in"):
            await journal.make(theatre.mirrors)
