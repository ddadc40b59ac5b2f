"""An operator finds and mends what an application cannot read, from the command line, while it runs: on both pairs of
backends that keep something."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from pairworld import Pair  # type: ignore[import-not-found]

from skerry.testing.program import Finished, HttpConnection, Program, call

APPLICATION = """
import json
import msgspec
from skerry import App, Command, Event, HttpWrites, Projection, Record, Request, Response, Table, Unit

class Price(msgspec.Struct, frozen=True):
    cents: CENTS

class SetPrice(Command):
    key: str
    cents: CENTS

class PriceSet(Event):
    key: str
    cents: CENTS

prices = Table("price", key=str, row=Price)
app = App("shop")

@app.handles(SetPrice)
def set_price(command: SetPrice, unit: Unit) -> None:
    unit.put(prices, command.key, Price(command.cents))
    unit.emit(PriceSet(command.key, command.cents))

@app.projection
class Prices(Projection):
    table = prices
    def __init__(self): self.rows = {}
    def clear(self): self.rows.clear()
    def load(self, table, key, row, offset): self.rows[key] = row.cents
    @Projection.applies(PriceSet)
    def set(self, event, record): self.rows[event.key] = event.cents

@app.projection
class Count(Projection):
    stored = True
    def __init__(self): self.number = 0
    def clear(self): self.number = 0
    def state(self): return json.dumps(self.number).encode()
    def restore(self, state): self.number = json.loads(state)
    @Projection.applies(PriceSet)
    def set(self, event, record): self.number += 1

@app.reactor("hook", PriceSet)
def hook(event: PriceSet) -> None: ...

@app.put("/prices/{key}")
def put(request: Request, key: str, writes: HttpWrites):
    return writes.send(request, SetPrice(key, json.loads(request.text())), lambda receipt: Response(b"set"))

@app.get("/prices")
def get(prices: Prices) -> dict[str, int]:
    return prices.rows

@app.get("/count")
def count(count: Count) -> int:
    return count.number
"""


class Shop:
    def __init__(self, directory: Path, pair: Pair) -> None:
        self.directory = directory
        self.environ = {
            "SKERRY_JOURNAL": pair.settings.journal,
            "SKERRY_TRANSPORT": pair.settings.transport,
            "SKERRY_NAMESPACE": pair.settings.namespace or "shop",
            "SKERRY_DATA": str(directory),
            "SKERRY_WARM_START": "false",
        }

    def code(self, cents: str) -> None:
        (self.directory / "shop.py").write_text(APPLICATION.replace("CENTS", cents))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[HttpConnection]:
        async with Program(
            self.directory, "run", "shop:app", "--bind", "127.0.0.1:0", environ=self.environ
        ) as program:
            client = HttpConnection(await program.listening())
            yield client
            client.close()
            assert await program.stop() == 0

    async def skerry(self, *arguments: str) -> Finished:
        return await call(self.directory, *arguments, environ=self.environ)


async def test_rows_and_events_are_found_and_mended(kept: Pair, tmp_path: Path) -> None:
    """A release that stored floats, then one that says int: verify, doctor and infra check find it and name rows and
    events; the process starts and says so; rows are put and deleted, events amended and skipped, while it runs, checked
    against their types; it is ready again without a restart; who and why stand in the journal."""
    shop = Shop(tmp_path, kept)
    shop.code("float")
    async with shop.running() as client:
        for key, cents in (("tea", b"150.0"), ("jam", b"99.5"), ("rye", b"3.5")):
            assert (await client.ask("PUT", f"/prices/{key}", cents, Prefer="wait=30")).status == 200
    shop.code("int")

    async with shop.running() as client:
        assert (await client.ask("GET", "/prices")).status == 503
        ready = await client.ask("GET", "/health/ready")
        assert ready.status == 503
        assert b"Prices stopped at row 'jam' of table price" in ready.body
        assert (await client.ask("GET", "/health/ready?for=traffic")).status == 200

        verify, check, doctor, show = await asyncio.gather(
            shop.skerry("journal", "verify", "shop:app"),
            shop.skerry("infra", "check", "shop:app"),
            shop.skerry("doctor", "shop:app"),
            shop.skerry("row", "show", "shop:app", "price"),
        )
        for found in (verify, check, doctor):
            assert found.code == 1, found
            assert "row 'jam' of table price" in found.out + found.error, found
            assert "event 2 (price_set)" in found.out + found.error, found
        assert (show.code, 'jam  {"cents":99.5}' in show.out) == (1, True), show

        why = ("--reason", "whole cents", "--who", "ann")
        wrong = await shop.skerry("row", "put", "shop:app", "price", "jam", '{"cents":99.5}', *why)
        assert (wrong.code, "JSON: price" in wrong.error) == (2, True), wrong
        for arguments in (
            ("row", "put", "shop:app", "price", "jam", '{"cents":100}', *why),
            ("row", "put", "shop:app", "price", "tea", '{"cents":150}', *why),
            ("row", "delete", "shop:app", "price", "rye", *why, "--yes"),
            ("journal", "amend", "shop:app", "1", '{"key":"tea","cents":150}', *why),
            ("journal", "amend", "shop:app", "2", '{"key":"jam","cents":100}', *why),
            ("journal", "skip", "shop:app", "3", *why, "--yes"),
        ):
            done = await shop.skerry(*arguments)
            assert done.code == 0, done
        client.close()  # on a busy machine all that took longer than a connection may be idle
        # A count that was stored before shows the skipped event until this process has read of the correction.
        async with asyncio.timeout(30):
            while (await client.ask("GET", "/count")).body != b"2":  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)
            while (await client.ask("GET", "/health/ready")).status != 200:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)
        assert json.loads((await client.ask("GET", "/prices")).body) == {"tea": 150, "jam": 100}
        assert (await client.ask("PUT", "/prices/rye", b"4", Prefer="wait=30")).status == 200

        tail = (await shop.skerry("journal", "tail", "shop:app", "-n", "7")).out.splitlines()
        assert [line.split("  ")[2] for line in tail] == [
            "skerry.row_put", "skerry.row_put", "skerry.row_deleted",
            "skerry.amended", "skerry.amended", "skerry.skipped", "price_set",
        ]  # fmt: skip
        assert all("whole cents" in line and line.endswith("  by ann") for line in tail[:6])
        assert (await shop.skerry("journal", "verify", "shop:app")).code == 0
        assert (await shop.skerry("infra", "check", "shop:app")).code == 0
        missing = await shop.skerry("journal", "skip", "shop:app", "999", *why, "--yes")
        assert (missing.code, "there is no event 999" in missing.error) == (2, True)
    async with shop.running() as client:  # and after a restart
        assert json.loads((await client.ask("GET", "/count")).body) == 3


async def test_readers_that_are_declared_no_more_are_told_and_forgotten(kept: Pair, tmp_path: Path) -> None:
    """A reactor and a stored projection that hold the journal are listed with how far they are; doctor names them."""
    shop = Shop(tmp_path, kept)
    shop.code("int")
    async with shop.running() as client:
        assert (await client.ask("PUT", "/prices/tea", b"1", Prefer="wait=30")).status == 200
        async with asyncio.timeout(30):
            while "reactor hook" not in (await shop.skerry("journal", "cursors", "shop:app")).out:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    code = (tmp_path / "shop.py").read_text()
    (tmp_path / "shop.py").write_text(code.replace('"hook"', '"other"'))
    cursors = await shop.skerry("journal", "cursors", "shop:app")
    assert cursors.code == 1
    assert "reactor hook" in cursors.out
    assert "not declared" in cursors.out
    doctor = await shop.skerry("doctor", "shop:app")
    assert "reactor hook is not declared" in doctor.out
    forget = await shop.skerry("journal", "forget", "shop:app", "hook", "--yes")
    assert (forget.code, "reactor hook is forgotten" in forget.out) == (0, True)
    assert (await shop.skerry("journal", "cursors", "shop:app")).code == 0
    assert (await shop.skerry("journal", "forget", "shop:app", "hook", "--yes")).code == 2


async def test_a_renamed_table_is_told_and_taken_over(kept: Pair, tmp_path: Path) -> None:
    """Under a new name it would be empty and nobody would say so: the start warns, `infra check` is not content, and
    with `renamed_from=` the rows are there."""
    shop = Shop(tmp_path, kept)
    shop.code("int")
    async with shop.running() as client:
        assert (await client.ask("PUT", "/prices/tea", b"150", Prefer="wait=30")).status == 200
    code = (tmp_path / "shop.py").read_text()
    (tmp_path / "shop.py").write_text(code.replace('Table("price"', 'Table("prices"'))
    async with Program(tmp_path, "run", "shop:app", "--bind", "127.0.0.1:0", environ=shop.environ) as program:
        await program.listening()
        assert "table price is stored and not declared" in program.text
        check = await shop.skerry("infra", "check", "shop:app")
        assert (check.code, "renamed_from='price'" in check.error) == (1, True), check
        assert await program.stop() == 0
    renamed = code.replace('Table("price"', 'Table("prices", renamed_from="price"')
    (tmp_path / "shop.py").write_text(renamed)
    async with shop.running() as client:
        assert json.loads((await client.ask("GET", "/prices")).body) == {"tea": 150}
        assert (await client.ask("PUT", "/prices/jam", b"90", Prefer="wait=30")).status == 200
    assert (await shop.skerry("infra", "check", "shop:app")).code == 0


async def test_a_journal_of_another_application_is_refused(kept: Pair, tmp_path: Path) -> None:
    """Told explicitly to use its namespace, another application does not start over events that it does not know, and
    makes nothing in it; one that was renamed adopts it."""
    shop = Shop(tmp_path, kept)
    shop.code("int")
    async with shop.running() as client:
        assert (await client.ask("PUT", "/prices/tea", b"150", Prefer="wait=30")).status == 200
    code = (tmp_path / "shop.py").read_text()
    (tmp_path / "shop.py").write_text(code.replace('App("shop")', 'App("store")'))
    refused = await shop.skerry("run", "shop:app", "--bind", "127.0.0.1:0")
    assert refused.code == 2, refused
    assert "it belongs to the application 'shop', and this one is 'store'" in refused.error
    assert "skerry infra adopt" in refused.error
    check = await shop.skerry("infra", "check", "shop:app")
    assert (check.code, "belongs to the application 'shop'" in check.error) == (1, True), check
    adopted = await shop.skerry("infra", "adopt", "shop:app", "--yes")
    assert (adopted.code, "belongs to store now" in adopted.out) == (0, True), adopted
    async with shop.running() as client:
        assert json.loads((await client.ask("GET", "/prices")).body) == {"tea": 150}
    assert (await shop.skerry("infra", "check", "shop:app")).code == 0
