"""What an event costs in the application's own transaction, and how soon a browser has it, on PostgreSQL (fsync on).

A transaction inserts one row; beside it the same with `emit`, and the same with a plain INSERT of the very row that
`emit` leaves, by 1, 4 and 16 threads of one process with psycopg, in turns of half a second, while a consumer moves
the events and while nobody does. Read the ratios of times: the plain INSERT is what no library can save. First the
processor time of each, of client and database apart, which hardly depends on what else the machine does. Then a
transaction of Django with three statements, how much longer commits of other writers take (95 %) beside a transaction
of one second that has emitted, and how long it takes from a commit to this process's listeners, and to a page in
Chromium. Not for: mirrors (mirrors), commands (journals, writes).
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.page import ARGUMENTS
from benchmarks.rows import Row, table

from skerry import App, Event
from skerry.backends.postgres.journal import PostgresJournal
from skerry.errors import SkerryError
from skerry.hosting import emit
from skerry.kernel.settings import Settings
from skerry.testing.app import World, running
from skerry.testing.program import HttpConnection, Program
from skerry.testing.services import available, chromium_program, private_postgres

WRITERS = (1, 4, 16)
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "4"))
TURN_SECONDS = 0.5
COUNTED = 1000
LONG_SECONDS = 3.0
HEARD = 60
SHOWN = 100
COST_BAR = 1 / 0.7
BESIDE_BAR_MS, HEARD_BAR_MS = 20.0, 15.0
INSERT = (
    "insert into bench__intake (event_id, name, version, key, data, trace) values (%s, %s, %s, %s, %s, %s)"
)


class Paid(Event):
    number: int


app = App("bench")
app.emits(Paid, foreign=True)


# --- in a process of its own: the application that writes

Transaction = Callable[[], None]


def by_psycopg(dsn: str, way: str) -> Transaction:
    """One row, and what `way` adds: nothing ("plain"), the row of an event ("insert"), an event ("emit")."""
    import psycopg

    connection = psycopg.connect(dsn, application_name="bench writer")

    def row_of_an_event() -> None:
        digits = os.urandom(16).hex()
        event = (f"{digits[:12]}4{digits[13:]}", "paid", 1, "k", '{"number":1}', "")
        connection.execute(INSERT, event)

    def event() -> None:
        emit(Paid(1), key="k", connection=connection)

    more = {"plain": lambda: None, "insert": row_of_an_event, "emit": event}[way]

    def transaction() -> None:
        connection.execute("insert into bill (text) values ('x')")
        more()
        connection.commit()

    return transaction


def by_django(dsn: str, way: str) -> Transaction:
    """A stock that is looked up and lowered, and a line of an order."""
    from django.db import transaction

    stocks, lines = _models(dsn)

    def order() -> None:
        number = threading.get_native_id() % 64 + 1
        with transaction.atomic():
            stock = stocks.objects.select_for_update().get(pk=number)
            stock.pieces -= 1
            stock.save()
            line = lines.objects.create(stock=stock)
            if way == "emit":
                emit(Paid(line.pk), key="k")

    return order


def _models(dsn: str) -> tuple[Any, Any]:
    """Tables of Django, which is set up with the first of several threads."""
    from benchmarks.django_orm import set_up  # Django is measured where it is installed
    from django.db import models

    with _one:
        if _made:
            return _made[0]
        set_up(dsn)

        class Stock(models.Model):
            pieces = models.IntegerField()

            class Meta:
                app_label, db_table = "bench", "stock"

        class Line(models.Model):
            stock = models.ForeignKey(Stock, models.CASCADE)

            class Meta:
                app_label, db_table = "bench", "line"

        _made.append((Stock, Line))
        return Stock, Line


_one = threading.Lock()
_made: list[tuple[Any, Any]] = []
BY = {"psycopg": by_psycopg, "django": by_django}


def measured(by: str, dsn: str, writers: int, ways: Sequence[str], seconds: float) -> dict[str, list[float]]:
    """Of each way its transactions a second and the 95th percentile of their seconds; the ways take turns."""
    took: dict[str, list[list[float]]] = {way: [[] for _ in range(writers)] for way in ways}
    spent = dict.fromkeys(ways, 0.0)
    together = threading.Barrier(writers, timeout=60)

    def write(mine: int) -> None:
        transactions = {way: BY[by](dsn, way) for way in ways}
        for way in list(ways) * max(1, round(seconds / TURN_SECONDS)):
            together.wait()
            began = at = time.perf_counter()
            while at < began + TURN_SECONDS:
                transactions[way]()
                took[way][mine].append(-at + (at := time.perf_counter()))
            together.wait()
            if mine == 0:
                spent[way] += time.perf_counter() - began

    with ThreadPoolExecutor(writers) as threads:
        for each in [threads.submit(write, mine) for mine in range(writers)]:
            each.result()
    found = {}
    for way in ways:
        every = sorted(chain.from_iterable(took[way]))
        found[way] = [len(every) / spent[way], every[len(every) * 95 // 100]]
    return found


def spent(dsn: str, ways: Sequence[str]) -> dict[str, list[float]]:
    """Of each way, for one transaction of one writer: microseconds of processor time of this client and of its process
    in the database; the least of the rounds. What else the machine does hardly counts."""
    import psycopg

    with psycopg.connect(dsn, autocommit=True) as connection:
        made = {way: by_psycopg(dsn, way) for way in ways}
        pids = connection.execute(
            "select pid from pg_stat_activity where datname = current_database() and state is not null "
            "and backend_type = 'client backend' and application_name = 'bench writer'"
        ).fetchall()
    found: dict[str, list[list[float]]] = {way: [] for way in ways}
    for _ in range(ROUNDS):
        for way, transaction in made.items():
            before, began = _running(pids), time.thread_time()
            for _ in range(COUNTED):
                transaction()
            client = (time.thread_time() - began) / COUNTED * 1e6
            found[way].append([client, (_running(pids) - before) / COUNTED * 1e6])
    return {way: [min(each) for each in zip(*rounds, strict=True)] for way, rounds in found.items()}


def _running(pids: Sequence[tuple[int]]) -> float:
    """Seconds that these processes have had a processor (Linux)."""
    return sum(int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) for (pid,) in pids) / 1e9


async def written(by: str, dsn: str, writers: int, ways: str, seconds: float) -> dict[str, list[float]]:
    """`measured`, elsewhere."""
    command = [sys.executable, "-m", "benchmarks.bridge", by, dsn, str(writers), ways, str(seconds)]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    out, _ = await process.communicate()
    if process.returncode != 0:
        raise SkerryError(f"{' '.join(command[3:])} ended with {process.returncode}")
    told: dict[str, list[float]] = json.loads(out)
    return told


# --- in this one: the App


async def cost(dsn: str, *, moved: bool) -> list[Row]:
    """What an event adds to the smallest transaction, and what the INSERT in it adds alone."""
    rows = []
    note = "" if moved else "nobody moves it"
    for writers in WRITERS:
        found = await written("psycopg", dsn, writers, "plain,insert,emit", ROUNDS * TURN_SECONDS)
        plain = found["plain"][0]
        for way, title in (("emit", "emit"), ("insert", "the same row by a plain INSERT")):
            rate = found[way][0]
            bar = COST_BAR if moved and way == "emit" else None
            rows.append(
                Row(f"{title}, {writers} writers", rate, "transactions/s", "without", plain / rate, bar, note)
            )
    return rows


async def profile(dsn: str) -> list[Row]:
    """Where the time of the smallest transaction goes, and what moving an event takes of the App's process."""
    before = time.process_time()
    found = await written("cpu", dsn, 1, "plain,insert,emit", 0)
    moving = (time.process_time() - before) / (2 * ROUNDS * COUNTED) * 1e6
    plain = sum(found["plain"])
    titles = {"plain": "without", "insert": "with the same row by a plain INSERT", "emit": "with emit"}
    rows = []
    for way, (client, database) in found.items():
        title, note = (
            f"processor time of a transaction {titles[way]}",
            f"client {client:.0f}, database {database:.0f}",
        )
        rows.append(Row(title, client + database, "us", "without", (client + database) / plain, None, note))
    return [*rows, Row("processor time of the App for an event", moving, "us")]


async def of_django(dsn: str) -> list[Row]:
    rows = []
    for writers in (1, 4):
        found = await written("django", dsn, writers, "plain,emit", 2 * ROUNDS * TURN_SECONDS)
        plain, rate = found["plain"][0], found["emit"][0]
        title = f"emit in Django (SELECT, UPDATE, INSERT), {writers} writers"
        rows.append(Row(title, rate, "transactions/s", "without", plain / rate, COST_BAR))
    return rows


async def beside(dsn: str) -> Row:
    """Four writers that emit, beside a transaction of a second that has emitted."""
    import psycopg

    _, alone = (await written("psycopg", dsn, 4, "emit", LONG_SECONDS))["emit"]
    with psycopg.connect(dsn) as long:
        emit(Paid(0), connection=long)
        writing = asyncio.create_task(written("psycopg", dsn, 4, "emit", LONG_SECONDS))
        await asyncio.sleep(1.0)
        long.commit()
    _, late = (await writing)["emit"]
    more = max(0.0, late - alone) * 1000
    note = f"95 % of commits within {late * 1000:.1f} ms, alone {alone * 1000:.1f} ms"
    title = "emit beside a transaction of 1 s, more"
    return Row(title, more, "ms", f"{BESIDE_BAR_MS:g} ms", more / BESIDE_BAR_MS, 1.0, note)


async def heard(dsn: str, world: World) -> list[Row]:
    """From commit to listener, one transaction after the other in each writer, with pauses."""
    import sqlalchemy
    from sqlalchemy.orm import Session

    engine = sqlalchemy.create_engine(dsn.replace("postgresql:", "postgresql+psycopg:"), pool_size=20)
    arrived: dict[str, float] = {}
    unlisten = world.kernel.projector.listen(
        lambda records, epoch: arrived.update((each.command_id, time.perf_counter()) for each in records)
    )
    rows = []
    for writers in WRITERS:
        committed: dict[str, float] = {}

        def write(committed: dict[str, float] = committed) -> None:
            for number in range(HEARD // 4):
                with Session(engine) as session, session.begin():
                    session.execute(sqlalchemy.text("insert into bill (text) values ('x')"))
                    emitted = emit(Paid(number), key="k", session=session)
                committed[emitted.id] = time.perf_counter()
                emitted.wait(10)
                time.sleep(0.03)

        await asyncio.gather(*(asyncio.to_thread(write) for _ in range(writers)))
        took = [(arrived[id] - at) * 1000 for id, at in committed.items() if id in arrived]
        rows.append(_within(f"commit to listener, p50, {writers} writers", took))
    unlisten()
    engine.dispose()
    return rows


def _within(title: str, took: list[float]) -> Row:
    """Milliseconds against the bar."""
    p50, late = median(took), sorted(took)[len(took) * 95 // 100]
    return Row(
        title, p50, "ms", f"{HEARD_BAR_MS:g} ms", p50 / HEARD_BAR_MS, 1.0, f"95 % within {late:.1f} ms"
    )


SEEN = """async () => {
    window.seen = {};
    const socket = new WebSocket(`ws://${location.host}/events`);
    socket.onmessage = message => {
        const event = JSON.parse(message.data);
        if (event.event === "paid") window.seen[event.number] = performance.timeOrigin + performance.now();
    };
    await new Promise(opened => socket.onopen = opened);
}"""


async def shown(dsn: str) -> list[Row]:
    """From commit to a page's script, under `skerry run`, one payment after the other. No row without Chromium."""
    chromium = chromium_program()
    if chromium is None:
        return [Row("commit to browser: Chromium is not installed", 0.0, "")]
    from playwright.async_api import async_playwright

    target, places = "benchmarks.peers.bridge_shop:app", ("--journal", dsn, "--transport", dsn)
    environ = {"SKERRY_JOURNAL": dsn, "PYTHONPATH": str(Path(__file__).parents[1])}
    committed: dict[int, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        command = ("run", target, "--bind", "127.0.0.1:0", *places)
        async with (
            Program(Path(folder), *command, environ=environ) as program,
            async_playwright() as playwright,
        ):
            port = await program.listening()
            browser = await playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
            page = await browser.new_page()
            await page.goto(f"http://127.0.0.1:{port}/shop")
            await page.evaluate(SEEN)
            connection = HttpConnection(port)
            for number in range(SHOWN):
                answer = await connection.ask("GET", f"/shop?number={number}")
                committed[number] = float(answer.body)
                await page.wait_for_function(f"() => {number} in window.seen")
            connection.close()
            seen = await page.evaluate("() => window.seen")
            await browser.close()
    took = [seen[str(number)] - at for number, at in committed.items()]
    return [_within("commit to a page in Chromium, p50", took)]


async def measure(dsn: str, execute: Callable[[str], Any]) -> list[Row]:
    execute("create table bill (id bigint generated always as identity primary key, text text)")
    execute("create table stock (id bigint primary key, pieces integer not null)")
    execute("insert into stock select n, 0 from generate_series(1, 64) as n")
    execute(
        "create table line (id bigint generated always as identity primary key, stock_id bigint references stock)"
    )
    settings = Settings(journal=dsn, transport="memory:", warm_start=False)
    async with running(app, settings=settings, journal=PostgresJournal(dsn, "bench")) as world:
        rows = [
            *await profile(dsn),
            *await cost(dsn, moved=True),
            *await of_django(dsn),
            await beside(dsn),
            *await heard(dsn, world),
        ]
    rows += await cost(dsn, moved=False)
    execute("truncate bench__intake")
    return [*rows, *await shown(dsn)]


def run() -> list[Row]:
    if not available("postgresql"):
        raise SkerryError("PostgreSQL is not installed")
    with private_postgres(durable=True) as server:
        dsn = server.database("bench")
        return asyncio.run(measure(dsn, lambda sql: server.query(sql, "bench")))


if __name__ == "__main__":
    if len(sys.argv) == 1:
        print(table(run()))
    else:
        os.environ["SKERRY_NAMESPACE"] = "bench"
        kind, place, count, named, time_seconds = sys.argv[1:]
        ways = named.split(",")
        found = (
            spent(place, ways)
            if kind == "cpu"
            else measured(kind, place, int(count), ways, float(time_seconds))
        )
        print(json.dumps(found))
