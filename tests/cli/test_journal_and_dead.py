"""`skerry journal` and `skerry dead`, while the application runs and while it does not: the same words and truth."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import apsw
import pytest

from skerry.backends.sqlite.journal import SqliteJournal
from skerry.testing.program import Finished, HttpConnection, Program, call

APPLICATION = """
import pathlib
from skerry import App, Command, Event, Projection, Record, Request, Response, Table, Unit, HttpWrites
import msgspec

class Row(msgspec.Struct, frozen=True):
    text: str

class Keep(Command):
    key: str
    text: str

class Kept(Event):
    key: str
    text: str

rows = Table("rows", key=str, row=Row)
app = App("keeper")
app.uses(rows)

@app.handles(Keep, loads=rows)
def keep(command: Keep, unit: Unit) -> None:
    if command.text == "bad" and not pathlib.Path("mended").exists():
        raise ValueError("this cannot be kept")
    unit.put(rows, command.key, Row(command.text))
    unit.emit(Kept(command.key, command.text))

@app.put("/rows/{key}")
def put(request: Request, key: str, writes: HttpWrites):
    return writes.send(request, Keep(key, request.text()), lambda receipt: Response(b"kept"))
"""


STORED = """
@app.projection
class Count(Projection):
    stored = True

    def __init__(self) -> None:
        self.count = 0

    def clear(self) -> None:
        self.count = 0

    def state(self) -> bytes:
        return str(self.count).encode()

    def restore(self, state: bytes) -> None:
        self.count = int(state)

    @Projection.applies(Kept)
    def kept(self, event: Kept, record: Record) -> None:
        self.count += 1
"""


class Shop:
    """An application in a directory; commands of operators on it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.program = Program(directory, "run", "keeper:app", "--bind", "127.0.0.1:0")

    async def put(self, **texts: str) -> list[int]:
        client = HttpConnection(self.program.port)
        found = [
            (await client.ask("PUT", f"/rows/{key}", text.encode())).status for key, text in texts.items()
        ]
        client.close()
        return found

    async def skerry(self, *arguments: str) -> Finished:
        return await call(self.directory, *arguments)


@asynccontextmanager
async def shop(directory: Path) -> AsyncIterator[Shop]:
    (directory / "keeper.py").write_text(APPLICATION)
    made = Shop(directory)
    async with made.program:
        await made.program.listening()
        yield made


RUNNING = pytest.mark.parametrize("running", [True, False], ids=["running", "stopped"])


@RUNNING
async def test_tail_verify_and_trim(tmp_path: Path, running: bool) -> None:
    """The last events with position, time, name, key and content; whether all is well; forgetting old ones. By
    target or by namespace."""
    async with shop(tmp_path) as here:
        assert await here.put(a="1", b="2", c="3", d="4 ü") == [200] * 4
        if not running:
            assert await here.program.stop() == 0
        tail = await here.skerry("journal", "tail", "keeper:app", "-n", "2")
        assert tail.code == 0, tail
        lines = tail.out.splitlines()
        assert len(lines) == 2
        position, at, name, key, content = lines[1].split("  ", 4)
        assert (position.rpartition(":")[2], name, key) == ("4", "kept", "d")
        assert content == '{"key":"d","text":"4 ü"}'
        assert at.endswith("Z")
        verify = await here.skerry("journal", "verify", "--namespace", "keeper")
        assert (verify.code, verify.out) == (0, f"ok: {position}, events kept from 1\n")
        elsewhere = await here.skerry("journal", "verify", "--namespace", "keeper", "--data", "nothing/here")
        assert (elsewhere.code, "nothing/here/keeper.db" in elsewhere.error) == (2, True), elsewhere
        trim = await here.skerry("journal", "trim", "keeper:app", "--keep", "1")
        assert (trim.code, trim.out) == (0, "events up to 3 are forgotten, 1 are kept\n")
        again = await here.skerry("journal", "trim", "keeper:app", "--before", "1")
        assert again.out == "events up to 3 are forgotten, 1 are kept\n"
        assert len((await here.skerry("journal", "tail", "keeper:app")).out.splitlines()) == 1
        if running:
            assert await here.put(e="5") == [200]
            assert await here.program.stop() == 0


async def test_trim_waits_for_a_stored_projection_that_has_stored_nothing(tmp_path: Path) -> None:
    """A release adds a stored projection to an old journal: until a consumer has stored it, every event is needed."""
    async with shop(tmp_path) as here:
        assert await here.put(a="1", b="2") == [200, 200]
        assert await here.program.stop() == 0
        with (tmp_path / "keeper.py").open("a") as module:
            module.write(STORED)
        early = await here.skerry("journal", "trim", "keeper:app", "--keep", "0")
        assert (early.code, early.out) == (1, "")
        assert "Count has stored nothing yet" in early.error
        negative = await here.skerry("journal", "trim", "keeper:app", "--keep", "-1")
        assert negative.code == 2
        release = Program(tmp_path, "run", "keeper:app", "--bind", "127.0.0.1:0")
        async with release:
            await release.listening()
            assert await release.stop() == 0  # a last snapshot is written then, if not before
        trim = await here.skerry("journal", "trim", "keeper:app", "--keep", "0")
        assert (trim.code, trim.out) == (0, "events up to 2 are forgotten, 0 are kept\n")


async def test_tail_follows(tmp_path: Path) -> None:
    """New events appear as they come; Ctrl-C ends it."""
    async with shop(tmp_path) as here:
        await here.put(a="1")
        async with Program(tmp_path, "journal", "tail", "keeper:app", "-f") as tail:
            await tail.until(lambda: len(tail.lines) == 1)
            await here.put(b="2")
            await tail.until(lambda: len(tail.lines) == 2)
            assert await tail.stop() == 130


async def test_dead_letters_while_it_runs(tmp_path: Path) -> None:
    """A failed command is listed, shown whole, tried again under its id (and stays when it fails again), or dropped."""
    async with shop(tmp_path) as here:
        assert (await here.skerry("dead", "list", "keeper:app")).error == "none\n"
        assert await here.put(a="good", b="bad", c="bad", d="good") == [200, 500, 500, 200]
        listed = (await here.skerry("dead", "list", "keeper:app")).out.splitlines()
        assert len(listed) == 2
        first, _, name, key, reason = listed[0].split("  ", 4)
        second = listed[1].split("  ")[0]
        assert (name, key, reason) == ("keep", "b", "ValueError: this cannot be kept")
        shown = (await here.skerry("dead", "show", first, "keeper:app")).out
        assert "reason    ValueError: this cannot be kept" in shown
        assert 'body      {"key":"b","text":"bad"}' in shown
        assert "Traceback" in shown
        failed = await here.skerry("dead", "retry", first, "--target", "keeper:app")
        assert (failed.code, failed.out) == (0, f"{first}  failed\n")
        assert len((await here.skerry("dead", "list", "keeper:app")).out.splitlines()) == 2
        (tmp_path / "mended").touch()
        mended = await here.skerry("dead", "retry", first, "--target", "keeper:app")
        assert mended.out == f"{first}  applied\n"
        dropped = await here.skerry("dead", "drop", second, "--target", "keeper:app")
        assert dropped.out == f"{second}  dropped\n"
        assert (await here.skerry("dead", "list", "keeper:app")).error == "none\n"
        keys = [
            line.split("  ")[3]
            for line in (await here.skerry("journal", "tail", "keeper:app")).out.splitlines()
        ]
        assert keys == ["a", "d", "b"]


async def test_dead_letters_while_it_does_not_run(tmp_path: Path) -> None:
    """Looking and dropping work; a retry needs somebody who takes commands, says so, and loses nothing."""
    async with shop(tmp_path) as here:
        assert await here.put(a="bad", b="bad") == [500, 500]
        assert await here.program.stop() == 0
        listed = (await here.skerry("dead", "list", "keeper:app")).out.splitlines()
        first, second = (line.split("  ")[0] for line in listed)
        assert "Traceback" in (await here.skerry("dead", "show", first, "--namespace", "keeper")).out
        refused = await here.skerry("dead", "retry", first, "--target", "keeper:app")
        assert refused.code == 1
        assert (
            refused.error == "skerry: nothing runs that takes commands: start the application, then retry\n"
        )
        assert len((await here.skerry("dead", "list", "keeper:app")).out.splitlines()) == 2
        assert (await here.skerry("dead", "drop", second, "--target", "keeper:app")).code == 0
        (tmp_path / "mended").touch()
        await here.program.start()
        await here.program.listening()
        assert (
            await here.skerry("dead", "retry", "--all", "--target", "keeper:app")
        ).out == f"{first}  applied\n"


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (
            ["dead", "show", "nothing", "keeper:app"],
            1,
            "there is no dead letter 'nothing'; see skerry dead list",
        ),
        (["dead", "retry", "--target", "keeper:app"], 2, "name dead letters by id, or give --all"),
        (
            ["dead", "drop", "x", "--all", "--target", "keeper:app"],
            2,
            "name dead letters by id, or give --all",
        ),
        (["dead", "list"], 2, "skerry: namespace: say whose: TARGET"),
        (["journal", "trim", "keeper:app"], 2, "give either --before or --keep"),
        (
            ["journal", "trim", "keeper:app", "--before", "1", "--keep", "1"],
            2,
            "give either --before or --keep",
        ),
        (
            ["journal", "verify", "--namespace", "another"],
            2,
            "skerry: journal: there is no file .skerry/another.db",
        ),
        (["journal", "verify", "keeper:app", "--journal", "memory:"], 2, "memory: lives in its process"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
async def test_what_cannot_be_done_is_one_line(
    tmp_path: Path, arguments: list[str], code: int, says: str
) -> None:
    """Exit code 2 for a wrong call or setting, 1 for what is not there; never a traceback."""
    (tmp_path / "keeper.py").write_text(APPLICATION)
    (tmp_path / ".skerry").mkdir()
    async with SqliteJournal(str(tmp_path / ".skerry" / "keeper.db"), "keeper") as journal:
        await journal.prepare(["rows"])
    found = await call(tmp_path, *arguments)
    assert found.code == code, found
    assert says in found.error
    assert "Traceback" not in found.error


async def test_verify_finds_what_is_wrong(tmp_path: Path) -> None:
    """A hole in the journal: each problem on a line, exit code 1."""
    async with shop(tmp_path) as here:
        await here.put(a="1", b="2", c="3")
        await here.program.stop()
        database = apsw.Connection(str(tmp_path / ".skerry" / "keeper.db"))
        tables = [
            str(row[0]) for row in database.execute("select name from sqlite_master where type = 'table'")
        ]
        [table] = [name for name in tables if "event" in name]
        columns = [row[1] for row in database.execute(f"pragma table_info({table})")]
        database.execute(f"delete from {table} where {columns[0]} = 2")
        database.close()
        found = await here.skerry("journal", "verify", "keeper:app")
        assert found.code == 1
        assert found.error.strip()
        assert "2" in found.error


async def test_a_new_epoch_is_asked_for(tmp_path: Path) -> None:
    """After a restore: only after a yes, and everybody who runs notices."""
    async with shop(tmp_path) as here:
        await here.put(a="1")
        before = (await here.skerry("journal", "verify", "keeper:app")).out
        asked = await here.skerry("journal", "epoch", "keeper:app")
        assert asked.code == 1
        assert (await here.skerry("journal", "verify", "keeper:app")).out == before
        done = await here.skerry("journal", "epoch", "keeper:app", "--yes")
        assert done.code == 0
        position = done.out.split()[-1]
        assert position.endswith(":1")
        assert position not in before
        told = (await here.skerry("journal", "verify", "keeper:app")).out.splitlines()
        assert told[0].startswith(f"epoch {before.split()[1].split(':')[0]}: since ")
        assert told[0].endswith("; ended at 1, to be trusted up to 0")
        assert told[1].startswith(f"epoch {position.split(':')[0]}: since ")
        assert told[1].endswith(", asked for")
        client = HttpConnection(here.program.port)
        # No 503 after the time that a write waits: it is answered although memory is loaded anew.
        async with asyncio.timeout(60):
            answer = await client.ask("PUT", "/rows/b", b"2")
        assert (answer.status, answer.headers["skerry-position"]) == (200, position[:-1] + "2")
        client.close()


REACTING = """
@app.reactor("mail", Kept, begin="start")
def mail(event: Kept) -> None:
    with open("sent", "a") as file:
        file.write(event.key)
"""


async def test_a_reactor_is_sent_back(tmp_path: Path) -> None:
    """`journal replay` lets a declared reactor see again what is kept after a position, while it runs; what cannot be
    is one line."""

    def sent(expected: str) -> bool:
        return (tmp_path / "sent").exists() and (tmp_path / "sent").read_text() == expected

    (tmp_path / "keeper.py").write_text(APPLICATION + REACTING)
    here = Shop(tmp_path)
    async with here.program:
        await here.program.listening()
        assert await here.put(a="1", b="2", c="3") == [200, 200, 200]
        await until(lambda: sent("abc"))
        asked = await here.skerry("journal", "replay", "keeper:app", "mail", "1", "--yes")
        assert asked.out == "reactor mail will see 2 events again\n", asked.error
        await until(lambda: sent("abcbc"))
        for name, position, says in (
            ("nobody", "0", "the application declares no reactor 'nobody'; there are mail"),
            ("mail", "4", "4 is not within what the journal keeps: 0 to 3"),
            ("mail", "then", "'then' is neither an offset nor EPOCH:OFFSET"),
        ):
            refused = await here.skerry("journal", "replay", "keeper:app", name, position, "--yes")
            assert (refused.code, says in refused.error) == (2, True), refused.error


async def until(condition: Callable[[], bool]) -> None:
    """What another process does."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)
