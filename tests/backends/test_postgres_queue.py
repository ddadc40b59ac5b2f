"""The PostgreSQL transport on a real server: the suite of every transport, and what only this one promises."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from dataclasses import replace

import asyncpg
import msgspec
import pytest

from skerry.backends.postgres.queue.depth import Depth
from skerry.backends.postgres.queue.notifications import ANSWER, HINT, Receiver, Sender
from skerry.backends.postgres.queue.settings import QueueSettings
from skerry.backends.postgres.queue.transport import PostgresTransport
from skerry.bus.transport import Announcement, Transport
from skerry.errors import Disconnected, MessageTooLarge, Overloaded, SettingsError
from skerry.journal.journal import Outcome, Status
from skerry.messages.envelope import encode_body, pack
from skerry.testing.clock import VirtualClock
from skerry.testing.pooler import private_pooler
from skerry.testing.services import PrivatePostgres
from skerry.testing.transports import (
    Put,
    TransportSuite,
    World,
    envelope,
    numbers,
    soon,
    started,
    take,
    until,
)

pytestmark = pytest.mark.service("postgresql")


class QueueWorld:
    """A namespace of its own in a database."""

    def __init__(self, dsn: str, **options: object) -> None:
        self.dsn = dsn
        self.namespace = f"t{secrets.token_hex(4)}"
        self.settings = replace(
            QueueSettings(partitions=2, claim_seconds=1.0, start_seconds=60.0),
            **options,  # type: ignore[arg-type]
        )

    def endpoint(self, window: int | None = None) -> Transport:
        return self.process(window)

    def process(self, window: int | None = None, **options: object) -> PostgresTransport:
        settings = replace(self.settings, window=window or self.settings.window, **options)  # type: ignore[arg-type]
        return PostgresTransport(self.dsn, self.namespace, settings)

    async def inject(self, partition: int, data: bytes) -> None:
        await self.run(
            f"insert into {self.namespace}__queue (generation, part, body) values (1, $1, $2)",
            partition,
            data,
        )

    async def run(self, sql: str, *values: object) -> list[asyncpg.Record]:
        """SQL as somebody else."""
        connection = await asyncpg.connect(self.dsn)
        try:
            return list(await connection.fetch(sql, *values))
        finally:
            await connection.close()


@pytest.fixture
async def world(postgresql: PrivatePostgres) -> QueueWorld:
    return QueueWorld(postgresql.dsn)


class TestPostgresTransport(TransportSuite):
    @pytest.fixture
    async def world(self, postgresql: PrivatePostgres) -> World:
        return QueueWorld(postgresql.dsn)


@pytest.fixture(scope="module")
def pooled(postgresql: PrivatePostgres) -> Iterator[str]:
    with private_pooler(postgresql) as pooler:
        yield pooler.through(postgresql.dsn)


@pytest.mark.service("pgbouncer")
class TestBehindAPooler(TransportSuite):
    """PgBouncer in session mode, as it comes."""

    @pytest.fixture
    async def world(self, pooled: str) -> World:
        return QueueWorld(pooled)


async def test_what_was_given_out_is_known_after_a_kill(world: QueueWorld) -> None:
    """A consumer whose process ends without a word: another one gets the partition when its claim has ended, first what
    was given out, as redelivered, then the rest, which was not."""
    sender, dead, next_one = world.process(), world.process(), world.process()
    async with started(sender, next_one):
        await dead.start()
        for number in range(6):
            await soon(sender.send([envelope(number)], 0))
        await take(await dead.commands(0), 3, ack=False)
        await soon(sender.send([envelope(6)], 0))
        work = dead._work.session
        assert work is not None
        work._session.terminate()  # as a kill would: nothing is given back
        dead._work._task.cancel()  # type: ignore[union-attr]
        again = await take(await next_one.commands(0), 7)
        assert numbers(again) == [0, 1, 2, 3, 4, 5, 6]
        assert [delivery.redelivered for delivery in again] == [True] * 6 + [False]
        await dead.stop()


async def test_a_consumer_that_hangs_loses_its_partition(world: QueueWorld) -> None:
    """One that does not look at the queue for as long as a claim lasts is a stranger afterwards: the other one reads,
    from what was given out on, and the first is told."""
    hung, other = world.process(), world.process()
    async with started(hung, other):
        await soon(hung.send([envelope(1)], 0))
        commands = await hung.commands(0)
        await take(commands, 1, ack=False)
        work = hung._work.session
        assert work is not None
        async with work._turn:  # nothing is asked meanwhile, as in a process that was stopped
            [again] = await take(await other.commands(0), 1)
        assert numbers([again]) == [1]
        assert again.redelivered
        with pytest.raises(Disconnected, match="another consumer reads partition 0"):
            await soon(commands.receive(1))


async def test_one_that_becomes_visible_late_is_not_passed_over(world: QueueWorld) -> None:
    """Ids are given before transactions commit: a command with a lower id than what was read, acknowledged and deleted
    is found all the same."""
    process = world.process()
    async with started(process):
        commands = await process.commands(0)
        slow = await asyncpg.connect(world.dsn)
        try:
            async with slow.transaction():
                body = pack([envelope(1)])
                await slow.execute(
                    f"insert into {world.namespace}__queue (generation, part, body) values (1, 0, $1)", body
                )
                await soon(process.send([envelope(2)], 0))
                assert numbers(await take(commands, 1)) == [2]
                await soon(process.send([envelope(3)], 0))
                assert numbers(await take(commands, 1)) == [3]
            assert numbers(await take(commands, 1)) == [1]
        finally:
            await slow.close()


async def test_what_was_acknowledged_is_gone_when_it_stops(world: QueueWorld) -> None:
    """An acknowledgement that rode along with nothing is made good by the end of its process, and the partition is free
    at once."""
    first, second = world.process(claim_seconds=600.0), world.process()
    async with started(second):
        async with started(first):
            await soon(first.send([envelope(1)], 0))
            await take(await first.commands(0), 1)
        assert await world.run(f"select from {world.namespace}__queue") == []
        await soon(second.send([envelope(2)], 0))
        [delivery] = await take(await second.commands(0), 1)
        assert (numbers([delivery]), delivery.redelivered) == ([2], False)


async def test_large_commands_and_answers_arrive(world: QueueWorld) -> None:
    """A command of some megabytes travels as it is; one above the limit is refused; what is told may be longer than a
    notification, and text of any language."""
    process = world.process(max_message_bytes=4_000_000)
    said: list[Outcome] = []
    async with started(process):
        process.answers(lambda outcomes, epoch: said.extend(outcomes))
        value = "\u2603" * 1_000_000
        await soon(process.send([envelope(1, value=value)], 0))
        [delivery] = await take(await process.commands(0), 1)
        assert msgspec.json.decode(encode_body(delivery.envelopes[0]), type=Put).value == value
        with pytest.raises(MessageTooLarge):
            await soon(process.send([envelope(2, value="x" * 5_000_000)], 0))
        result = msgspec.json.encode("\u2603" * 100_000)
        process.answer(process.name, [Outcome("1", Status.APPLIED, 1, result=msgspec.Raw(result))], "e")
        await until(lambda: bool(said))
        assert said[0].result is not None
        assert bytes(said[0].result) == result


async def test_equal_messages_are_all_heard(world: QueueWorld) -> None:
    """PostgreSQL drops the second of two equal notifications of a transaction; ours are never equal."""
    process = world.process()
    heard: list[Announcement] = []
    async with started(process):
        process.announcements(heard.append)
        for _ in range(10):
            process.announce(Announcement("t", b"same"))
        await until(lambda: len(heard) == 10)


async def test_a_user_without_rights_is_told(world: QueueWorld, postgresql: PrivatePostgres) -> None:
    """Tables that are there and not for this user end the start, with what to do."""
    async with started(world.process()):
        pass
    postgresql.query(f"create role {world.namespace} login password 'p'")
    poor = world.dsn.partition("@")[2]
    process = PostgresTransport(f"postgresql://{world.namespace}:p@{poor}", world.namespace, world.settings)
    with pytest.raises(SettingsError, match=r"may not read and write .* grant"):
        await soon(process.start())
    assert not process.connected


async def test_what_cannot_be_inserted_fails_in_time(world: QueueWorld) -> None:
    """A table that was dropped: sends are tried again, and given up after their time with the reason; readiness says
    it. Made again, all goes on."""
    process = world.process(resend_seconds=0.5)
    async with started(process):
        await world.run(f"alter table {world.namespace}__queue rename to {world.namespace}__gone")
        with pytest.raises(Disconnected, match=r"not confirmed within 0\.5 s"):
            await soon(process.send([envelope(1)], 0))
        assert process.trouble is not None
        assert process.connected
        await world.run(f"alter table {world.namespace}__gone rename to {world.namespace}__queue")
        async with asyncio.timeout(60):
            while True:
                try:
                    await process.send([envelope(2)], 0)
                    break
                except Disconnected:  # its next attempt may be later than the end of this one
                    continue
        assert process.trouble is None


@pytest.mark.parametrize("text", ["", "short", "x" * 20_000, "\u2603\U0001f600" * 5_000])
def test_messages_are_cut_and_put_together(text: str) -> None:
    """Each payload is shorter than PostgreSQL's limit, no two are alike, and a message comes out as it went in, though
    another process's pieces come in between."""
    sender, other, receiver = Sender(), Sender(), Receiver()
    payloads = [*sender.payloads(HINT, text.encode()), *sender.payloads(HINT, text.encode())]
    assert max(len(payload.encode()) for payload in payloads) < 8000
    assert len(set(payloads)) == len(payloads)
    found = []
    for mine, others in zip(payloads, other.payloads(ANSWER, b"y" * 100_000), strict=False):
        found += [receiver.take(1, mine), receiver.take(2, others)]
    found += [receiver.take(1, payload) for payload in payloads[13:]]
    assert [each for each in found if each is not None] == [(HINT, text.encode())] * 2


async def test_a_queue_has_a_limit(world: QueueWorld) -> None:
    """Where as many messages wait as may, more are refused at once, as not taken; other partitions go on, and this one
    as soon as it has room: also when its messages went with the lost tail of a failover."""
    process = world.process(most_waiting=3)
    async with started(process):
        for number in range(3):
            await soon(process.send([envelope(number)], 0))
        await until(lambda: process.waiting == 3)
        with pytest.raises(Overloaded, match=r"not taken: 3 messages .* partition 0"):
            await soon(process.send([envelope(3)], 0))
        assert process.trouble is not None
        await soon(process.send([envelope(4)], 1))
        commands = await process.commands(0)
        await take(commands, 3)
        await commands.close()
        await until(lambda: process.waiting == 1)
        assert process.trouble is None
        for number in range(5, 8):
            await soon(process.send([envelope(number)], 0))
        await until(lambda: process.waiting == 4)
        await world.run(f"delete from {world.namespace}__queue where part = 0")
        await until(lambda: process.waiting == 1)
        await soon(process.send([envelope(8)], 0))
        assert await world.run(f"select from {world.namespace}__queue where part = 0") != []


async def test_a_queue_where_nothing_happens_is_not_counted(world: QueueWorld) -> None:
    """While nobody sends and nothing waits, no statement is spent on it."""
    clock = VirtualClock()
    counts: list[int] = []

    async def count() -> dict[int, int]:
        counts.append(1)
        return {0: 0}

    depth = Depth(count, 3, clock)
    depth.start()
    await clock.advance(10.0)
    assert len(counts) == 1
    assert depth.room(0) is None
    await clock.advance(10.0)
    assert len(counts) == 2
    await depth.stop()
