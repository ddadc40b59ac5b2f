"""What every transport has to do, as tests that a backend inherits.

    class TestMemory(TransportSuite):
        @pytest.fixture
        async def world(self) -> World: ...

A `World` makes endpoints ("processes") that share one broker, and nothing else. `TransportSuite` is for all;
`WireTransportSuite` (in `skerry.testing.wired_transports`) adds what a connection that can break must do. Not here: who
starts the broker.
"""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from skerry.bus.transport import Announcement, Delivery
from skerry.errors import Disconnected, Overloaded
from skerry.journal.hints import tip
from skerry.messages.envelope import encode_body
from skerry.position import Position
from skerry.testing.transport_samples import Put, World, envelope, numbers, record, soon, started, take, until
from skerry.testing.transport_telling import TellingSuite

__all__ = [
    "Put",
    "TransportSuite",
    "World",
    "envelope",
    "numbers",
    "record",
    "soon",
    "started",
    "take",
    "until",
]


class TransportSuite(TellingSuite):
    """Inherit, and give a fixture `world`. Here: commands, their order and their consumers."""

    @pytest.fixture
    async def world(self) -> World:
        """Override it; it may be an async generator that cleans up after `yield`."""
        raise NotImplementedError("a TransportSuite needs a fixture `world`")

    async def test_commands_arrive_whole(self, world: World) -> None:
        """Every field of an envelope, and the command's bytes, come out as they went in."""
        sender, receiver = world.endpoint(), world.endpoint()
        async with started(sender, receiver):
            commands = await receiver.commands(0)
            sent = envelope(1, "schlüssel/☃", 'quote " and \x01', sender="somebody")
            sent.request_hash = "hash"
            sent.headers = {"traceparent": "00-1"}
            waiting = asyncio.ensure_future(sender.send([sent], 0))
            [delivery] = await soon(commands.receive(10))
            [got] = delivery.envelopes
            await commands.ack([delivery])
            await soon(waiting)
            assert (got.id, got.name, got.version, got.key, got.sender, got.sent_at, got.request_hash) == (
                (f"{1:032x}", "put", 1, "schlüssel/☃", "somebody", 1.0, "hash")
            )
            assert dict(got.headers) == {"traceparent": "00-1"}
            assert msgspec.json.decode(encode_body(got), type=Put) == Put("schlüssel/☃", 'quote " and \x01')
            assert not delivery.redelivered
            assert delivery.undecodable is None

    async def test_order_within_a_partition(self, world: World) -> None:
        """What one process sends to one partition arrives in that order, though nobody waits in between."""
        process = world.endpoint()
        async with started(process):
            sends = [
                asyncio.ensure_future(process.send([envelope(2 * n), envelope(2 * n + 1)], 0))
                for n in range(100)
            ]
            got = await take(await process.commands(0), 200)
            await soon(asyncio.gather(*sends))
            assert numbers(got) == list(range(200))

    async def test_partitions_are_apart(self, world: World) -> None:
        """A partition's consumer gets that partition's commands, and waits for no other."""
        process = world.endpoint()
        async with started(process):
            sends = [asyncio.ensure_future(process.send([envelope(n)], n % 2)) for n in range(10)]
            odd = await take(await process.commands(1), 5)
            even = await take(await process.commands(0), 5)
            await soon(asyncio.gather(*sends))
            assert numbers(odd) == [1, 3, 5, 7, 9]
            assert numbers(even) == [0, 2, 4, 6, 8]

    async def test_send_waits_for_durability(self, world: World) -> None:
        """Without an early acceptance, `send` ends only when its delivery was acknowledged; with one, at once."""
        process = world.endpoint()
        async with started(process):
            sending = asyncio.ensure_future(process.send([envelope(1)], 0))
            if process.accepts_early:
                await soon(sending)
                got = await take(await process.commands(0), 1)
                assert numbers(got) == [1]
            else:
                commands = await process.commands(0)
                got = await take(commands, 1, ack=False)
                assert not sending.done()
                await commands.ack(got)
                await soon(sending)

    async def test_unacknowledged_comes_again(self, world: World) -> None:
        """What a consumer left unacknowledged comes again, first, in order, and says so; the rest comes once."""
        process = world.endpoint()
        async with started(process):
            sends = [asyncio.ensure_future(process.send([envelope(n)], 0)) for n in range(6)]
            first = await process.commands(0)
            got: list[Delivery] = []
            while len(got) < 4:
                got += await soon(first.receive(1))
            assert numbers(got[:4]) == [0, 1, 2, 3]
            await first.ack(got[:2])
            await first.close()
            again = await take(await process.commands(0), 4)
            await soon(asyncio.gather(*sends))
            assert numbers(again) == [2, 3, 4, 5]
            assert [d.redelivered for d in again[:2]] == [True, True]

    async def test_ack_is_for_all_given(self, world: World) -> None:
        """One `ack` of many deliveries covers each of them: none comes again."""
        process = world.endpoint()
        async with started(process):
            sends = [asyncio.ensure_future(process.send([envelope(n)], 0)) for n in range(20)]
            commands = await process.commands(0)
            got = await take(commands, 20, ack=False)
            await commands.ack(got)
            await soon(asyncio.gather(*sends))
            await commands.close()
            following = asyncio.ensure_future(process.send([envelope(99)], 0))
            assert numbers(await take(await process.commands(0), 1)) == [99]
            await soon(following)

    async def test_a_closed_consumer_is_harmless(self, world: World) -> None:
        """After `close`, `ack` does nothing, `receive` raises Disconnected, also where it was waiting."""
        process = world.endpoint()
        async with started(process):
            sending = asyncio.ensure_future(process.send([envelope(1)], 0))
            commands = await process.commands(0)
            got = await take(commands, 1, ack=False)
            waiting = asyncio.ensure_future(commands.receive(1))
            await asyncio.sleep(0)
            await commands.close()
            await commands.close()
            with pytest.raises(Disconnected):
                await soon(waiting)
            with pytest.raises(Disconnected):
                await soon(commands.receive(1))
            await commands.ack(got)
            again = await take(await process.commands(0), 1)
            assert numbers(again) == [1]
            await soon(sending)

    async def test_an_acknowledgement_of_another_time_means_nothing(self, world: World) -> None:
        """A delivery of a closed consumer cannot acknowledge what the next consumer was given."""
        process = world.endpoint()
        async with started(process):
            sending = asyncio.ensure_future(process.send([envelope(1)], 0))
            first = await process.commands(0)
            stale = await take(first, 1, ack=False)
            await first.close()
            second = await process.commands(0)
            await take(second, 1, ack=False)
            await second.ack(stale)
            await second.close()
            assert numbers(await take(await process.commands(0), 1)) == [1]
            await soon(sending)

    async def test_one_consumer_of_a_partition_is_active(self, world: World) -> None:
        """Of two consumers of a partition one gets everything; when it goes, the other takes over, in order."""
        left, right = world.endpoint(), world.endpoint()
        async with started(left, right):
            active, standby = await left.commands(0), await right.commands(0)
            waiting = asyncio.ensure_future(standby.receive(100))
            sends = [asyncio.ensure_future(left.send([envelope(n)], 0)) for n in range(10)]
            got = await take(active, 10, ack=False)
            assert numbers(got) == list(range(10))
            assert not waiting.done()
            await active.ack([d for d in got if numbers([d])[0] < 5])
            await active.close()
            taken = await soon(waiting)
            await standby.ack(taken)
            taken += await take(standby, 5 - len(taken)) if len(taken) < 5 else []
            assert numbers(taken) == [5, 6, 7, 8, 9]
            await soon(asyncio.gather(*sends))

    async def test_undecodable_bytes_are_delivered_as_such(self, world: World) -> None:
        """Bytes that are no pack of envelopes arrive as they are, between their neighbours, and block nothing."""
        process = world.endpoint()
        async with started(process):
            commands = await process.commands(0)
            sends = [asyncio.ensure_future(process.send([envelope(1)], 0))]
            first = await take(commands, 1)
            await world.inject(0, b"\xffno pack\x00")
            [bad] = await take(commands, 1)
            sends.append(asyncio.ensure_future(process.send([envelope(2)], 0)))
            last = await take(commands, 1)
            await soon(asyncio.gather(*sends))
            assert bad.envelopes == []
            assert bad.undecodable == b"\xffno pack\x00"
            assert numbers(first + last) == [1, 2]

    async def test_a_full_window_refuses_at_once(self, world: World) -> None:
        """More unconfirmed commands than the window are refused with Overloaded; later there is room again."""
        process = world.endpoint(window=10)
        async with started(process):
            sends = [asyncio.ensure_future(process.send([envelope(n)], 0)) for n in range(10)]
            with pytest.raises(Overloaded) as caught:
                await soon(process.send([envelope(10)], 0))
            assert caught.value.retry_after_seconds > 0
            commands = await process.commands(0)
            await take(commands, 10)
            await soon(asyncio.gather(*sends))
            later = asyncio.ensure_future(process.send([envelope(11)], 0))
            assert numbers(await take(commands, 1)) == [11]
            await soon(later)

    async def test_sending_nothing_is_done(self, world: World) -> None:
        """An empty pack is no message."""
        process = world.endpoint()
        async with started(process):
            await soon(process.send([], 0))

    async def test_a_stopped_transport_says_so(self, world: World) -> None:
        """Before `start` and after `stop`: not connected, `send` raises Disconnected, telling is harmless."""
        process = world.endpoint()
        assert not process.connected
        async with started(process):
            await until(lambda: process.connected)
        assert not process.connected
        with pytest.raises(Disconnected):
            await soon(process.send([envelope(1)], 0))
        with pytest.raises(Disconnected):
            await soon(process.commands(0))
        process.publish(tip(Position("e", 1)))
        process.answer("x", [], "e")
        process.announce(Announcement("t", b""))

    async def test_commands_survive_their_process(self, world: World) -> None:
        """A process that stops in mid-batch leaves its commands to the next one, in order."""
        first, second, sender = world.endpoint(), world.endpoint(), world.endpoint()
        async with started(sender):
            sends = [asyncio.ensure_future(sender.send([envelope(n)], 0)) for n in range(8)]
            async with started(first):
                commands = await first.commands(0)
                got = await take(commands, 4, ack=False)
                await commands.ack([d for d in got if numbers([d])[0] < 2])
                waiting = asyncio.ensure_future(take(commands, 100, ack=False))
            with pytest.raises(Disconnected):
                await soon(waiting)
            async with started(second):
                assert numbers(await take(await second.commands(0), 6)) == [2, 3, 4, 5, 6, 7]
                await soon(asyncio.gather(*sends))
