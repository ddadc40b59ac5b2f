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
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Protocol, TypeVar

import msgspec
import pytest

from skerry.bus.transport import Announcement, Commands, Delivery, Hint, Transport, tip
from skerry.errors import Disconnected, Overloaded
from skerry.journal.journal import Outcome, Record, Status
from skerry.messages.envelope import Envelope, encode_body
from skerry.messages.message import Command
from skerry.position import Position

T = TypeVar("T")


class Put(Command, frozen=True):
    """The suite's command."""

    key: str
    value: str = ""


class World(Protocol):
    """One broker, as many processes as a test wants."""

    def endpoint(self, window: int | None = None) -> Transport:
        """A new process's transport, not started. `window`: the most unconfirmed commands it allows."""
        ...

    async def inject(self, partition: int, data: bytes) -> None:
        """Queue bytes as a command message, whatever they are."""
        ...


def envelope(number: int, key: str = "k", value: str = "", sender: str = "") -> Envelope:
    """The `number`th command, its id made from it."""
    command = Put(key, value)
    return Envelope(f"{number:032x}", "put", 1, key, sender=sender, sent_at=1.0, command=command)


def record(offset: int, size: int = 0) -> Record:
    data = msgspec.Raw(msgspec.json.encode({"v": "x" * size}))
    return Record(offset, f"{offset:032x}", "k", "put", 1, 1.0, False, data)


async def soon(what: Awaitable[T], seconds: float = 10.0) -> T:
    """`what`, within a bound that only a fault can reach."""
    return await asyncio.wait_for(what, seconds)


async def until(ready: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait until `ready()`: looks each 5 ms, fails after `seconds`."""
    async with asyncio.timeout(seconds):
        while not ready():  # noqa: ASYNC110 - what is waited for is somebody else's state
            await asyncio.sleep(0.005)


async def take(commands: Commands, count: int, ack: bool = True, seconds: float = 15.0) -> list[Delivery]:
    """Deliveries with at least `count` commands together (an undecodable one counts as one)."""
    taken: list[Delivery] = []
    async with asyncio.timeout(seconds):
        while sum(max(1, len(d.envelopes)) for d in taken) < count:
            got = await commands.receive(count)
            taken += got
            if ack:
                await commands.ack(got)
    return taken


def numbers(deliveries: list[Delivery]) -> list[int]:
    return [int(e.id, 16) for d in deliveries for e in d.envelopes]


@asynccontextmanager
async def started(*transports: Transport) -> AsyncIterator[None]:
    """Started one after the other, stopped in reverse."""
    running: list[Transport] = []
    try:
        for transport in transports:
            await transport.start()
            running.append(transport)
        yield
    finally:
        for transport in reversed(running):
            await transport.stop()


class TransportSuite:
    """Inherit, and give a fixture `world`."""

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
                await soon(process.send([envelope(10)], 0), 1.0)
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
            await soon(process.send([], 0), 1.0)

    async def test_every_process_hears_hints(self, world: World) -> None:
        """A hint reaches every process, the publisher too, once, whole and in order."""
        left, right = world.endpoint(), world.endpoint()
        heard: dict[str, list[Hint]] = {"left": [], "right": []}
        async with started(left, right):
            left.subscribe(heard["left"].append)
            right.subscribe(heard["right"].append)
            hints = [Hint("e", n, n, [record(n)]) for n in range(1, 51)] + [tip(Position("e", 50))]
            for hint in hints:
                left.publish(hint)
            await until(lambda: all(len(h) >= 51 for h in heard.values()))
            assert heard == {"left": hints, "right": hints}

    async def test_a_large_hint_arrives_in_parts_or_as_positions(self, world: World) -> None:
        """A hint of any size is heard: parts are contiguous and cover it, with their records or without."""
        process = world.endpoint()
        heard: list[Hint] = []
        async with started(process):
            process.subscribe(heard.append)
            process.publish(Hint("e", 1, 40, [record(n, 20_000) for n in range(1, 41)]))
            process.publish(Hint("e", 41, 41, [record(41, 600_000)]))
            await until(lambda: bool(heard) and heard[-1].last == 41)
            assert [h.first for h in heard] == [1] + [h.last + 1 for h in heard[:-1]]
            for hint in heard:
                assert hint.records is None or [r.offset for r in hint.records] == list(
                    range(hint.first, hint.last + 1)
                )

    async def test_listeners_end(self, world: World) -> None:
        """A listener that ended hears nothing more; one that raises does not keep others from hearing."""
        process = world.endpoint()
        heard: list[Hint] = []
        early: list[Hint] = []

        def broken(hint: Hint) -> None:
            raise RuntimeError("a listener's own fault")

        async with started(process):
            asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
            process.subscribe(broken)
            end = process.subscribe(early.append)
            process.subscribe(heard.append)
            process.publish(tip(Position("e", 1)))
            await until(lambda: len(heard) == 1)
            end()
            end()
            process.publish(tip(Position("e", 2)))
            await until(lambda: len(heard) == 2)
            assert [h.last for h in early] == [1]

    async def test_answers_reach_their_process_after_the_hints(self, world: World) -> None:
        """An answer goes to the process that is named, and only there, after the hints published before it."""
        asking, other, consumer = world.endpoint(), world.endpoint(), world.endpoint()
        said: list[object] = []
        overheard: list[object] = []
        async with started(asking, other, consumer):
            asking.subscribe(said.append)
            asking.answers(lambda outcomes, epoch: said.append((epoch, outcomes)))
            other.answers(lambda outcomes, epoch: overheard.append(outcomes))
            consumer.answers(lambda outcomes, epoch: overheard.append(outcomes))
            assert len({asking.name, other.name, consumer.name}) == 3
            expected: list[object] = []
            for n in range(1, 51):
                hint = Hint("e", n, n, [record(n)])
                outcome = Outcome(f"{n:032x}", Status.REJECTED, n, 0, "no", "precondition", None, "hash", 2.0)
                consumer.publish(hint)
                consumer.answer(asking.name, [outcome], "e")
                expected += [hint, ("e", [outcome])]
            consumer.answer("nobody-of-this-name", [], "e")
            consumer.publish(tip(Position("e", 50)))
            expected.append(tip(Position("e", 50)))
            await until(lambda: len(said) >= len(expected))
            assert said == expected
            assert overheard == []

    async def test_answers_bring_results(self, world: World) -> None:
        """What a handler returned arrives as its JSON, and "nothing" differs from a null."""
        asking = world.endpoint()
        said: list[Outcome] = []
        async with started(asking):
            asking.answers(lambda outcomes, epoch: said.extend(outcomes))
            results = [None, b"null", b'{"deleted":"\\u2603"}', b"[]"]
            asking.answer(
                asking.name,
                [
                    Outcome(f"{n:032x}", Status.APPLIED, n, result=None if r is None else msgspec.Raw(r))
                    for n, r in enumerate(results)
                ],
                "e",
            )
            await until(lambda: len(said) == len(results))
            assert [None if o.result is None else bytes(o.result) for o in said] == results

    async def test_every_process_hears_announcements(self, world: World) -> None:
        """Announcements reach every process with topic, payload and headers."""
        left, right = world.endpoint(), world.endpoint()
        heard: list[Announcement] = []
        async with started(left, right):
            left.announcements(heard.append)
            right.announcements(heard.append)
            said = Announcement("connection_opened", b"\x00\xff bytes", {"process": "s1"})
            left.announce(said)
            await until(lambda: len(heard) == 2)
            assert heard == [said, said]

    async def test_a_stopped_transport_says_so(self, world: World) -> None:
        """Before `start` and after `stop`: not connected, `send` raises Disconnected, telling is harmless."""
        process = world.endpoint()
        assert not process.connected
        async with started(process):
            await until(lambda: process.connected)
        assert not process.connected
        with pytest.raises(Disconnected):
            await soon(process.send([envelope(1)], 0), 1.0)
        with pytest.raises(Disconnected):
            await soon(process.commands(0), 1.0)
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
