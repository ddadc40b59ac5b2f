"""The shop under random load with rollbacks, while any of its processes and any connection to its database is killed:
for every order that was committed exactly one event, none for one that was rolled back; memory of every server and of
every host process, and what listeners that resumed were told, are what the tables say.

`SKERRY_SOAK=1` does it for longer, with SKERRY_SOAK_SEEDS (10) seeds.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import sqlite3
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psycopg
import pytest
import websockets

from skerry.testing.broker import PrivateBroker
from skerry.testing.program import HttpConnection
from skerry.testing.services import PrivatePostgres

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "e2e"), str(HERE.parents[1] / "examples" / "django_shop")]

from shop.events import Line, OrderPlaced, RowSaved  # type: ignore[import-not-found]  # noqa: E402
from shopworld import Shop, manage  # type: ignore[import-not-found]  # noqa: E402
from upworld import Up, up  # type: ignore[import-not-found]  # noqa: E402

from skerry.hosting import emit  # noqa: E402

SOAK = os.environ.get("SKERRY_SOAK") == "1"
SEEDS = range(1, 1 + int(os.environ.get("SKERRY_SOAK_SEEDS", "10"))) if SOAK else range(1, 2)
KILLS = 15 if SOAK else 3
BETWEEN_SECONDS = 1.0
PRODUCTS = (1, 2, 3, 4)


class Tables:
    """The shop's own database, as a program that is no part of it sees it. `place`: its URL."""

    def __init__(self, place: str) -> None:
        self.is_file = place.startswith("sqlite:///")
        self._place = place.removeprefix("sqlite:///")

    @contextlib.contextmanager
    def connection(self) -> Iterator[Any]:
        if self.is_file:
            with contextlib.closing(
                sqlite3.connect(self._place, isolation_level=None, timeout=60)
            ) as connection:
                yield connection
        else:
            with contextlib.closing(psycopg.connect(self._place, autocommit=True)) as connection:
                yield connection

    def rows(self, sql: str) -> list[Any]:
        with self.connection() as connection:
            return list(connection.execute(sql).fetchall())

    def products(self) -> dict[int, tuple[str, int]]:
        return {
            key: (name, stock) for key, name, stock in self.rows("select id, name, stock from shop_product")
        }

    def orders(self) -> dict[int, str]:
        return dict(self.rows("select id, status from shop_order"))

    def sold(self) -> list[list[int]]:
        """What the events of orders say, of each product."""
        pieces: Counter[int] = Counter()
        for event in self.placed():
            for line in event.lines:
                pieces[line.product] += line.pieces
        return sorted([key, count] for key, count in pieces.items())

    def placed(self) -> list[Any]:
        """The events of orders in the journal."""
        found = self.rows("select cast(data as text) from shop__event where name = 'order_placed'")
        return [msgspec.json.decode(data, type=OrderPlaced) for (data,) in found]

    def kill_a_connection(self) -> None:
        """PostgreSQL ends one, whoever's it is."""
        self.rows(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() "
            "and pid <> pg_backend_pid() order by random() limit 1"
        )

    def order_or_not(self, rng: random.Random) -> None:
        """One transaction of a foreign program: an order with its events, or a restocking; rolled back now and then."""
        with self.connection() as connection:
            connection.execute("begin immediate" if self.is_file else "begin")
            product = rng.choice(PRODUCTS)
            if rng.random() < 0.4:
                connection.execute(f"update shop_product set stock = stock + 5 where id = {product}")
                found = connection.execute(
                    f"select id, name, price, stock from shop_product where id = {product}"
                )
                key, name, price, stock = found.fetchone()
                row = {"id": key, "name": name, "price": str(price), "stock": stock}
                self._tell(connection, "shop_product", key, row)
            else:
                made = connection.execute(
                    "insert into shop_order (email, status, total, placed_at) "
                    "values ('x@example.com', 'placed', 1, '2026-01-01 00:00:00+00') returning id"
                )
                [number] = made.fetchone()
                lines = [Line(product, "", rng.randint(1, 3))]
                emit(OrderPlaced(number, "x@example.com", 1, lines), connection=connection)
                row = {"id": number, "status": "placed", "total": "1", "placed_at": "2026-01-01T00:00:00Z"}
                self._tell(connection, "shop_order", number, row)
            connection.execute("rollback" if rng.random() < 0.3 else "commit")

    def _tell(self, connection: Any, table: str, key: int, row: dict[str, Any]) -> None:
        if self.is_file:  # PostgreSQL has mirrors
            emit(RowSaved(table, key, row), connection=connection)


class Listener:
    """Follows the stream as a page does, breaks off at random, and resumes at the position that it had. Told that it
    cannot be caught up (a journal that is away, as its owner was just killed), it loads everything anew."""

    def __init__(self, port: int, cookie: str, position: str, tables: Tables, rng: random.Random) -> None:
        self.rows: dict[tuple[str, int], Any] = {}
        self.resumed = self.loaded = 0
        self._port, self._cookie, self._position = port, cookie, position
        self._tables, self._rng = tables, rng

    def shown(self, before: dict[tuple[str, int], Any]) -> tuple[dict[int, Any], dict[int, str]]:
        """Products and orders as it would show them: those of `before` that nothing was told of, and what was told."""
        products = {key: row for (table, key), row in before.items() if table == "shop_product"}
        orders = {}
        for (table, key), row in self.rows.items():
            if table == "shop_product":
                products[key] = (row["name"], row["stock"])
            elif table == "shop_order":
                orders[key] = row["status"]
        return products, orders

    async def run(self) -> None:
        while True:
            with contextlib.suppress(OSError, websockets.WebSocketException, TimeoutError):
                await self._listen()
            await asyncio.sleep(0.1)

    async def _listen(self) -> None:
        url = f"ws://127.0.0.1:{self._port}/events?since={self._position}"
        # With a limit of frames that wait, this client takes 10 s to break off while more of them do.
        async with websockets.connect(
            url, additional_headers={"Cookie": self._cookie}, max_size=None, max_queue=None
        ) as socket:
            hello = json.loads(await socket.recv())
            if hello["recovered"]:
                self.resumed += 1
            else:
                self._load(hello["position"])
            async for text in socket:
                event = json.loads(text)
                if "position" not in event or event["type"] != "domain_event":
                    continue
                self._position = event["position"]
                if event["event"] == "row_put":
                    self.rows[event["table"], event["key"]] = event["row"]
                elif event["event"] == "row_deleted":
                    self.rows.pop((event["table"], event["key"]), None)
                if self._rng.random() < 0.02:
                    return

    def _load(self, position: str) -> None:
        """The tables as they are, which is at `position` or later; what follows from there is told again."""
        for key, (name, stock) in self._tables.products().items():
            self.rows["shop_product", key] = {"name": name, "stock": stock}
        for key, status in self._tables.orders().items():
            self.rows["shop_order", key] = {"status": status}
        self._position = position
        self.loaded += 1


async def customer(world: Up, rng: random.Random) -> None:
    """Buys again and again, sometimes more than there is; whatever it is told, the tables are the truth."""
    shop = Shop(world, f"http://127.0.0.1:{world.port}/", "")
    while True:
        with contextlib.suppress(httpx.HTTPError, AssertionError):
            await shop.buy(rng.choice(PRODUCTS), rng.choice((1, 1, 2, 60)))
        await asyncio.sleep(0.05)


async def killer(world: Up, tables: Tables, rng: random.Random) -> list[str]:
    """So many processes or connections, one after the other; who it was."""
    killed = []
    for _ in range(KILLS):
        await asyncio.sleep(BETWEEN_SECONDS)
        if not tables.is_file and rng.random() < 0.3:
            await asyncio.to_thread(tables.kill_a_connection)
            killed.append("connection")
            continue
        victim = rng.choice([each for each in world.processes() if each.pid])
        killed.append(victim.name)
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim.pid, signal.SIGKILL)
    return killed


async def checked(directory: Path, place: str, seed: int, *options: str, **environ: str) -> None:
    """One run of a prepared shop."""
    rng, tables = random.Random(seed), Tables(place)
    environ = {
        "SHOP_DATA": str(directory / "data"),
        "SHOP_EMAIL_BACKEND": "django.core.mail.backends.dummy.EmailBackend",
        "DATABASE_URL": place, "SKERRY_JOURNAL": place, "SKERRY_NAMESPACE": "shop", **environ,
    }  # fmt: skip
    told = await manage(directory, "demo", "--prepare", environ=environ)
    password = told.partition("password ")[2].split()[0]
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environ.items():
            patch.setenv(name, value)
        options = ("--intensity", "1000/60", "--journal", place, "--namespace", "shop", *options)
        if "SKERRY_TRANSPORT" in environ:
            options = (*options, "--transport", environ["SKERRY_TRANSPORT"])
        async with up(directory, *options, target="checkedshop:app") as world:
            await _under_load(world, tables, rng, await _cookie(world, password))


async def _cookie(world: Up, password: str) -> str:
    shop = Shop(world, f"http://127.0.0.1:{world.port}/", password)
    async with shop.client() as client:
        await shop.post(client, "accounts/login/", username="admin", password=password)
        return "; ".join(f"{each.name}={each.value}" for each in client.cookies.jar)


async def _under_load(world: Up, tables: Tables, rng: random.Random, cookie: str) -> None:
    async with websockets.connect(
        f"ws://127.0.0.1:{world.port}/events", additional_headers={"Cookie": cookie}
    ) as socket:
        begin = json.loads(await socket.recv())["position"]
    unchanged = {("shop_product", key): row for key, row in tables.products().items()}
    listeners = [Listener(world.port, cookie, begin, tables, random.Random(rng.random())) for _ in range(3)]
    following = [asyncio.create_task(each.run()) for each in listeners]
    load = [asyncio.create_task(customer(world, random.Random(rng.random()))) for _ in range(2)]
    load += [asyncio.create_task(foreign(tables, random.Random(rng.random()))) for _ in range(2)]
    killed = await killer(world, tables, rng)
    for task in load:
        task.cancel()
    ended = await asyncio.gather(*load, return_exceptions=True)
    assert all(isinstance(each, asyncio.CancelledError) for each in ended), ended
    await world.all_ready(180)
    await _agreed(world, tables, listeners, unchanged, following)
    orders = tables.orders()
    resumed, loaded = [each.resumed for each in listeners], sum(each.loaded for each in listeners)
    print(
        f"{len(orders)} orders, listeners resumed {resumed} times and loaded anew {loaded} times, "
        f"killed: {dict(Counter(killed))}"
    )
    assert orders
    assert any(each.resumed > 1 for each in listeners), killed
    for task in following:
        task.cancel()
    await asyncio.gather(*following, return_exceptions=True)


async def foreign(tables: Tables, rng: random.Random) -> None:
    """A program beside the shop, with its own connections."""
    while True:
        with contextlib.suppress(psycopg.OperationalError, sqlite3.OperationalError):
            await asyncio.shield(asyncio.to_thread(tables.order_or_not, rng))
        await asyncio.sleep(0.02)


async def _agreed(
    world: Up,
    tables: Tables,
    listeners: list[Listener],
    unchanged: dict[tuple[str, int], Any],
    following: list[asyncio.Task[None]],
) -> None:
    """Once what was under way has ended. What differs for good is said."""

    def differs() -> str:
        orders = tables.orders()
        if not tables.is_file and tables.rows("select 1 from shop__intake limit 1"):
            return "the intake is not empty"
        if sorted(placed := [event.number for event in tables.placed()]) != sorted(orders):
            return f"orders {sorted(orders)}, events {sorted(placed)}"
        wanted = (tables.products(), orders)
        for each in listeners:
            if each.shown(unchanged) != wanted:
                return f"a listener has {each.shown(unchanged)}, the tables {wanted}, {following}"
        return ""

    await _until(differs)
    positions = tables.rows("select min(pos), max(pos), count(*) from shop__event")
    assert all(first == 1 and last == count for first, last, count in positions), positions

    def says_otherwise(answer: Any) -> str:
        if answer["sold"] != tables.sold():
            return f"memory has sold {answer['sold']}, the journal {tables.sold()}"
        if answer["rows"]:
            products = {key: (row["name"], row["stock"]) for key, row in answer["rows"]["shop_product"]}
            orders = {key: row["status"] for key, row in answer["rows"]["shop_order"]}
            if (products, orders) != (tables.products(), tables.orders()):
                return f"mirrors are {products, orders}, the tables {tables.products(), tables.orders()}"
        return ""

    await _all_agree(world, "server", "/checked", says_otherwise)
    await _all_agree(world, "host", "/checked-host", says_otherwise)


async def _all_agree(world: Up, role: str, path: str, says_otherwise: Callable[[Any], str]) -> None:
    """Every process of a role, by what it answers there."""
    agreed: set[int] = set()
    otherwise = ""
    try:
        async with asyncio.timeout(120), contextlib.AsyncExitStack() as open_connections:
            while missing := {each.pid for each in world.processes(role)} - agreed:
                connection = HttpConnection(
                    world.port
                )  # to the least busy server: it stays, so the next is another's
                open_connections.callback(connection.close)
                answer = json.loads((await connection.ask("GET", path)).body)
                otherwise = says_otherwise(answer)
                if otherwise:
                    await asyncio.sleep(0.05)
                else:
                    agreed.add(answer["pid"])
    except TimeoutError:
        raise AssertionError(otherwise or f"a {role} that did not answer: {missing}") from None


async def _until(differs: Callable[[], str]) -> None:
    """Wait until nothing differs."""
    try:
        async with asyncio.timeout(120):
            while differs():  # noqa: ASYNC110 - other processes
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(differs()) from None


@pytest.mark.parametrize("seed", SEEDS)
async def test_on_sqlite(tmp_path: Path, seed: int) -> None:
    """The shop's tables and the journal are one file."""
    await checked(tmp_path, f"sqlite:///{tmp_path / 'shop.sqlite3'}", seed, "--servers", "2", "--hosts", "1")


@pytest.mark.service("postgresql")
@pytest.mark.service("rabbitmq")
@pytest.mark.parametrize("seed", SEEDS)
async def test_on_postgresql(
    tmp_path: Path, postgresql: PrivatePostgres, rabbitmq: PrivateBroker, seed: int
) -> None:
    """With mirrors of both tables."""
    place = postgresql.database()
    options = ("--servers", "2", "--hosts", "2", "--consumers", "2")
    await checked(tmp_path, place, seed, *options, SKERRY_TRANSPORT=rabbitmq.url)
