"""A reactor that does nothing, behind a journal on PostgreSQL that holds events already: events per second.

`skerry consumer` of a small application, from the first event that its reactor hears to the last. A peer reads the same
rows in pages and stores where it is after each. Run: `python -m benchmarks.reactors`.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import asyncpg
import msgspec
from benchmarks.puts import free_port, private_servers, program, skerry
from benchmarks.rows import Row, table

EVENTS, PER_COMMAND, PAGE = 200_000, 1000, 1000
LEAST = 20_000.0
APPLICATION = f"""
from skerry import App, Command, Event, HttpWrites, Request, Response, Unit

app = App("reacting")


class Happened(Event):
    key: str
    number: int


class Happen(Command[int]):
    key: str


@app.handles(Happen)
def decide(command: Happen, unit: Unit) -> int:
    for number in range({PER_COMMAND}):
        unit.emit(Happened(str(number), number))
    return 0


@app.post("/happen/{{key}}")
def happen(request: Request, key: str, writes: HttpWrites):
    return writes.send(request, Happen(key), lambda receipt: Response(status=204))
"""
REACTOR = f"""
import time
from pathlib import Path

from happening import Happened, app

seen, began = 0, 0.0


@app.reactor("idle", Happened, begin="start")
async def idle(event: Happened) -> None:
    global seen, began
    if not seen:
        began = time.perf_counter()
    seen += 1
    if seen == {EVENTS}:
        Path("took").write_text(str(time.perf_counter() - began))
"""


async def fill(port: int) -> None:
    """Write all events by commands, one after the other."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for number in range(EVENTS // PER_COMMAND):
        writer.write(b"POST /happen/%d HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n" % number)
        answer = await reader.readuntil(b"\r\n\r\n")
        if not answer.startswith(b"HTTP/1.1 2"):
            raise RuntimeError(answer.decode() + (await reader.read(1000)).decode())
    writer.close()


async def peer(dsn: str) -> float:
    """Seconds for reading and decoding all events in pages, the place stored after each page."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute("create table place (at bigint); insert into place values (0)")
        began, at = time.perf_counter(), 0
        while page := await connection.fetch(
            "select * from reacting__event where pos > $1 order by pos limit $2", at, PAGE
        ):
            for row in page:
                msgspec.json.decode(row["data"])
            at = page[-1]["pos"]
            await connection.execute("update place set at = $1", at)
        return time.perf_counter() - began
    finally:
        await connection.close()


def run() -> list[Row]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "happening.py").write_text(APPLICATION)
        (folder / "reacting.py").write_text(REACTOR)
        postgres, urls = stack.enter_context(private_servers(str(folder)))
        port = free_port()
        with (
            program(skerry("consumer", "happening:app"), None, urls, str(folder)),
            program(
                skerry("server", "happening:app", "--bind", f"127.0.0.1:{port}"), port, urls, str(folder)
            ),
        ):
            asyncio.run(fill(port))
        plain = asyncio.run(peer(postgres.dsn))
        took = folder / "took"
        with program(skerry("consumer", "reacting:app"), None, urls, str(folder)):
            for _ in range(600):
                if took.exists() and took.read_text():
                    break
                time.sleep(0.1)
        rate = EVENTS / float(took.read_text())
    return [
        Row(
            "a reactor that does nothing, PostgreSQL", rate, "events/s",
            f"{LEAST:,.0f}/s", LEAST / rate, 1.0,
            f"reading the same pages alone: {EVENTS / plain:,.0f}/s",
        )
    ]  # fmt: skip


if __name__ == "__main__":
    print(table(run()))
