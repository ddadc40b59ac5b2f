"""The bridge under `skerry up`: events from the application's own transactions, mirrors, while processes are killed.

`SKERRY_SOAK=1` also runs PostgreSQL and RabbitMQ, with random writers and a kill a second.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from skerry.testing.broker import PrivateBroker
from skerry.testing.program import HttpConnection, call
from skerry.testing.services import private_postgres, require

sys.path.insert(0, str(Path(__file__).parent))

from bridgeapp import OrderPaid  # type: ignore[import-not-found]
from upworld import Up, up  # type: ignore[import-not-found]

from skerry.hosting import emit

SOAK = os.environ.get("SKERRY_SOAK") == "1"
SECONDS = 10 if SOAK else 0


async def asked(world: Any, path: str) -> Any:
    connection = HttpConnection(world.port)
    answer = await connection.ask("GET", path)
    connection.close()
    assert answer.status == 200, (answer.status, answer.body)
    return json.loads(answer.body)


async def test_a_hosted_view_emits_into_the_file_of_another_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside an embedded journal: what it commits is visible when it has waited, what it rolls back never is; the
    consumer may be killed meanwhile; the journal has every committed one once, in one sequence with commands."""
    file = tmp_path / "shop.db"
    monkeypatch.setenv("SHOP_FILE", str(file))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    options = ("--servers", "1", "--journal", f"sqlite:///{file}")
    async with up(tmp_path, *options, target="bridgeapp:app") as world:
        for number in range(8):
            told = await asked(world, f"/shop/pay?number={number}{'&back' if number % 4 == 3 else ''}")
            if number % 4 == 3:
                continue
            assert (told["status"], told["noted"], told["paid"]) == ("applied", "applied", True), told
            if number == 4:
                [consumer] = world.processes("consumer")
                os.kill(consumer.pid, signal.SIGKILL)
        assert (await asked(world, "/paid"))["numbers"] == [0, 1, 2, 4, 5, 6]
    with closing(sqlite3.connect(file)) as connection:
        found = connection.execute("select pos, name from shop__event order by pos").fetchall()
        bills = connection.execute("select count(*) from bill").fetchone()[0]
    assert [pos for pos, _ in found] == list(range(1, 13))
    assert sum(name == "order_paid" for _, name in found) == bills == 6


@pytest.mark.skipif(not SOAK, reason="SKERRY_SOAK=1 runs it")
@pytest.mark.service("postgresql")
@pytest.mark.service("rabbitmq")
async def test_writers_and_kills(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight writers with rollbacks, a kill a second of any process: for every committed order exactly one event, none
    for a rolled-back one, and on every server the mirror is the table."""
    require("postgresql")
    require("rabbitmq")
    with private_postgres(durable=True) as server:
        async with PrivateBroker(tmp_path / "mq") as broker:
            dsn = server.database("shop")
            server.query(
                "create table shop_order (number integer primary key, version integer not null)", "shop"
            )
            environ = {"SKERRY_JOURNAL": dsn, "SKERRY_TRANSPORT": broker.url}
            for name, value in environ.items():
                monkeypatch.setenv(name, value)
            monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
            monkeypatch.setenv("SKERRY_NAMESPACE", "shop")
            target = {"PYTHONPATH": os.environ["PYTHONPATH"], **environ}
            made = await call(tmp_path, "infra", "create", "bridgeapp:app", environ=target)
            assert made.code == 0, made.error
            places = ("--journal", dsn, "--transport", broker.url)
            options = ("--servers", "2", "--consumers", "2", "--intensity", "1000/60", *places)
            async with up(tmp_path, *options, target="bridgeapp:app") as world:
                committed = await _written_and_killed(world, dsn)
                await world.all_ready()
                await _settled(world, dsn, sorted(committed))
            checked = await call(tmp_path, "journal", "verify", "bridgeapp:app", environ=target)
            assert checked.code == 0, checked.error


async def _written_and_killed(world: Up, dsn: str) -> list[int]:
    committed: list[int] = []
    stop = asyncio.Event()

    def write(seed: int) -> None:
        rng, number = random.Random(seed), seed * 100_000
        with psycopg.connect(dsn) as connection:
            while not stop.is_set():
                number += 1
                connection.execute("insert into shop_order values (%s, 1)", [number])
                emit(OrderPaid(number), connection=connection)
                connection.execute(
                    "update shop_order set version = version + 1 where number = %s", [number - 1]
                )
                if number % 5 == 0:
                    connection.execute("delete from shop_order where number = %s", [number - 3])
                if rng.random() < 0.3:
                    connection.rollback()
                else:
                    connection.commit()
                    committed.append(number)

    writers = [asyncio.create_task(asyncio.to_thread(write, seed)) for seed in range(1, 9)]
    rng = random.Random(7)
    try:
        for _ in range(SECONDS):
            await asyncio.sleep(1.0)
            victim = rng.choice([each for each in world.processes() if each.pid])
            try:
                os.kill(victim.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
    finally:
        stop.set()
        await asyncio.gather(*writers)
    return committed


async def _settled(world: Up, dsn: str, committed: list[int]) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:

        def rows(sql: str) -> list[Any]:
            return connection.execute(sql).fetchall()

        await world.until(lambda: rows("select count(*) from shop__intake") == [(0,)])
        events = rows("select (data::json->>'number')::integer from shop__event where name = 'order_paid'")
        assert sorted(number for (number,) in events) == committed
        assert rows("select pos - floor from shop__log") == rows("select count(*) from shop__event")
        stored = sorted(
            [number, version] for number, version in rows("select number, version from shop_order")
        )
    for _ in range(8):  # both servers
        async with asyncio.timeout(60):
            while sorted((await asked(world, "/orders"))["orders"]) != stored:  # noqa: ASYNC110 - other processes
                await asyncio.sleep(0.1)
        assert sorted((await asked(world, "/paid"))["numbers"]) == committed
