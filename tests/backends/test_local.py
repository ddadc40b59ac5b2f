"""`local:` transport and journal calls: the suite of all transports, and what a hub with peers promises besides."""

from __future__ import annotations

import asyncio
import itertools
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from skerry.backends.local import frames
from skerry.backends.local.connection import SOFT_LIMIT_BYTES, Connection
from skerry.backends.local.hub import Hub
from skerry.backends.local.owner import (
    LOCK_NAME,
    DirectTransport,
    LocalOwner,
    Lock,
    hub_path,
    local_directory,
)
from skerry.backends.local.peer import Calls, LocalPeer, PeerSettings
from skerry.backends.local.reader import remote_journal
from skerry.backends.local.unconfirmed import Unconfirmed
from skerry.backends.queues import Message
from skerry.bus.transport import Announcement, Transport
from skerry.errors import Disconnected, JournalError, LifecycleError, SettingsError, Trimmed
from skerry.journal.epochs import Epoch
from skerry.journal.hints import Hint
from skerry.journal.journal import DeadLetter, Head, JournalPeer, Outcome, Record, Status, StoredProjection
from skerry.loop.sockets import listen_unix
from skerry.position import Position
from skerry.testing.transports import TransportSuite, envelope, numbers, record, soon, started, take, until


class LocalWorld:
    """One hub; the first endpoint is in its process, all others come over the socket."""

    def __init__(self, hub: Hub, path: Path, direct_first: bool) -> None:
        self._hub, self._path = hub, path
        self._direct_first = direct_first
        self._names = itertools.count(1)

    def endpoint(self, window: int | None = None) -> Transport:
        number = next(self._names)
        if number == 1 and self._direct_first:
            return DirectTransport(self._hub, "direct", window or 10_000)
        return LocalPeer(
            self._path, f"peer-{number}", PeerSettings(window=window or 10_000, start_seconds=30.0)
        )

    async def inject(self, partition: int, data: bytes) -> None:
        self._hub.queue(partition).put(Message([], lambda: None, undecodable=data))


@asynccontextmanager
async def hub_at(path: Path) -> AsyncIterator[Hub]:
    hub = Hub()
    server = await asyncio.get_running_loop().create_unix_server(hub.accept, sock=listen_unix(path))
    yield hub
    server.close()
    hub.close()


class TestPeers(TransportSuite):
    """Everybody over the socket."""

    @pytest.fixture
    async def world(self, tmp_path: Path) -> AsyncIterator[LocalWorld]:
        async with hub_at(tmp_path / "hub") as hub:
            yield LocalWorld(hub, tmp_path / "hub", direct_first=False)


class TestOwnerAndPeers(TransportSuite):
    """The first endpoint is in the hub's process."""

    @pytest.fixture
    async def world(self, tmp_path: Path) -> AsyncIterator[LocalWorld]:
        async with hub_at(tmp_path / "hub") as hub:
            yield LocalWorld(hub, tmp_path / "hub", direct_first=True)


# --- reconnecting


def peer(path: Path, name: str = "server-1", **settings: Any) -> LocalPeer:
    return LocalPeer(hub_path(path), name, PeerSettings(start_seconds=30.0, **settings))


async def test_unconfirmed_sends_go_out_again_in_order(tmp_path: Path) -> None:
    """A consumer that dies before its commit gets the same commands again when it is back, in order, marked as
    redelivered; the senders notice nothing but the wait."""
    file = tmp_path / "kv.db"
    server = peer(file, grace_seconds=30.0, resend_seconds=60.0)
    owner = LocalOwner(file, "consumer-1")
    await owner.start()
    async with started(server):
        sends = [asyncio.ensure_future(server.send([envelope(n)], 0)) for n in range(5)]
        got = await take(await owner.commands(0), 5, ack=False)
        assert numbers(got) == [0, 1, 2, 3, 4]
        await owner.stop()  # received, not acknowledged: as good as dead
        owner.release()
        await until(lambda: not server.welcomed)
        assert server.connected  # for a moment nobody needs to know
        sends.append(asyncio.ensure_future(server.send([envelope(5)], 0)))
        again = LocalOwner(file, "consumer-1")
        async with started(again):
            got = await take(await again.commands(0), 6)
            assert numbers(got) == [0, 1, 2, 3, 4, 5]
            assert [d.redelivered for d in got] == [True] * 5 + [False]
            await soon(asyncio.gather(*sends))
        again.release()


async def test_a_send_is_given_up_when_the_consumer_stays_away(tmp_path: Path) -> None:
    """Unconfirmed after `resend_seconds` without a connection: Disconnected, and the window is free again."""
    file = tmp_path / "kv.db"
    owner = LocalOwner(file, "consumer-1")
    server = peer(file, resend_seconds=0.05, window=1)
    await owner.start()
    async with started(server):
        sending = asyncio.ensure_future(server.send([envelope(1)], 0))
        await take(await owner.commands(0), 1, ack=False)
        await owner.stop()
        with pytest.raises(Disconnected):
            await soon(sending)
        await until(lambda: not server.connected)
        assert not server.welcomed
        with pytest.raises(Disconnected):  # not Overloaded: the first one gave its place back
            await soon(server.send([envelope(2)], 0))


async def test_without_time_to_come_back_what_was_sent_is_given_up_with_its_connection() -> None:
    """At once, and its place in the window is free."""
    unconfirmed = Unconfirmed(window=1, window_bytes=1 << 20, resend_seconds=0)
    sending: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    assert unconfirmed.add([envelope(1)], 0, sending) is not None
    unconfirmed.lost()
    with pytest.raises(Disconnected, match="the connection was lost"):
        await soon(sending)
    assert len(unconfirmed) == 0


async def test_a_peer_may_start_before_the_hub(tmp_path: Path) -> None:
    """`start` of a server waits for the consumer to appear."""
    file = tmp_path / "kv.db"
    server = peer(file)
    starting = asyncio.ensure_future(server.start())
    owner = LocalOwner(file, "consumer-1")
    async with started(owner):
        await soon(starting)
        assert server.connected
        await server.stop()


async def test_start_without_a_hub_fails_in_time(tmp_path: Path) -> None:
    """Nobody there within `start_seconds`: Disconnected, and nothing keeps running."""
    server = LocalPeer(tmp_path / "nobody", "server-1", PeerSettings(start_seconds=0.05))
    with pytest.raises(Disconnected, match="no consumer at"):
        await soon(server.start())
    assert not server.connected


async def test_another_version_is_refused_with_a_reason(tmp_path: Path) -> None:
    """A peer of another protocol version is told so, and does not try for ever."""
    async with hub_at(tmp_path / "hub"):
        loop = asyncio.get_running_loop()
        said: asyncio.Future[frames.AnyFrame] = loop.create_future()
        gone: asyncio.Future[str] = loop.create_future()
        connection = Connection(said.set_result, gone.set_result)
        await loop.create_unix_connection(lambda: connection, str(tmp_path / "hub"))
        connection.send(frames.Hello(frames.VERSION + 1, "server-1", 1))
        refusal = await soon(said)
        assert isinstance(refusal, frames.Refused)
        assert f"version {frames.VERSION}" in refusal.reason
        await soon(gone)


async def test_a_hub_that_does_not_answer_is_given_up(tmp_path: Path) -> None:
    """A hung consumer accepts and says nothing more: after three pings the peer is not connected and tries anew."""
    connections: list[asyncio.Transport] = []

    class Mute(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.Transport)
            connections.append(transport)
            transport.write(frames.encode(frames.Welcome(frames.VERSION, "mute")))

    server = await asyncio.get_running_loop().create_unix_server(Mute, sock=listen_unix(tmp_path / "hub"))
    mute = LocalPeer(tmp_path / "hub", "server-1", PeerSettings(ping_seconds=0.01))
    async with started(mute):
        await until(lambda: len(connections) >= 2)
    server.close()


# --- peers among themselves


async def test_a_peer_that_was_stopped_sends_nothing(tmp_path: Path) -> None:
    """Its callers hear so at once, however long others would wait for a consumer."""
    file = tmp_path / "kv.db"
    server = peer(file, resend_seconds=3600.0)
    async with started(LocalOwner(file, "consumer-1")):
        async with started(server):
            pass
        with pytest.raises(Disconnected, match="not started"):
            await soon(asyncio.ensure_future(server.send([envelope(0)], 0)))


async def test_a_name_is_used_once_at_a_hub(tmp_path: Path) -> None:
    """By an end in its process as by one that is connected: answers have to reach the one that asked."""
    async with hub_at(tmp_path / "hub") as hub:
        server = LocalPeer(tmp_path / "hub", "server-1", PeerSettings(start_seconds=30.0))
        async with started(server):
            with pytest.raises(LifecycleError, match="server-1"):
                await DirectTransport(hub, "server-1").start()
        async with started(DirectTransport(hub, "server-2")):
            with pytest.raises(LifecycleError, match="server-2"):
                await DirectTransport(hub, "server-2").start()


async def test_a_peer_that_leaves_is_announced(tmp_path: Path) -> None:
    """Who dies cannot say so: the hub tells everybody which process left."""
    file = tmp_path / "kv.db"
    owner, server, other = LocalOwner(file, "consumer-1"), peer(file, "server-1"), peer(file, "server-2")
    heard: list[Announcement] = []
    async with started(owner, other):
        other.announcements(heard.append)
        await server.start()
        await server.stop()
        await until(lambda: bool(heard))
        assert [(a.topic, a.payload) for a in heard] == [("process_left", b"server-1")]


async def test_a_slow_peer_loses_hints_and_hears_the_newest_position(tmp_path: Path) -> None:
    """Who does not read loses hints beyond a bound, others lose nothing; when it reads again it hears the tip."""
    async with hub_at(tmp_path / "hub") as hub:
        patient = PeerSettings(start_seconds=30.0, ping_seconds=60.0)
        quick, slow = (LocalPeer(tmp_path / "hub", name, patient) for name in ("quick", "slow"))
        heard: dict[str, list[Hint]] = {"quick": [], "slow": []}
        async with started(quick, slow):
            quick.subscribe(heard["quick"].append)
            slow.subscribe(heard["slow"].append)
            wire = slow.wire()
            wire.pause()
            last = 4 * SOFT_LIMIT_BYTES // 1_000_000 * 10
            for n in range(1, last + 1):
                hub.publish(Hint("e", n, n, [record(n, 100_000)]))
                assert hub.peers["slow"].connection.buffered_bytes < SOFT_LIMIT_BYTES + 200_000
                if n % 10 == 0:
                    await until(lambda n=n: bool(heard["quick"]) and heard["quick"][-1].last == n)  # type: ignore[misc]
            assert [h.last for h in heard["quick"]] == list(range(1, last + 1))
            wire.resume()
            await until(lambda: bool(heard["slow"]) and heard["slow"][-1].last == last)
            assert len(heard["slow"]) < last
            assert heard["slow"][-1].records is None


async def test_a_peer_that_never_reads_is_closed() -> None:
    """Answers are not dropped on a connection that stands: past the hard limit the connection ends."""
    lost: list[str] = []
    connection = Connection(lambda frame: None, lost.append, hard_limit_bytes=1000)
    for _ in range(30):
        connection.send(frames.Answer("x", "e", b"." * 100))
    assert connection.closed
    assert connection.buffered_bytes == 0


# --- who owns the file


async def test_one_owner_at_a_time(tmp_path: Path) -> None:
    """A second consumer stands by while the first owns the file, and takes over when it lets go."""
    file = tmp_path / "kv.db"
    standing: list[bool] = []
    first = LocalOwner(file, "consumer-1")
    second = LocalOwner(file, "consumer-2", on_standby=lambda: standing.append(True))
    await first.start()
    takeover = asyncio.ensure_future(second.start())
    await until(lambda: bool(standing))
    assert not takeover.done()
    await first.stop()
    assert not takeover.done()  # the journal is not closed yet
    first.release()
    await soon(takeover)
    await second.stop()
    second.release()
    assert not local_directory(file).exists()


async def test_who_has_the_file_open_is_its_owner_without_a_lock_too(tmp_path: Path) -> None:
    """The lock's directory was cleared away, and the owner has not made it again yet: nobody else takes over."""
    file, open_by, standing = tmp_path / "kv.db", ["4711"], list[bool]()
    second = LocalOwner(
        file, "b", on_standby=lambda: standing.append(True), owner_of=lambda file: "".join(open_by)
    )
    takeover = asyncio.ensure_future(second.acquire())
    await until(lambda: bool(standing))
    assert not takeover.done()
    first_lock = Lock(local_directory(file) / LOCK_NAME)
    assert first_lock.try_acquire()  # made again: it was left free
    open_by.clear()
    first_lock.release()
    await soon(takeover)
    second.release()


async def test_a_file_that_stays_owned_is_a_clear_error(tmp_path: Path) -> None:
    """Two consumers for one file: the second ends with a line that names the owner."""
    file = tmp_path / "kv.db"
    first, second = LocalOwner(file, "a"), LocalOwner(file, "b", standby_seconds=0.03)
    await first.acquire()
    with pytest.raises(SettingsError, match=r"is owned by process \d+"):
        await soon(second.acquire())
    first.release()
    assert Lock(tmp_path / "nowhere" / "lock").try_acquire() is False


async def test_sockets_are_private_and_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The directory is the owner's only, and deep paths get a short one."""
    owner = LocalOwner(tmp_path / "kv.db", "c")
    async with started(owner):
        assert local_directory(tmp_path / "kv.db").stat().st_mode & 0o777 == 0o700
        assert hub_path(tmp_path / "kv.db").stat().st_mode & 0o777 == 0o600
    owner.release()
    monkeypatch.setenv("SKERRY_RUNTIME_DIR", str(tmp_path / "run"))
    deep = tmp_path / ("d" * 60) / ("e" * 60) / "kv.db"
    assert local_directory(deep).parent == tmp_path / "run"
    assert local_directory(deep) != local_directory(deep.with_name("other.db"))


# --- the journal of a peer


class Rows:
    """A snapshot of one table in two pages."""

    position = Position("e", 7)

    async def rows(self, table: str) -> AsyncIterator[Sequence[tuple[str, bytes | str, int]]]:
        yield [("a", b'{"v":"\xc3\xbc"}', 1), ("b", '{"v":2}', 2)]
        yield [("c", b'"x"', 7)]


class FakeJournal:
    """What an owner serves, with recorded calls."""

    def __init__(self) -> None:
        self.open_snapshots = 0
        self.buried: list[DeadLetter] = []

    async def head(self, at: int | None = None) -> Head:
        return Head(Position("e", 7), 2, "" if at is None else f"c{at}")

    async def epochs(self) -> Sequence[Epoch]:
        return [Epoch(1, "d", 0, 0), Epoch(2, "e", 5, 4, "restored", "", 3, 1.5)]

    async def missed(self, position: Position) -> bool:
        return position.epoch == "d"

    async def read(self, after: int, limit: int) -> Sequence[Record]:
        if after < 2:
            raise Trimmed(after, 2)
        return [record(n) for n in range(after + 1, min(7, after + limit) + 1)]

    async def outcome(self, command_id: str) -> Outcome | None:
        if command_id == "none":
            return None
        return Outcome(command_id, Status.REJECTED, 3, reason="no", result=msgspec.Raw(b'{"a":1}'))

    async def load_projection(self, name: str) -> StoredProjection | None:
        return StoredProjection(name, 2, Position("e", 5), b"\x00\xffstate")

    @asynccontextmanager
    async def snapshot(self, tables: Sequence[str]) -> AsyncIterator[Rows]:
        self.open_snapshots += 1
        try:
            yield Rows()
        finally:
            self.open_snapshots -= 1

    async def bury(self, letter: DeadLetter) -> None:
        self.buried.append(letter)

    async def dead_letters(self, after: str = "", limit: int = 100) -> Sequence[DeadLetter]:
        return [x for x in self.buried if x.command_id > after][:limit]

    async def dead_letter(self, command_id: str) -> DeadLetter | None:
        return next((x for x in self.buried if x.command_id == command_id), None)

    async def exhume(self, command_id: str) -> bool:
        return any(x.command_id == command_id for x in self.buried)

    async def trim(self, before: Position) -> int:
        return before.offset

    async def verify(self) -> Sequence[str]:
        raise ZeroDivisionError("a fault of the backend")

    async def advance(self, subscriber: str, position: Position) -> None:
        return None

    async def cursor(self, subscriber: str) -> Position | None:
        return None


@asynccontextmanager
async def served(file: Path) -> AsyncIterator[tuple[JournalPeer, FakeJournal, LocalPeer]]:
    owner, server, journal = LocalOwner(file, "consumer-1"), peer(file), FakeJournal()
    async with started(owner, server):
        owner.serve(journal)
        yield remote_journal(server), journal, server
    owner.release()


async def test_journal_calls_reach_the_owner(tmp_path: Path) -> None:
    """Whatever a reader, a reactor or an admin asks comes back as if the journal were here."""
    async with served(tmp_path / "kv.db") as (remote, _, _peer):
        assert await remote.head() == Head(Position("e", 7), 2)
        assert await remote.head(4) == Head(Position("e", 7), 2, "c4")
        assert await remote.epochs() == [Epoch(1, "d", 0, 0), Epoch(2, "e", 5, 4, "restored", "", 3, 1.5)]
        assert await remote.missed(Position("d", 6)) is True
        assert await remote.read(5, 10) == [record(6), record(7)]
        assert await remote.outcome("none") is None
        outcome = await remote.outcome("x")
        assert outcome is not None
        assert (outcome.status, outcome.offset, bytes(outcome.result or b"")) == (
            Status.REJECTED,
            3,
            b'{"a":1}',
        )
        assert await remote.load_projection("p") == StoredProjection(
            "p", 2, Position("e", 5), b"\x00\xffstate"
        )
        letter = DeadLetter("id1", "put", 1, "k", b"\xff\x00", "boom", headers={"a": "b"})
        await remote.bury(letter)
        assert await remote.dead_letters() == [letter]
        assert await remote.dead_letter("id1") == letter
        assert await remote.dead_letter("id2") is None
        assert await remote.exhume("id1") is True
        assert await remote.trim(Position("e", 4)) == 4
        assert await remote.cursor("r") is None
        await remote.advance("r", Position("e", 1))


async def test_errors_cross_as_what_they_are(tmp_path: Path) -> None:
    """Trimmed stays Trimmed with its values; a fault of the backend is a JournalError that says what it was."""
    async with served(tmp_path / "kv.db") as (remote, _, _peer):
        with pytest.raises(Trimmed) as caught:
            await remote.read(1, 10)
        assert (caught.value.offset, caught.value.floor) == (1, 2)
        with pytest.raises(JournalError, match="ZeroDivisionError: a fault of the backend"):
            await remote.verify()


async def test_a_snapshot_is_streamed_and_closed(tmp_path: Path) -> None:
    """Pages arrive in order with the position; the owner's transaction ends with the block, also when left early."""
    async with served(tmp_path / "kv.db") as (remote, journal, _peer):
        async with remote.snapshot(["values"]) as snapshot:
            assert snapshot.position == Position("e", 7)
            pages = [page async for page in snapshot.rows("values")]
            assert journal.open_snapshots == 1
        assert pages == [[("a", '{"v":"ü"}'.encode(), 1), ("b", b'{"v":2}', 2)], [("c", b'"x"', 7)]]
        await until(lambda: journal.open_snapshots == 0)
        async with remote.snapshot(["values"]) as snapshot:
            async for _ in snapshot.rows("values"):
                break
        await until(lambda: journal.open_snapshots == 0)


async def test_a_lost_peer_leaves_no_snapshot_open(tmp_path: Path) -> None:
    """A server killed while it loads does not hold the owner's read transaction."""
    async with served(tmp_path / "kv.db") as (remote, journal, server):
        async with remote.snapshot(["values"]) as snapshot:
            assert journal.open_snapshots == 1
            await server.stop()
            with pytest.raises(Disconnected):
                await anext(aiter(snapshot.rows("values")))
        await until(lambda: journal.open_snapshots == 0)


async def test_calls_wait_for_the_journal_and_fail_with_the_connection(tmp_path: Path) -> None:
    """A call that comes before the journal is open waits for it; one that is under way when the owner goes fails."""
    file = tmp_path / "kv.db"
    owner, server = LocalOwner(file, "consumer-1"), peer(file)
    async with started(owner, server):
        early = asyncio.ensure_future(remote_journal(server).head())
        await until(lambda: bool(owner._service._tasks))
        owner.serve(FakeJournal())
        assert (await soon(early)).floor == 2
    owner.release()
    owner = LocalOwner(file, "consumer-1")
    server = peer(file)
    async with started(owner, server):
        late = asyncio.ensure_future(remote_journal(server).head())
        await until(lambda: bool(owner._service._tasks))
        await owner.stop()
        with pytest.raises(Disconnected):
            await soon(late)
    owner.release()
    with pytest.raises(Disconnected):
        await remote_journal(server).head()


async def test_a_place_that_was_cleared_away_is_made_again(tmp_path: Path) -> None:
    """Those that are connected notice nothing, those that come find the owner again, and nobody else becomes one
    meanwhile."""
    file = tmp_path / "kv.db"
    first, second = peer(file, "server-1"), peer(file, "server-2")
    owner = LocalOwner(file, "consumer-1")
    async with started(owner), started(first):
        shutil.rmtree(local_directory(file))
        await until(hub_path(file).exists)
        async with started(second):
            sends = [
                asyncio.ensure_future(each.send([envelope(n)], 0)) for n, each in enumerate((first, second))
            ]
            await take(await owner.commands(0), 2)
            await soon(asyncio.gather(*sends))
        with pytest.raises(SettingsError, match="is owned by process"):
            await LocalOwner(file, "consumer-2", standby_seconds=0.03).acquire()
    owner.release()
    assert not local_directory(file).exists()


async def test_an_answer_that_nobody_waits_for_is_dropped() -> None:
    """A call that was given up is answered all the same; the connection goes on."""
    calls = Calls()
    waiting = asyncio.get_running_loop().create_future()
    calls.waiting[1] = waiting
    calls.settle(frames.Result(2, b"late"))
    calls.settle(frames.Result(1, b"in time"))
    assert (await waiting).data == b"in time"
    calls.settle(frames.Result(1, b"again"))
