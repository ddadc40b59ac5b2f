"""The journal in PostgreSQL, for any number of writers and readers.

`connections.py` knows whether the server is there, `batch.py` how a batch is read, checked and written,
`snapshot.py` and `upkeep.py` (verify) read everything at one position, `schema.py` makes the tables and statements.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any

import asyncpg

from skerry.backends.postgres import mirrors, upkeep
from skerry.backends.postgres.batch import Place, opened
from skerry.backends.postgres.bodies import PostgresBodies
from skerry.backends.postgres.committer import Committer
from skerry.backends.postgres.connections import Connections
from skerry.backends.postgres.doctor import check_rights, doctor, places
from skerry.backends.postgres.intake import PostgresIntake
from skerry.backends.postgres.role import Need
from skerry.backends.postgres.room import ANOTHER_HISTORY, Room
from skerry.backends.postgres.rows import letter_values, read_record
from skerry.backends.postgres.schema import Statements, load_tables, prepare, rename
from skerry.backends.postgres.session import proven
from skerry.backends.postgres.settings import PostgresSettings
from skerry.backends.postgres.snapshot import PostgresSnapshot
from skerry.backends.postgres.upkeep import problems
from skerry.backends.storable import (
    OUTCOME_SECONDS,
    PAGE_BYTES,
    check_letter,
    check_text,
    checked_table,
)
from skerry.backends.stored import StoredReads, read_outcome
from skerry.bus.backend import Finding
from skerry.clock import Clock, SystemClock
from skerry.errors import Disconnected, SettingsError, Trimmed, WrongEpoch
from skerry.journal.correcting import correct
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
from skerry.journal.mirror import Mirrored
from skerry.position import Position

_TRIM_ROWS = 10_000
_DAYS_LOOKED_AT = 60
"""Back from today: where commands came on fewer than nine of them, no outcome is forgotten."""


class PostgresJournal(StoredReads):
    """See `skerry.journal.journal.JournalWriter`; an async context manager, to be opened once.

    `dsn`: `postgresql://user:password@host:port,host:port/database?sslmode=verify-full`, as libpq takes it: any number
    of hosts, of which the primary is found, direct or by a pooler in session mode. `namespace` prefixes all tables,
    which are made in the first schema of the user's search path. `need`: what the server has to be. `required`: whether
    it has to answer when this is opened; without, it is opened all the same, and calls raise Disconnected until the
    server is there.
    """

    def __init__(
        self,
        dsn: str,
        namespace: str,
        *,
        settings: PostgresSettings | None = None,
        clock: Clock | None = None,
        required: bool = True,
        need: Need = Need.WRITABLE,
    ) -> None:
        self.namespace = namespace
        self._required = required
        self._settings = settings or PostgresSettings()
        self._clock = clock or SystemClock()
        self._statements = Statements(namespace)
        self._connections = Connections(dsn, namespace, self._settings, need=need)
        self._room = Room(self._connections, self._statements, self._settings, self._clock)
        self._committer = Committer(self._room)
        self.bodies = PostgresBodies(self._connections, self._statements, self._clock)
        """Where the transport keeps the bodies of large commands."""
        self.intake = PostgresIntake(self._connections, self._statements)
        """What foreign transactions have left."""
        self._mirrors: dict[str, Mirrored] = {}

    async def __aenter__(self) -> PostgresJournal:
        """Raises SettingsError for a DSN that is refused, Disconnected when the server cannot be reached (where
        that is required)."""
        await self._connections.open(required=self._required)
        try:
            async with self._connections.one() as connection:
                await load_tables(connection, self._statements)
        except Disconnected:
            pass  # nobody has prepared it yet
        except BaseException:
            await self._connections.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._committer.close()
        await self._connections.close()

    @property
    def is_away(self) -> bool:
        """Whether the last attempt to connect failed."""
        return self._connections.is_away

    @property
    def read_only(self) -> bool:
        """Whether it takes no writes now: only standbys answer, or a primary that is read-only."""
        return self._connections.read_only

    async def prepare(self, tables: Sequence[str]) -> None:
        """Raises SettingsError too when this user may not write to what is there."""
        async with self._connections.one() as connection:
            await prepare(connection, self._statements, tables)
            refused = await check_rights(connection, self._statements)
            if refused:
                raise SettingsError("SKERRY_JOURNAL", refused)
            is_another = await connection.fetchval(self._statements["is_another"].sql)
        if is_another:
            await self._room.begin_epoch(ANOTHER_HISTORY)

    async def adopt(self, application: str) -> None:
        check_text("application", (application,))
        await self._rows("adopt", name=application)

    async def rename_table(self, old: str, new: str) -> bool:
        self._room.recent.forget()
        async with self._connections.one() as connection:
            return await rename(connection, self._statements, checked_table(old), checked_table(new))

    async def examine(self) -> list[Finding]:
        """What `skerry doctor` says of the server and of this user's rights."""
        async with self._connections.one() as connection:
            found = await doctor(connection, self._statements)
        return found + list(places(await self._connections.hosts()))

    # --- mirrors (skerry.journal.mirror)

    def follow(self, wanted: Sequence[Mirrored]) -> None:
        self._mirrors = {mirror.name: mirror for mirror in wanted}

    async def unready(self, wanted: Sequence[Mirrored]) -> list[tuple[str, str]]:
        async with self._connections.one() as connection:
            found = await mirrors.undone(connection, self._statements, wanted)
        return [(each.what, each.sql) for _, each in found]

    async def make(self, wanted: Sequence[Mirrored]) -> list[str]:
        async with self._connections.one() as connection:
            return await mirrors.make(connection, self._statements, wanted)

    # --- tables of the application's own, and operators (skerry.journal.migration, skerry.roles.infra)

    dialect = "postgresql"

    async def migrate(self, steps: Sequence[str]) -> int:
        self._room.recent.forget()
        async with self._connections.one() as connection:
            return await upkeep.migrate(connection, self._statements, steps)

    async def missing(self, tables: Sequence[str], steps: Sequence[str] | None) -> list[str]:
        async with self._connections.one() as connection:
            return await upkeep.missing(connection, self._statements, tables, steps)

    async def users(self) -> list[str]:
        async with self._connections.one() as connection:
            return await upkeep.users(connection, self._statements)

    async def erase(self, script: str) -> list[str]:
        async with self._connections.one() as connection:
            return await upkeep.erase(connection, self._statements, script)

    async def _rows(self, name: str, /, **values: Any) -> list[Any]:
        statement = self._statements[name]
        async with self._connections.one() as connection:
            return list(await connection.fetch(statement.sql, *statement.arguments(values)))

    # --- reading

    async def read(self, after: int, limit: int) -> Sequence[Record]:
        rows = await self._rows("read", after=after, limit=limit, bytes=PAGE_BYTES)
        if after < rows[0][0]:
            raise Trimmed(after, rows[0][0])
        return [read_record(tuple(row)[1:]) for row in rows if row[1] is not None]

    @asynccontextmanager
    async def _one_view(self) -> AsyncIterator[asyncpg.Connection]:
        """A transaction that sees one state of everything, for at most `snapshot_seconds`."""
        seconds = self._settings.snapshot_seconds
        try:
            async with (
                asyncio.timeout(seconds) as limit,
                self._connections.one() as connection,
                connection.transaction(isolation="repeatable_read", readonly=True),
            ):
                yield connection
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise Disconnected(f"a snapshot took over {seconds:g} s") from error

    async def _know(self, connection: asyncpg.Connection, tables: Sequence[str]) -> None:
        """Look again when one is not known: another process may have prepared it."""
        if not self._statements.tables.issuperset(tables):
            await load_tables(connection, self._statements)
        for table in tables:
            self._statements.known(table)

    @asynccontextmanager
    async def snapshot(self, tables: Sequence[str]) -> AsyncIterator[Snapshot]:
        async with self._one_view() as connection:
            await self._know(connection, [table for table in tables if table not in self._mirrors])
            mirrored = {name: self._mirrors[name] for name in tables if name in self._mirrors}
            snapshot = PostgresSnapshot(connection, self._statements, mirrored)
            await snapshot.begin()
            yield snapshot

    async def missed(self, position: Position) -> bool:
        check_text("epoch", (position.epoch,))
        return bool(await self._rows("missed", epoch=position.epoch, pos=position.offset))

    async def outcome(self, command_id: str) -> Outcome | None:
        check_text("command id", (command_id,))
        async with self._connections.one() as connection:
            found = await connection.fetch(self._statements["outcomes"].sql, [command_id])
            if found:
                await proven(connection)  # it is told to whoever sent the command
        return read_outcome(found[0]) if found else None

    async def verify(self) -> Sequence[str]:
        async with self._one_view() as connection:
            await connection.execute(self._statements["plan_as_usual"].sql)
            await load_tables(connection, self._statements)
            return [problem async for problem in problems(connection, self._statements)]

    # --- deciding

    @asynccontextmanager
    async def batch(
        self, claims: Sequence[str], keys: Iterable[Place], lease: Lease | None = None, recall: bool = False
    ) -> AsyncIterator[tuple[Batch, Mapping[Place, StoredRow]]]:
        batch, rows = await opened(self._committer, claims, keys, lease, recall)
        try:
            yield batch, rows
        finally:
            await batch.close()

    async def attempts(self, command_ids: Sequence[str]) -> Mapping[str, int]:
        check_text("command id", command_ids)
        claims = sorted(set(command_ids))  # sorted: two who count the same ids do not wait for one another
        rows = await self._rows("attempts", claims=claims)
        return {row[0]: row[1] for row in rows}

    async def survived(self, command_ids: Sequence[str]) -> None:
        check_text("command id", command_ids)
        await self._rows("survived", claims=sorted(command_ids))

    async def acquire(self, name: str, owner: str, seconds: float) -> Lease | None:
        check_text("lease", (name, owner))
        found = await self._rows("acquire", name=name, owner=owner, seconds=float(seconds))
        if not found:
            return None
        [(fence, is_another)] = found
        if is_another:  # noticed here when nobody writes
            await self._room.begin_epoch(ANOTHER_HISTORY)
        return Lease(name, owner, fence)

    async def release(self, lease: Lease) -> None:
        await self._rows("release", lease=lease.name, owner=lease.owner, fence=lease.fence)

    async def advance(self, subscriber: str, position: Position) -> None:
        check_text("subscriber", (subscriber, position.epoch))
        await self._rows("advance", subscriber=subscriber, epoch=position.epoch, pos=position.offset)

    async def forget(self, subscriber: str) -> None:
        await self._rows("forget", subscriber=subscriber)

    async def save_projection(self, stored: StoredProjection) -> None:
        check_text("projection", (stored.name, stored.position.epoch))
        epoch, pos = stored.position.epoch, stored.position.offset
        await self._rows(
            "save_projection",
            name=stored.name,
            version=stored.version,
            epoch=epoch,
            pos=pos,
            data=stored.data,
        )

    async def bury(self, letter: DeadLetter) -> None:
        check_letter(letter)
        await self._rows("bury", **letter_values([letter], self._clock.now()))

    async def exhume(self, command_id: str) -> bool:
        [(count,)] = await self._rows("exhume", id=command_id)
        return bool(count)

    async def trim(self, before: Position) -> int:
        """The floor is raised first, so that readers know; what lies below is deleted in small steps."""
        found = await self._rows("raise_floor", wanted=before.offset, epoch=before.epoch)
        if not found:
            raise WrongEpoch(before.epoch, (await self.head()).position.epoch)
        floor = int(found[0][0])
        while (await self._rows("trim_events", floor=floor, limit=_TRIM_ROWS))[0][0] == _TRIM_ROWS:
            pass
        await self._rows("trim_amendments", floor=floor)
        # The server's clock may be wrong for a while, and the times that it stores then agree with it. So an age counts
        # only where outcomes of eight later days are stored, and for none that was stored after those of the ninth.
        for now, began, last in await self._rows("ninth_day", days=_DAYS_LOOKED_AT):
            horizon = min(now - OUTCOME_SECONDS, began)
            while True:
                found = await self._rows("trim_outcomes", horizon=horizon, last=last, limit=_TRIM_ROWS)
                if found[0][0] < _TRIM_ROWS:
                    break
            await self._rows("trim_attempts", horizon=horizon)
        await self.bodies.trim()
        return floor

    async def forget_projection(self, name: str) -> None:
        await self._rows("forget_projection", name=name)

    async def correct(self, correction: Correction) -> Position:
        return await correct(self, correction, self._clock.now())

    async def new_epoch(self, reason: str = "asked for", common: int = 0) -> Position:
        begun = await self._room.begin_epoch(reason, common)
        assert begun is not None
        return begun
