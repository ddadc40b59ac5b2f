"""The journal in a SQLite file passes the suites, and keeps to what only it promises."""

from __future__ import annotations

import asyncio
import fcntl
import gc
import os
import struct
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import apsw
import pytest

from skerry.backends.sqlite.journal import SqliteJournal
from skerry.backends.sqlite.settings import SqliteSettings
from skerry.errors import Corrupt, Disconnected, JournalError, Overloaded, SettingsError
from skerry.journal.epochs import Epochs
from skerry.journal.journal import JournalWriter
from skerry.position import Position
from skerry.testing.clock import VirtualClock
from skerry.testing.durable_journals import DurableJournalSuite
from skerry.testing.journal_samples import DAY, THINGS, OpenJournal, all_rows, command_id, decide, put
from skerry.testing.sql_journals import SqlJournalSuite


class TestSqliteJournal(DurableJournalSuite, SqlJournalSuite):
    clock: VirtualClock
    path: Path

    @pytest.fixture
    def open_journal(self, tmp_path: Path) -> OpenJournal:
        self.clock = VirtualClock()
        self.path = tmp_path / "deep" / "journal.db"
        return lambda: SqliteJournal(str(self.path), "suite", clock=self.clock)

    async def pass_time(self, journal: JournalWriter, seconds: float) -> None:
        await self.clock.advance(seconds)

    @pytest.mark.parametrize("age_days", [0, 30], ids=["young", "old"])
    async def test_a_wrong_clock_of_the_owner_forgets_nothing(
        self, open_journal: OpenJournal, age_days: int
    ) -> None:
        """An owner whose clock is days ahead decides, and trims by it: what is younger than seven days stays; so does
        what one whose clock is behind has decided, when the clock is right again. Of an old journal the oldest go."""
        number, now = 0, 1_700_000_000.0
        for day in range(-age_days, 1):
            number += 1
            self.clock = VirtualClock(epoch=now + day * DAY)
            async with open_journal() as journal:
                await journal.prepare([THINGS])
                await decide(journal, put(number))
        expected = {n for n in range(1, number + 1) if n > number - 7}
        for wrong_days in (0, 8, 0, -8, 0, 400, 0):
            number += 1
            expected.add(number)
            self.clock = VirtualClock(epoch=now + wrong_days * DAY)
            async with open_journal() as journal:
                await journal.prepare([THINGS])
                await journal.trim(Position((await journal.head()).position.epoch, 0))
                await decide(journal, put(number))
                await journal.trim(Position((await journal.head()).position.epoch, 0))
        async with open_journal() as journal:
            kept = {n for n in range(1, number + 1) if await journal.outcome(command_id(n)) is not None}
        assert expected <= kept
        assert (1 in kept) is (age_days == 0)

    async def damage(self, journal: JournalWriter, what: str) -> None:
        connection = apsw.Connection(str(self.path))
        if what == "event missing":
            connection.execute("delete from suite__event where pos = 2")
        else:
            connection.execute(f"update suite_{THINGS} set pos = 99 where key = 'k1'")
        connection.close()

    async def fail_over(self, journal: JournalWriter, keep: int) -> None:
        connection = apsw.Connection(str(self.path))
        for table in ("_event", "_outcome", THINGS, "other_thing"):
            connection.execute(f"delete from suite_{table} where pos > ?", (keep,))
        connection.execute("update suite__log set pos = ?", (keep,))
        connection.close()
        await journal.new_epoch("restored", keep)

    async def make_table(self, journal: JournalWriter) -> None:
        connection = apsw.Connection(str(self.path))
        connection.execute("create table booking (room text primary key, guest text not null)")
        connection.close()

    def opening(self) -> str:
        return (
            "from skerry.backends.sqlite.journal import SqliteJournal\n"
            f"journal = SqliteJournal({str(self.path)!r}, 'suite')"
        )

    async def close(self, journal: JournalWriter) -> None:
        assert isinstance(journal, SqliteJournal)
        await journal.__aexit__(None, None, None)


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[SqliteJournal]:
    async with SqliteJournal(str(tmp_path / "j.db"), "suite") as journal:
        await journal.prepare([THINGS])
        yield journal


async def test_the_file_is_private(tmp_path: Path) -> None:
    """Its directory is made with 0700, the file and what SQLite puts beside it with 0600."""
    path = tmp_path / "new" / "j.db"
    async with SqliteJournal(str(path), "suite") as journal:
        await journal.prepare([THINGS])
        await decide(journal, put(1))
        assert path.parent.stat().st_mode & 0o777 == 0o700
        names = {entry.name: entry.stat().st_mode & 0o777 for entry in path.parent.iterdir()}
        assert names == {"j.db": 0o600, "j.db-wal": 0o600, "j.db-shm": 0o600, "j.db.lock": 0o600}


async def test_every_commit_is_on_the_disk_unless_told_otherwise(tmp_path: Path) -> None:
    """The writer's `synchronous` is FULL; NORMAL is by explicit setting only, OFF not at all."""
    for setting, level in ((None, 2), (SqliteSettings(synchronous="NORMAL"), 1)):
        async with SqliteJournal(str(tmp_path / "j.db"), "suite", settings=setting) as journal:
            found = await journal._writer.run(
                lambda c: (c.pragma("synchronous"), c.pragma("journal_mode")), 5
            )
            assert found == (level, "wal")
    with pytest.raises(SettingsError):
        SqliteSettings(synchronous="OFF")


async def test_one_process_owns_the_file(tmp_path: Path) -> None:
    """A second writer is told the owner's process id, in another process and in the same; a reader is welcome; when
    the owner is killed, the file is free."""
    path = tmp_path / "j.db"
    source = (
        "import asyncio\nfrom skerry.backends.sqlite.journal import SqliteJournal\n"
        f"async def main():\n    async with SqliteJournal({str(path)!r}, 'suite') as j:\n"
        f"        await j.prepare([{THINGS!r}])\n        print('open', flush=True)\n        await asyncio.sleep(60)\n"
        "asyncio.run(main())"
    )
    owner = await asyncio.create_subprocess_exec(sys.executable, "-c", source, stdout=asyncio.subprocess.PIPE)
    try:
        assert owner.stdout is not None
        assert await owner.stdout.readline() == b"open\n"
        with pytest.raises(JournalError, match=f"owned by process {owner.pid}"):
            await SqliteJournal(str(path), "suite").__aenter__()
        async with SqliteJournal(str(path), "suite", read_only=True) as reader:
            assert (await reader.head()).position.offset == 0
            assert await all_rows(reader) == {}
            assert await reader.verify() == []
            with pytest.raises(JournalError, match="reading only"):
                await decide(reader, put(1))
    finally:
        owner.kill()
        await owner.communicate()
    async with SqliteJournal(str(path), "suite") as journal:
        assert await decide(journal, put(1)) == 0
        with pytest.raises(
            JournalError, match=f"already open for writing in this process \\({os.getpid()}\\)"
        ):
            await SqliteJournal(str(path), "suite").__aenter__()
        assert await decide(journal, put(2)) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="locks of open files are Linux's")
@pytest.mark.parametrize(("text", "told"), [("4711\n", "4711"), ("", "unknown")])
async def test_an_owner_that_the_kernel_does_not_name(tmp_path: Path, text: str, told: str) -> None:
    """As one in another container: the lock file says who it is, once it has written it."""
    path = tmp_path / "j.db"
    lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT)
    try:
        os.write(lock, text.encode())
        whole = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        fcntl.fcntl(lock, fcntl.F_OFD_SETLK, whole)  # it has no process, so the kernel can name none
        with pytest.raises(JournalError, match=f"owned by process {told}: one process"):
            await SqliteJournal(str(path), "suite").__aenter__()
    finally:
        os.close(lock)


async def test_namespaces_live_beside_each_other(tmp_path: Path) -> None:
    """Two applications may follow each other in one file; tables of somebody else's are never taken over."""
    path = str(tmp_path / "j.db")
    async with SqliteJournal(path, "one") as journal:
        await journal.prepare([THINGS])
        await decide(journal, put(1))
    async with SqliteJournal(path, "two") as journal:
        await journal.prepare([THINGS])
        assert (await journal.head()).position.offset == 0
    async with SqliteJournal(path, "one_thing") as journal:
        await journal.prepare([])
    connection = apsw.Connection(path)
    connection.execute("create table three_thing (mine)")
    connection.close()
    async with SqliteJournal(path, "three") as journal:
        with pytest.raises(SettingsError, match="three_thing"):
            await journal.prepare([THINGS])
    for bad in ("", "Upper", "a-b", "a__b", "_a", "a_", "x" * 21, "a;b"):
        with pytest.raises(SettingsError, match="SKERRY_NAMESPACE"):
            SqliteJournal(path, bad)


async def test_a_full_disk_acknowledges_nothing(journal: SqliteJournal) -> None:
    """A commit that does not fit is `Disconnected`, leaves no trace, and works once there is room."""

    def pages(connection: apsw.Connection, most: int) -> None:
        connection.pragma("max_page_count", most)

    await decide(journal, put(1))
    await journal._writer.run(lambda c: pages(c, int(c.pragma("page_count")) + 2), 5)
    with pytest.raises(Disconnected, match="full"):
        await decide(journal, put(2, "k", "x" * 1_000_000))
    assert (await journal.head()).position.offset == 1
    assert await journal.outcome(command_id(2)) is None
    await journal._writer.run(lambda c: pages(c, 1 << 30), 5)
    assert await decide(journal, put(2, "k", "x" * 1_000_000)) == 1
    assert await journal.verify() == []


@pytest.mark.parametrize("replaced", [False, True])
async def test_a_file_that_is_gone_takes_no_writes(
    journal: SqliteJournal, tmp_path: Path, replaced: bool
) -> None:
    """Deleted, moved or replaced under an open journal: nothing is acknowledged that the next start would not find."""
    await decide(journal, put(1))
    path, elsewhere = tmp_path / "j.db", tmp_path / "elsewhere.db"
    path.rename(elsewhere)
    if replaced:
        path.write_bytes(b"")
    with pytest.raises(Disconnected, match="moved, replaced or deleted"):
        await decide(journal, put(2))
    with pytest.raises(Disconnected, match="moved, replaced or deleted"):
        await journal.forget("reactor")
    elsewhere.replace(path)
    assert await decide(journal, put(2)) == 1
    assert await journal.verify() == []


async def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    """What is no database, or was overwritten in the middle, is `Corrupt` with its path, never half read."""
    path = tmp_path / "j.db"
    path.write_bytes(b"not a database at all " * 500)
    with pytest.raises(Corrupt, match=r"j\.db"):
        await SqliteJournal(str(path), "suite").__aenter__()
    path.unlink()
    async with SqliteJournal(str(path), "suite") as journal:
        await journal.prepare([THINGS])
        for number in range(1, 200):
            await decide(journal, put(number, f"k{number}", "x" * 200))
    with path.open("r+b") as file:
        file.seek(4096 * 3)
        file.write(b"\xff" * 4096 * 25)

    async def use_it() -> None:
        async with SqliteJournal(str(path), "suite") as journal:
            for number in range(200, 400):
                await decide(journal, put(number, f"k{number}"))

    with pytest.raises(Corrupt, match=r"j\.db"):
        await use_it()


async def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A path below a file, or a directory as the file: `Disconnected` that says which."""
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "j.db", tmp_path):
        with pytest.raises(Disconnected, match=str(path)):
            await SqliteJournal(str(path), "suite").__aenter__()
    with pytest.raises(SettingsError, match="memory:"):
        SqliteJournal(":memory:", "suite")


async def test_a_newer_file_is_left_alone(tmp_path: Path) -> None:
    """A file whose tables a newer release made is refused, and not changed."""
    path = str(tmp_path / "j.db")
    async with SqliteJournal(path, "suite") as journal:
        await journal.prepare([THINGS])
        await journal._writer.run(lambda c: c.execute("update suite__meta set value = '99'"), 5)
        with pytest.raises(JournalError, match="newer Skerry"):
            await journal.prepare([THINGS, "another"])
        assert (await journal.head()).position.offset == 0


async def test_a_fork_does_not_share_the_connection(journal: SqliteJournal) -> None:
    """A forked child is refused, may end as it likes, and the parent goes on undisturbed."""
    await decide(journal, put(1))
    child = os.fork()
    if child == 0:
        status = 1
        try:
            journal._writer.post(lambda connection: None)
        except JournalError:
            gc.collect()
            status = 0
        finally:
            os._exit(status)
    assert (await asyncio.to_thread(os.waitpid, child, 0))[1] == 0
    assert await decide(journal, put(2)) == 1
    assert await journal.verify() == []


async def test_a_batch_waits_its_turn_and_not_for_ever(tmp_path: Path) -> None:
    """While one batch decides, the next waits; past its time it is `Overloaded`, and nothing is lost."""
    settings = SqliteSettings(turn_seconds=0.05)
    async with SqliteJournal(str(tmp_path / "j.db"), "suite", settings=settings) as journal:
        await journal.prepare([THINGS])
        async with journal.batch([command_id(1)], []) as (batch, _):
            for _ in range(2):  # one that gave up leaves those after it their deadline
                with pytest.raises(Overloaded):
                    await decide(journal, put(2))
            assert await batch.commit(put(1)) == 0
        assert await decide(journal, put(2)) == 1


async def test_transactions_are_the_journals_business(journal: SqliteJournal) -> None:
    """SQL mode refuses whatever would end or nest the transaction, also in disguise, and goes on."""
    async with journal.batch([command_id(1)], []) as (batch, _):
        async with batch.savepoint():
            sql = batch.connection()
            await sql.execute("create table t (n)")
            for bad in (
                "commit", " ; COMMIT", "-- x\nend", "/* x */ rollback", "savepoint x", "release command",
                "begin", "insert into t values (1); commit", "pragma synchronous=off", "attach 'x' as y",
            ):  # fmt: skip
                with pytest.raises(JournalError, match="journal's business"):
                    await sql.execute(bad)
            with pytest.raises(JournalError, match="syntax error"):
                await sql.execute("selekt 1")
            await sql.execute("insert into t values ($2), ($1)", 10, 20)
            found = await sql.fetch("select n from t where n in (?1, ?2) order by rowid", 10, 20)
            assert [tuple(row) for row in found] == [(20,), (10,)]
        with pytest.raises(JournalError, match="ended"):
            await sql.execute("select 1")
        await batch.commit(put(1))


async def test_a_runaway_statement_is_broken_off(journal: SqliteJournal) -> None:
    """A handler that is cancelled while its SQL runs does not hold the writer."""
    endless = "with recursive n(i) as (select 1 union all select i + 1 from n) select max(i) from n"
    started = asyncio.Event()

    async def run() -> None:
        async with journal.batch([command_id(1)], []) as (batch, _), batch.savepoint():
            asyncio.get_running_loop().call_later(0.02, started.set)
            await batch.connection().execute(endless)

    task = asyncio.create_task(run())
    await started.wait()
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
    async with asyncio.timeout(60):
        assert await decide(journal, put(1)) == 0


async def test_a_crowd_of_jobs_is_bounded(tmp_path: Path) -> None:
    """More waiting reads than the queue holds are refused at once, the others are answered."""
    async with SqliteJournal(str(tmp_path / "j.db"), "suite") as journal:
        await journal.prepare([THINGS])
        results = await asyncio.gather(*(journal.head() for _ in range(1500)), return_exceptions=True)
        refused = [result for result in results if isinstance(result, Overloaded)]
        assert len(refused) == 500
        assert (await journal.head()).position.offset == 0


async def test_a_copy_is_made_while_writing_goes_on(journal: SqliteJournal, tmp_path: Path) -> None:
    """The copy is whole as of one position, private, and never overwrites; restored under a new epoch it goes on."""
    for number in range(1, 50):
        await decide(journal, put(number, f"k{number}"))
    copy = str(tmp_path / "copy.db")

    async def write() -> None:
        for number in range(50, 100):
            await decide(journal, put(number, f"k{number}"))

    await asyncio.gather(journal.back_up(copy), write())
    assert (await journal.head()).position.offset == 99
    assert os.stat(copy).st_mode & 0o777 == 0o600
    with pytest.raises(JournalError, match="copy"):
        await journal.back_up(copy)
    old = (await journal.head()).position
    async with SqliteJournal(copy, "suite") as restored:
        assert await restored.verify() == []
        position = await restored.new_epoch()
        assert 49 <= position.offset <= 99
        assert position.epoch != old.epoch
        assert len(await all_rows(restored)) == position.offset
        assert await decide(restored, put(500)) == position.offset


@pytest.mark.parametrize("since", [0, 2])
async def test_an_older_copy_of_the_file_is_recognised(tmp_path: Path, since: int) -> None:
    """A back-up that is put in place of the file begins an epoch by itself: up to its end everything is trusted. Not
    after it was written to elsewhere, where nobody knows what is common."""
    path, copy = tmp_path / "journal.db", tmp_path / "copy.db"
    async with SqliteJournal(str(path), "suite") as journal:
        await journal.prepare([THINGS])
        await decide(journal, put(1))
        await journal.back_up(str(copy))
        await decide(journal, put(2))
        lost = (await journal.head()).position
    if since:
        async with SqliteJournal(str(copy), "suite") as elsewhere:
            for number in range(since):
                await decide(elsewhere, put(10 + number))
    for end in ("-wal", "-shm"):
        (tmp_path / f"journal.db{end}").unlink(missing_ok=True)
    os.replace(copy, path)
    async with SqliteJournal(str(path), "suite") as journal:
        await journal.prepare([THINGS])
        [first, second] = await journal.epochs()
        assert (second.began, second.common, second.lost) == (1 + since, 0 if since else 1, 0 if since else 1)
        assert Epochs.of([first, second]).carry(lost) is None
        await decide(journal, put(3))
        await journal.prepare([THINGS])
        assert len(await journal.epochs()) == 2
    for _ in range(2):
        async with SqliteJournal(str(path), "suite") as journal:
            await journal.prepare([THINGS])
            assert len(await journal.epochs()) == 2
