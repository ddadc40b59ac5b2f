"""The journal in one SQLite file.

One thread owns the connection that writes, another one those that read; the file belongs to one process at a
time (`ownership.py`). One batch is under way at a time, in order of asking. What is said in one line elsewhere
in this package: `connection.py` the threads, `batch.py` how a batch is read and written, `snapshot.py`,
`schema.py` the tables, `rows.py` how values travel, `sql.py` SQL mode, `upkeep.py` verify.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, TypeVar

import apsw

from skerry.backends.recent import Recent, existing
from skerry.backends.sqlite import upkeep
from skerry.backends.sqlite.batch import Opened, Place, Room, SqliteBatch, opened
from skerry.backends.sqlite.connection import Job, Worker, transaction
from skerry.backends.sqlite.files import (
    check_library,
    check_place,
    copy_to,
    make_place,
    open_copier,
    open_reader,
    open_writer,
)
from skerry.backends.sqlite.ownership import Ownership
from skerry.backends.sqlite.rehearsal import rehearse
from skerry.backends.sqlite.rows import letter_row, listed, read_records
from skerry.backends.sqlite.schema import Statements, prepare, rename
from skerry.backends.sqlite.settings import SqliteSettings
from skerry.backends.sqlite.snapshot import SqliteSnapshot
from skerry.backends.sqlite.upkeep import problems
from skerry.backends.storable import (
    MAX_EPOCHS,
    OUTCOME_SECONDS,
    PAGE_BYTES,
    check_letter,
    check_text,
    checked_table,
    new_epoch_name,
)
from skerry.backends.stored import StoredReads, read_outcome
from skerry.clock import Clock, SystemClock
from skerry.errors import Disconnected, JournalError, Overloaded, SettingsError, Trimmed, WrongEpoch
from skerry.journal.correcting import correct
from skerry.journal.epochs import Epochs
from skerry.journal.journal import (
    Batch,
    Correction,
    DeadLetter,
    Lease,
    Outcome,
    Record,
    Snapshot,
    StoredProjection,
    StoredRow,
)
from skerry.position import Position

logger = logging.getLogger("skerry.journal")
OLDER_COPY = "the file is an older copy"
_TRIM_EVENTS = 10_000
_NOTED = 64
Rows = list[Sequence[Any]]
T = TypeVar("T")


class SqliteJournal(StoredReads):
    """See `skerry.journal.journal.JournalWriter`; an async context manager, to be opened once.

    `path`: the file, made with its directory when missing. `namespace` prefixes its tables, so that several
    applications may live in one file (not in two processes at once). `read_only`: for looking on while another
    process owns the file; whatever writes raises JournalError.
    """

    def __init__(
        self,
        path: str,
        namespace: str,
        *,
        settings: SqliteSettings | None = None,
        clock: Clock | None = None,
        read_only: bool = False,
    ) -> None:
        if not path or ":memory:" in path:
            raise SettingsError("SKERRY_JOURNAL", "sqlite: needs a file; for a journal in memory say memory:")
        self.path = os.path.abspath(path)
        self.namespace = namespace
        self._settings = settings or SqliteSettings()
        self._clock = clock or SystemClock()
        self._statements = Statements(namespace)
        self._ownership = None if read_only else Ownership(self.path)
        self._writer = Worker(self.path, self._open_writer, name="skerry-sqlite-writer")
        self._reader = Worker(self.path, lambda: open_reader(self.path), name="skerry-sqlite-reader")
        self._recent = Recent()
        self._room = Room(
            self._writer, self._statements, self._settings, self._clock, self._recent, self._note
        )
        self._end = Position("", 0)
        self._seen_version = 0
        self._turn = asyncio.Lock()
        self._turns = 0  # taken and asked for
        self._snapshots = asyncio.Semaphore(self._settings.max_snapshots)

    async def __aenter__(self) -> SqliteJournal:
        """Raises JournalError when another process owns the file, Disconnected when it cannot be opened or
        written, Corrupt when it is damaged."""
        check_library()
        seconds = self._settings.open_seconds
        self._turn = asyncio.Lock()  # of this loop
        self._turns = 0
        self._snapshots = asyncio.Semaphore(self._settings.max_snapshots)
        if self._ownership is None:
            await self._reader.start(seconds)
            return self
        make_place(self.path)
        try:
            self._ownership.take()
            await self._writer.start(seconds)
            await self._reader.start(seconds)
        except OSError as error:
            await self._close()
            raise Disconnected(f"{self.path}: {error.strerror}") from error
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()

    async def _close(self) -> None:
        seconds = self._settings.open_seconds
        await self._reader.stop(seconds)
        if self._ownership is not None:
            has_ended = await self._writer.stop(seconds)
            if has_ended:  # else the file stays ours until this process ends
                self._ownership.give_back()

    def _open_writer(self) -> apsw.Connection:
        connection = open_writer(self.path, self._settings)
        try:
            self._statements.load_tables(connection)
            self._statements.make_flush(connection)
        except Disconnected:
            pass  # nobody has prepared it yet
        except BaseException:
            connection.close()
            raise
        return connection

    async def prepare(self, tables: Sequence[str]) -> None:
        def job(connection: apsw.Connection) -> None:
            prepare(connection, self._statements, tables)

        await self._alone(job, self._settings.open_seconds)
        await self._recognise()

    def _note(self, end: Position, command_id: str) -> None:
        """Keep beside the file how far it has come."""
        self._end = end
        if self._ownership is not None:
            self._ownership.note(f"{self.namespace} {end.epoch} {end.offset} {command_id[:_NOTED]}\n")

    async def guests_end(self) -> Position | None:
        seen = self._seen_version

        def job(connection: apsw.Connection) -> tuple[int, str, int, str] | None:
            version = int(str(connection.pragma("data_version")))
            if version == seen:
                return None
            epoch, pos = connection.execute(self._statements["end"]).fetchall()[0]
            found = connection.execute(self._statements["head"], (pos,)).fetchall()[0]
            return version, str(epoch), int(str(pos)), str(found[3])

        found = await self._reader.run(job, self._settings.statement_seconds)
        if found is None:
            return None
        self._seen_version, epoch, pos, command_id = found
        end = Position(epoch, pos)
        if end.epoch == self._end.epoch and end.offset <= self._end.offset:
            return None  # it was this process itself
        self._note(end, command_id)
        return end

    async def _recognise(self) -> None:
        """A file that is not as far as the last owner had brought it, or has other events, is an older copy: begin an
        epoch, so that nobody trusts what was lost."""
        noted = self._ownership.noted.split(" ") if self._ownership is not None else []
        if len(noted) != 4 or noted[0] != self.namespace or not noted[2].isdecimal():
            return
        assert self._ownership is not None
        self._ownership.noted = ""  # once
        epoch, offset, command_id = noted[1], int(noted[2]), noted[3]
        head = await self.head(offset)
        known = Epochs.of(await self.epochs())
        if head.position.offset < offset or epoch not in known:
            begun = await self._begin_epoch(OLDER_COPY, head.position.offset, offset if epoch in known else 0)
        elif head.command_id and head.command_id[:_NOTED] != command_id:
            begun = await self._begin_epoch(OLDER_COPY, 0, 0)
        else:
            return
        logger.error(
            "%s is an older copy or a new file: it had come to %s:%d and is at %d; a new epoch %s begins",
            self.path, epoch, offset, head.position.offset, begun.epoch,
        )  # fmt: skip

    async def adopt(self, application: str) -> None:
        check_text("application", (application,))
        await self._change(("adopt", (application,)))

    async def rename_table(self, old: str, new: str) -> bool:
        return await self._alone(
            lambda connection: rename(connection, self._statements, checked_table(old), checked_table(new)),
            upkeep.MIGRATE_SECONDS,
        )

    # --- tables of the application's own, and operators (skerry.journal.migration, skerry.roles.infra)

    dialect = "sqlite"

    async def migrate(self, steps: Sequence[str]) -> int:
        return await self._alone(
            lambda connection: upkeep.migrate(connection, self._statements, steps), upkeep.MIGRATE_SECONDS
        )

    async def rehearse(self, tables: Sequence[str], steps: Sequence[str]) -> None:
        await asyncio.to_thread(rehearse, self.path, self.namespace, tables, steps)

    async def missing(self, tables: Sequence[str], steps: Sequence[str] | None) -> list[str]:
        return await self._reader.run(
            lambda connection: upkeep.missing(connection, self._statements, tables, steps),
            self._settings.statement_seconds,
        )

    async def users(self) -> list[str]:
        """None: the process that has this journal open for writing is its only user."""
        return []

    async def erase(self, script: str) -> list[str]:
        return await self._alone(
            lambda connection: upkeep.erase(connection, self._statements, script, self.path),
            upkeep.MIGRATE_SECONDS,
        )

    # --- reading

    async def _query(self, text: str, *bindings: Any) -> Rows:
        def job(connection: apsw.Connection) -> Rows:
            try:
                return list(connection.execute(text, bindings).fetchall())
            except apsw.SQLError as error:
                if "no such table" in str(error):
                    message = f"the journal {self.namespace!r} is not there yet: prepare it"
                    raise Disconnected(message) from error
                raise

        return await self._reader.run(job, self._settings.statement_seconds)

    async def _rows(self, name: str, /, **values: Any) -> Rows:
        return await self._query(self._statements[name], *values.values())

    def _texts(self, values: Sequence[str]) -> str:
        return listed(values)

    async def read(self, after: int, limit: int) -> Sequence[Record]:
        [(floor, joined)] = await self._query(self._statements["read"], after, limit, PAGE_BYTES)
        if after < floor:
            raise Trimmed(after, floor)
        return read_records(joined)

    @asynccontextmanager
    async def snapshot(self, tables: Sequence[str]) -> AsyncIterator[Snapshot]:
        if self._ownership is None:
            await self._reader.run(self._statements.load_tables, self._settings.statement_seconds)
        for table in tables:
            self._statements.known(table)
        seconds = self._settings.statement_seconds
        snapshot = SqliteSnapshot(self.path, self._reader, self._statements, seconds)
        try:
            async with asyncio.timeout(self._settings.turn_seconds):
                await self._snapshots.acquire()
        except TimeoutError as error:
            raise Overloaded(f"{self._settings.max_snapshots} snapshots are being read already") from error
        try:
            async with asyncio.timeout(self._settings.snapshot_seconds) as limit:
                await snapshot.open()
                yield snapshot
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise Disconnected(f"a snapshot took over {self._settings.snapshot_seconds:g} s") from error
        finally:
            snapshot.close()
            self._snapshots.release()

    async def missed(self, position: Position) -> bool:
        check_text("epoch", (position.epoch,))
        [found] = await self._change(("missed", (position.epoch, position.offset)))
        return bool(found)

    async def outcome(self, command_id: str) -> Outcome | None:
        found = await self._query(self._statements["outcome"], command_id)
        return read_outcome(found[0]) if found else None

    async def verify(self) -> Sequence[str]:
        def job(connection: apsw.Connection) -> list[str]:
            self._statements.load_tables(connection)
            return problems(connection, self._statements)

        return await self._reader.run(job, self._settings.snapshot_seconds)

    async def back_up(self, path: str, seconds: float = 3600.0) -> None:
        """Write a compact copy of the whole file as it is now to `path`, which must not exist; readable by its
        owner only. Writing goes on meanwhile. Raises JournalError when the copy cannot be made."""
        worker = Worker(self.path, lambda: open_copier(self.path), name="skerry-sqlite-copy")
        await worker.start(self._settings.open_seconds)
        try:
            await worker.run(lambda connection: copy_to(connection, path), seconds)
        finally:
            await worker.stop(self._settings.open_seconds)

    # --- deciding

    async def _take_turn(self) -> None:
        """One batch, or one other change, at a time, in order of asking; `_end_turn` afterwards."""
        if self._ownership is None:
            raise JournalError(f"{self.path} was opened for reading only")
        self._turns += 1
        try:
            if self._turns == 1:
                await self._turn.acquire()  # at once, as nobody has it: no timer
                return
            async with asyncio.timeout(self._settings.turn_seconds):
                await self._turn.acquire()
        except BaseException as error:
            self._turns -= 1
            if not isinstance(error, TimeoutError):
                raise
            raise Overloaded(
                f"the batch before took longer than {self._settings.turn_seconds:g} s"
            ) from error

    def _end_turn(self) -> None:
        self._turns -= 1
        self._turn.release()

    async def _alone(self, job: Job[T], seconds: float, *, forgets: bool = True) -> T:
        """Run `job` in the writer's thread while no batch is open. `forgets`: it may change rows, or the epoch."""
        await self._take_turn()
        try:
            if forgets:
                self._recent.forget()
            return await self._writer.run(job, seconds)
        finally:
            self._end_turn()

    @asynccontextmanager
    async def batch(
        self, claims: Sequence[str], keys: Iterable[Place], lease: Lease | None = None, recall: bool = False
    ) -> AsyncIterator[tuple[Batch, Mapping[Place, StoredRow]]]:
        await self._take_turn()
        try:
            places = tuple(keys)
            rows, position = self._recent.recall(places) if recall else None, self._recent.position
            if rows is not None and position is not None:
                found = Opened(position, {}, existing(rows))
            else:
                recall, found = False, await opened(self._room, claims, places)
                self._recent.read(found.position, places, found.rows)
            read = frozenset(places)
            batch = SqliteBatch(
                self._room, frozenset(claims), lease, found.position, found.known, read, recall
            )
            try:
                yield batch, found.rows
            finally:
                batch.close()
        finally:
            self._end_turn()

    async def _change(self, *steps: tuple[str, tuple[Any, ...]], forgets: bool = False) -> list[Rows]:
        """Run statements (name, bindings) as one transaction, alone."""
        texts = [(self._statements[name], bindings) for name, bindings in steps]

        def job(connection: apsw.Connection) -> list[Rows]:
            check_place(connection)
            if len(texts) == 1:
                return [list(connection.execute(*texts[0]).fetchall())]
            with transaction(connection):
                return [list(connection.execute(text, bindings).fetchall()) for text, bindings in texts]

        return await self._alone(job, self._settings.statement_seconds, forgets=forgets)

    async def attempts(self, command_ids: Sequence[str]) -> Mapping[str, int]:
        check_text("command id", command_ids)
        [counts] = await self._change(("attempts", (listed(dict.fromkeys(command_ids)), self._clock.now())))
        return {row[0]: row[1] for row in counts}

    async def survived(self, command_ids: Sequence[str]) -> None:
        check_text("command id", command_ids)
        await self._change(("survived", (listed(command_ids),)))

    async def acquire(self, name: str, owner: str, seconds: float) -> Lease | None:
        check_text("lease", (name, owner))
        [fences] = await self._change(("acquire", (name, owner, self._clock.now(), seconds)))
        return Lease(name, owner, fences[0][0]) if fences else None

    async def release(self, lease: Lease) -> None:
        await self._change(("release", (lease.name, lease.owner, lease.fence)))

    async def advance(self, subscriber: str, position: Position) -> None:
        check_text("subscriber", (subscriber, position.epoch))
        await self._change(("advance", (subscriber, position.epoch, position.offset)))

    async def forget(self, subscriber: str) -> None:
        await self._change(("forget", (subscriber,)))

    async def save_projection(self, stored: StoredProjection) -> None:
        check_text("projection", (stored.name, stored.position.epoch))
        at = (stored.position.epoch, stored.position.offset)
        await self._change(("save_projection", (stored.name, stored.version, *at, stored.data)))

    async def bury(self, letter: DeadLetter) -> None:
        check_letter(letter)
        await self._change(("bury", letter_row(letter, self._clock.now())))

    async def exhume(self, command_id: str) -> bool:
        found = await self._change(
            ("exhume", (command_id,)),
            ("exhume_outcome", (command_id,)),
            ("exhume_attempts", (command_id,)),
        )
        return bool(found[0])

    async def trim(self, before: Position) -> int:
        [[(epoch, floor, wanted)]] = await self._change(("trim_floor", (before.offset,)))
        if epoch != before.epoch:
            raise WrongEpoch(before.epoch, epoch)
        while floor < wanted:  # in small transactions: others get their turn between
            floor = min(wanted, floor + _TRIM_EVENTS)
            [(last,)] = await self._query(self._statements["trimmed_id"], floor)
            await self._change(
                ("trim_events", (floor,)), ("trim_amendments", (floor,)), ("set_floor", (floor, last))
            )
        # The owner's clock may be wrong for a while, and the times that it stores then agree with it. So an age counts
        # only where outcomes of eight later days are stored, and for none that was stored after those of the ninth.
        for began, last in await self._query(self._statements["ninth_day"]):
            horizon = min(self._clock.now() - OUTCOME_SECONDS, began)
            await self._change(("trim_outcomes", (horizon, last)), ("trim_attempts", (horizon,)))
        return int(floor)

    async def forget_projection(self, name: str) -> None:
        await self._change(("forget_projection", (name,)))

    async def correct(self, correction: Correction) -> Position:
        return await correct(self, correction, self._clock.now())

    async def new_epoch(self, reason: str = "asked for", common: int = 0) -> Position:
        return await self._begin_epoch(reason, common, 0)

    async def _begin_epoch(self, reason: str, common: int, seen: int) -> Position:
        """`seen`: how far the epoch before is known to have come."""
        epoch = new_epoch_name()
        old = (await self.head()).position.epoch
        await self._change(
            ("begin_epoch", (epoch, reason, common, seen)),
            ("forget_epochs", (MAX_EPOCHS,)),
            ("new_epoch", (epoch,)),
            ("move_cursors", (epoch, old)),
            ("move_projections", (epoch, old)),
            forgets=True,
        )
        position = (await self.head()).position
        self._note(position, (await self.head(position.offset)).command_id)
        return position
