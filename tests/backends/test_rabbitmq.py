"""The RabbitMQ transport on a real broker: the suite of every transport, and what only this one promises."""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import Sequence
from dataclasses import replace

import pytest

from skerry.backends.rabbitmq.brokers import Address, Brokers
from skerry.backends.rabbitmq.large_bodies import GONE
from skerry.backends.rabbitmq.link import Link
from skerry.backends.rabbitmq.settings import RabbitSettings
from skerry.backends.rabbitmq.topology import Topology
from skerry.backends.rabbitmq.transport import RabbitTransport
from skerry.bus.transport import Transport
from skerry.errors import Disconnected, MessageTooLarge, Overloaded, SettingsError
from skerry.journal.hints import Hint, tip
from skerry.messages.envelope import Envelope, encode_body
from skerry.position import Position
from skerry.testing.broker import PrivateBroker
from skerry.testing.transports import (
    TransportSuite,
    World,
    envelope,
    numbers,
    record,
    soon,
    started,
    take,
    until,
)
from skerry.testing.wired_transports import reopen

pytestmark = pytest.mark.service("rabbitmq")


class RabbitWorld:
    """A namespace of its own on a broker."""

    def __init__(self, broker: PrivateBroker, **options: object) -> None:
        namespace = f"t{secrets.token_hex(4)}"
        self.settings = replace(
            RabbitSettings(broker.url, namespace, partitions=2, start_seconds=60.0),
            **options,  # type: ignore[arg-type]
        )

    def endpoint(self, window: int | None = None) -> Transport:
        return self.process(window)

    def process(self, window: int | None = None) -> RabbitTransport:
        return RabbitTransport(replace(self.settings, window=window or self.settings.window))

    async def inject(self, partition: int, data: bytes) -> None:
        link = await Link.open(self.settings, "test")
        try:
            channel = await link.loose_channel()
            await channel.basic_publish(data, routing_key=Topology(self.settings).partition(partition).name)
        finally:
            await link.close(polite=True)


class TestRabbitTransport(TransportSuite):
    @pytest.fixture
    async def world(self, rabbitmq: PrivateBroker) -> World:
        return RabbitWorld(rabbitmq)


@pytest.fixture
async def world(rabbitmq: PrivateBroker) -> RabbitWorld:
    return RabbitWorld(rabbitmq)


@pytest.fixture
async def lively(rabbitmq: PrivateBroker) -> RabbitWorld:
    """For tests that wait for missed beats."""
    return RabbitWorld(rabbitmq, beat_seconds=1.0)


class Shelf:
    """A body store in memory that can be away."""

    def __init__(self) -> None:
        self.bodies: dict[str, bytes] = {}
        self.away = False
        self.asked = 0

    async def put(self, key: str, body: bytes) -> None:
        await asyncio.sleep(0.05)  # others would overtake here
        if self.away:
            raise Disconnected("the store is away")
        self.bodies[key] = body

    async def get(self, key: str) -> bytes | None:
        self.asked += 1
        if self.away:
            raise Overloaded("the store is busy")
        return self.bodies.get(key)

    async def remove(self, keys: Sequence[str]) -> None:
        if self.away:
            raise Disconnected("the store is away")
        for key in keys:
            self.bodies.pop(key, None)


def large(number: int, size: int = 300_000) -> Envelope:
    return envelope(number, value="x" * size)


async def test_a_silent_broker_is_passed_over(world: RabbitWorld) -> None:
    """One of the list takes connections and says nothing: who comes there first is connected to another one after its
    share of the time, and both of its connections go to the one that worked from then on."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        url = world.settings.url.replace("@", f"@127.0.0.1:{port},")
        brokers = Brokers(RabbitSettings(url).hosts)
        settings = replace(world.settings, url=url, connect_seconds=2.0)
        brokers.worked(Address("127.0.0.1", port, "127.0.0.1"))
        link = await Link.open(settings, "test", brokers)
        assert link.address.port != port
        assert (await brokers.addresses(5.0))[0] == link.address
        await link.close()
        with pytest.raises(Disconnected, match=r"did not answer within 0\.5 s"):
            await Link.open(replace(settings, url=f"amqp://127.0.0.1:{port}/", connect_seconds=0.5), "test")


async def test_a_queue_at_a_limit_refuses(world: RabbitWorld, rabbitmq: PrivateBroker) -> None:
    """Somebody's max-length: what does not fit is "not taken", at once where this connection had a confirm before,
    after one more connection where it found the queue full; readiness says so, and nothing is reconnected for it
    again and again. When there is room, all goes on."""
    namespace = world.settings.namespace
    first, second = world.process(), world.process()
    async with started(first):
        await soon(first.send([envelope(0)], 0))
        policy = f"limit-{namespace}"
        await rabbitmq.control(
            "set_policy", policy, f"^{namespace}\\.commands", '{"max-length":3}', "--apply-to", "queues"
        )
        try:
            refused = None
            for number in range(1, 50):  # the broker may take some more before it looks at the limit
                try:
                    await soon(first.send([envelope(number)], 0))
                except Overloaded as error:
                    refused = error
                    break
            assert refused is not None
            assert "not taken" in refused.reason
            assert "limit" in (first.trouble or "")
            assert first.connections == 1
            async with started(second):
                for number in (100, 101, 102):
                    with pytest.raises(Overloaded, match="not taken"):
                        await soon(second.send([envelope(number)], 0))
                assert second.connections == 2
                commands = await first.commands(0)

                async def sent() -> None:
                    while True:
                        await commands.ack(await commands.receive(100))
                        try:
                            return await second.send([envelope(200)], 0)
                        except Overloaded:
                            await asyncio.sleep(0.01)

                await soon(sent())
                assert second.trouble is None
                assert second.connections == 2
        finally:
            await rabbitmq.control("clear_policy", policy)


async def test_a_blocked_broker_is_overload(lively: RabbitWorld, rabbitmq: PrivateBroker) -> None:
    """While the broker has an alarm: sends are refused at once as overload, with its reason; events are dropped,
    the connection stays; then all goes on."""
    lively.settings = replace(
        lively.settings, resend_seconds=300.0
    )  # however long the broker's command takes
    process = lively.process()
    async with started(process):
        await rabbitmq.control("set_vm_memory_high_watermark", "absolute", "1")
        try:
            waiting = asyncio.ensure_future(process.send([envelope(1)], 0))
            await until(lambda: process.blocked is not None)
            with pytest.raises(Overloaded, match="takes no messages"):
                await soon(process.send([envelope(2)], 0))
            process.publish(tip(Position("e", 1)))
            assert process.dropped == 1
            await asyncio.sleep(5.0)  # more beats than may be missed
            assert process.connected
        finally:
            await rabbitmq.control("set_vm_memory_high_watermark", "0.6")
        await soon(waiting)
        await until(lambda: process.blocked is None)
        await soon(process.send([envelope(3)], 0))
        assert process.connections == 1


async def test_a_deleted_queue_heals(world: RabbitWorld) -> None:
    """Somebody deletes a command queue: what is sent comes back unroutable, the queue is declared again and the
    command is sent again; its consumer hears that it consumes no more."""
    process = world.process()
    async with started(process):
        commands = await process.commands(0)
        waiting = asyncio.ensure_future(commands.receive(1))
        link = await Link.open(world.settings, "test")
        await (await link.loose_channel()).queue_delete(Topology(world.settings).partition(0).name)
        await link.close(polite=True)
        await soon(process.send([envelope(1)], 0))
        with pytest.raises(Disconnected):
            await soon(waiting)
        assert numbers(await take(await reopen(process), 1)) == [1]
        assert process.resent >= 1


async def test_a_deleted_exchange_heals(lively: RabbitWorld) -> None:
    """Without the events exchange no beat comes back: everything is declared and bound again."""
    process = lively.process()
    heard: list[Hint] = []
    async with started(process):
        process.subscribe(heard.append)
        link = await Link.open(lively.settings, "test")
        await (await link.loose_channel()).exchange_delete(Topology(lively.settings).events.name)
        await link.close(polite=True)
        await until(lambda: process.connections >= 2)
        process.publish(tip(Position("e", 5)))
        await until(lambda: bool(heard))


async def test_a_channel_that_confirms_no_more_is_replaced(lively: RabbitWorld) -> None:
    """Confirms that stay out, though the beat comes back, end the connection; the next one sends again."""
    process = lively.process()
    async with started(process):
        session = process._talk.session
        assert session is not None
        assert session._send is not None
        session._send.on_confirm = None
        await soon(process.send([envelope(1)], 0))
        assert process.connections == 2
        assert process.resent == 1


async def test_a_long_pack_is_cut(world: RabbitWorld) -> None:
    """One send of many commands becomes messages of at most 256 commands and about 64 KiB, in order, and is
    done when all are durable."""
    process = world.process()
    async with started(process):
        await soon(process.send([envelope(n) for n in range(600)], 0))
        await soon(process.send([envelope(600 + n, value="x" * 20_000) for n in range(9)], 0))
        got = await take(await process.commands(0), 609)
        assert numbers(got) == list(range(609))
        sizes = [len(d.envelopes) for d in got]
        assert 3 <= len(sizes[:-3]) <= 4
        assert max(sizes) <= 256
        assert sizes[-3:] == [3, 3, 3]


async def test_a_message_beyond_the_limit_is_refused(world: RabbitWorld) -> None:
    """Too large for the broker: MessageTooLarge with the sizes, and the connection lives on."""
    world.settings = replace(world.settings, max_message_bytes=100_000)
    process = world.process()
    async with started(process):
        with pytest.raises(MessageTooLarge) as caught:
            await process.send([large(1)], 0)
        assert caught.value.limit_bytes == 100_000
        await soon(process.send([envelope(2)], 0))
        assert process.connections == 1


async def test_large_commands_travel_whole_without_a_store(world: RabbitWorld) -> None:
    """Up to the broker's limit a large command simply travels."""
    process = world.process()
    async with started(process):
        await soon(process.send([large(1, 2_000_000)], 0))
        [delivery] = await take(await process.commands(0), 1)
        assert len(encode_body(delivery.envelopes[0])) > 2_000_000


async def test_large_bodies_are_stored(world: RabbitWorld) -> None:
    """With a store: a large body does not travel, arrives whole, and nobody sent later overtakes it."""
    shelf = Shelf()
    process = RabbitTransport(world.settings, bodies=shelf)
    async with started(process):
        sends = [process.send([large(1)], 0), process.send([envelope(2)], 0), process.send([large(3)], 0)]
        sends.append(process.send([envelope(4)], 0))
        await soon(asyncio.gather(*sends))
        assert len(shelf.bodies) == 2
        got = await take(await process.commands(0), 4)
        assert numbers(got) == [1, 2, 3, 4]
        first = got[0].envelopes[0]
        assert encode_body(first) == encode_body(large(1))
        assert dict(first.headers) == {}


async def test_a_store_that_is_away_is_waited_for(world: RabbitWorld) -> None:
    """While the store is away: a large send fails as Disconnected, a large receive waits and keeps the order."""
    shelf = Shelf()
    process = RabbitTransport(world.settings, bodies=shelf)
    async with started(process):
        await soon(asyncio.gather(process.send([large(1)], 0), process.send([envelope(2)], 0)))
        shelf.away = True
        with pytest.raises(Disconnected, match="store is away"):
            await soon(process.send([large(3)], 0))
        commands = await process.commands(0)
        waiting = asyncio.ensure_future(take(commands, 2))
        await until(lambda: shelf.asked >= 2)
        assert not waiting.done()
        shelf.away = False
        assert numbers(await soon(waiting)) == [1, 2]


async def test_a_stored_body_that_is_gone_is_no_command(world: RabbitWorld) -> None:
    """A command whose body is gone arrives under its id, so that the journal can answer for it, with bytes that are no
    command and say why; those packed with it are whole."""
    shelf = Shelf()
    process = RabbitTransport(world.settings, bodies=shelf)
    async with started(process):
        await soon(process.send([large(1), envelope(2)], 0))
        shelf.bodies.clear()
        [delivery] = await take(await process.commands(0), 2)
        assert numbers([delivery]) == [1, 2]
        assert delivery.envelopes[0].body == GONE
        assert delivery.envelopes[1].body == encode_body(envelope(2))


async def test_a_stored_body_goes_when_its_command_was_decided(world: RabbitWorld) -> None:
    """Acknowledged, a body is removed; a store that is away then is no trouble; without an acknowledgement it stays for
    the next consumer."""
    shelf = Shelf()
    process = RabbitTransport(world.settings, bodies=shelf)
    async with started(process):
        await soon(asyncio.gather(process.send([large(1)], 0), process.send([large(2)], 0)))
        commands = await process.commands(0)
        await take(commands, 1)
        assert [key.partition(".")[0] for key in shelf.bodies] == [f"{2:032x}"]
        await take(commands, 1, ack=False)
        await commands.close()
        commands = await process.commands(0)
        second = await take(commands, 1, ack=False)
        assert numbers(second) == [2]
        shelf.away = True
        await commands.ack(second)
        assert len(shelf.bodies) == 1


async def test_one_id_with_two_bodies_keeps_both(world: RabbitWorld) -> None:
    """Two different commands under one id (a client's mistake, which the journal answers): neither gets the other's
    body."""
    shelf = Shelf()
    process = RabbitTransport(world.settings, bodies=shelf)
    async with started(process):
        one, two = large(1), envelope(1, value="y" * 300_000)
        await soon(asyncio.gather(process.send([one], 0), process.send([two], 0)))
        got = await take(await process.commands(0), 2)
        assert [e.body for d in got for e in d.envelopes] == [encode_body(one), encode_body(two)]


async def test_foreign_events_are_left_out(world: RabbitWorld) -> None:
    """What somebody else publishes to the events exchange is counted and disturbs nobody."""
    process = world.process()
    heard: list[Hint] = []
    async with started(process):
        process.subscribe(heard.append)
        link = await Link.open(world.settings, "test")
        channel = await link.channel()
        events = Topology(world.settings).events.name
        link.publish(channel, events, "all", "skerry.hint.1", b"[1,2")
        link.publish(channel, events, "all", "something.else", b"{}")
        link.publish(
            channel, events, "all", "skerry.hint.1", b'["e",1,1,[[1,"c","k","put",1,1.0,false,{"v":1}]]]'
        )
        await until(lambda: len(heard) == 1)
        await link.close(polite=True)
        assert process.foreign == 2
        assert process.connections == 1


async def test_two_namespaces_do_not_meet(world: RabbitWorld, rabbitmq: PrivateBroker) -> None:
    """Commands and hints of one application are not another's."""
    here, there = world.process(), RabbitWorld(rabbitmq).process()
    heard: list[Hint] = []
    async with started(here, there):
        there.subscribe(heard.append)
        here.publish(Hint("e", 1, 1, [record(1)]))
        await soon(here.send([envelope(1)], 0))
        await soon(there.send([envelope(2)], 0))
        there.publish(tip(Position("e", 9)))
        await until(lambda: bool(heard))
        assert [h.last for h in heard] == [9]
        assert numbers(await take(await there.commands(0), 1)) == [2]


async def test_a_wrong_password_is_said_at_once(world: RabbitWorld) -> None:
    """`start` raises SettingsError without waiting for its time-out, and never shows the password."""
    url = world.settings.url.replace("guest:guest", "guest:secret")
    process = RabbitTransport(replace(world.settings, url=url))
    with pytest.raises(SettingsError, match="refuses the user or the password") as caught:
        await soon(process.start(), 30.0)
    assert "secret" not in str(caught.value)


async def test_an_unknown_vhost_is_said_at_once(world: RabbitWorld) -> None:
    """A vhost that does not exist is a setting to put right, not an outage."""
    process = RabbitTransport(replace(world.settings, url=world.settings.url + "nowhere"))
    with pytest.raises(SettingsError, match="nowhere"):
        await soon(process.start(), 30.0)


async def test_a_partition_that_is_not_there_is_a_mistake(world: RabbitWorld) -> None:
    """Partitions are numbered from 0 to partitions - 1."""
    process = world.process()
    async with started(process):
        with pytest.raises(ValueError, match="partition 7 of 2"):
            await process.send([envelope(1)], 7)
        with pytest.raises(ValueError, match="partition -1 of 2"):
            await process.commands(-1)
