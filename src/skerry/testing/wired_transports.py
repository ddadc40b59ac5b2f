"""What a transport with a wire has to do when the wire or the broker fails: the second half of the suite.

Inherit `WireTransportSuite` and give a fixture `wire` with a broker of its own, whose endpoints connect through a
`FaultProxy`. Not here: what holds without faults (transports.py).
"""

from __future__ import annotations

import asyncio
import random
from typing import Protocol

import pytest

from skerry.bus.transport import Commands, Transport
from skerry.errors import Disconnected, Unavailable
from skerry.journal.hints import Hint, tip
from skerry.position import Position
from skerry.testing.proxy import FaultProxy
from skerry.testing.transports import World, envelope, numbers, record, soon, started, take, until


class WireWorld(World, Protocol):
    """A world that can be broken."""

    @property
    def proxy(self) -> FaultProxy:
        """What every endpoint connects through."""
        ...

    async def crash(self) -> None:
        """Kill the broker with -9 (once what was declared is safe from that)."""
        ...

    async def restart(self) -> None:
        """Start it again on the same data."""
        ...


async def reopen(transport: Transport, partition: int = 0, seconds: float = 60.0) -> Commands:
    """Open a partition, again and again while there is no connection, as a consumer does."""
    async with asyncio.timeout(seconds):
        while True:
            try:
                return await transport.commands(partition)
            except Disconnected:
                await asyncio.sleep(0.05)


class WireTransportSuite:
    """Inherit, and give a fixture `wire`."""

    @pytest.fixture
    async def wire(self) -> WireWorld:
        """Override it; it may be an async generator that cleans up after `yield`."""
        raise NotImplementedError("a WireTransportSuite needs a fixture `wire`")

    async def test_confirmed_commands_survive_kill_9(self, wire: WireWorld) -> None:
        """After a kill -9 of the broker every confirmed command is still there, in order, and nothing but sends
        that failed loudly is missing; sending, consuming and hearing work again by themselves, under one name."""
        process = wire.endpoint()
        heard: list[Hint] = []
        async with started(process):
            process.subscribe(heard.append)
            name = process.name
            confirmed: list[int] = []
            number = 0

            async def sender() -> None:
                nonlocal number
                while True:
                    number += 1
                    mine = number
                    try:
                        await process.send([envelope(mine)], 0)
                        confirmed.append(mine)
                    except Disconnected:
                        await asyncio.sleep(0.02)

            sending = asyncio.ensure_future(sender())
            await until(lambda: len(confirmed) >= 50)
            await wire.crash()
            await until(lambda: not process.connected)
            await wire.restart()
            await until(lambda: process.connected)
            after = len(confirmed)
            await until(lambda: len(confirmed) >= after + 50)
            sending.cancel()
            await asyncio.wait({sending})
            last = envelope(10**6)
            await soon(process.send([last], 0))
            commands = await reopen(process)
            got: list[int] = []
            while 10**6 not in got:
                got += numbers(await take(commands, 1))
            first_seen = list(dict.fromkeys(got))
            assert first_seen == sorted(first_seen)
            assert set(confirmed) <= set(first_seen)
            assert process.name == name
            process.publish(tip(Position("e", 7)))
            await until(lambda: bool(heard) and heard[-1].last == 7)

    async def test_a_cut_loses_no_send(self, wire: WireWorld) -> None:
        """Sends whose connection is reset under them are confirmed on the next one: the same ids, in order."""
        process = wire.endpoint()
        async with started(process):
            commands = await process.commands(0)
            sends = [asyncio.ensure_future(process.send([envelope(n)], 0)) for n in range(200)]
            wire.proxy.cut()
            await soon(asyncio.gather(*sends))
            with pytest.raises(Disconnected):
                await take(commands, 10_000)
            got: list[int] = []
            again = await reopen(process)
            while 199 not in got:
                got += numbers(await take(again, 1))
            first_seen = list(dict.fromkeys(got))
            assert first_seen == list(range(200))

    async def test_without_a_connection_sending_fails_at_once(self, wire: WireWorld) -> None:
        """While the broker is away: `connected` is False and `send` raises Disconnected without waiting; what is
        told is lost silently; then all works again."""
        process = wire.endpoint()
        async with started(process):
            wire.proxy.refuse()
            await until(lambda: not process.connected)
            with pytest.raises(Disconnected):
                await soon(process.send([envelope(1)], 0), 3.0)
            process.publish(tip(Position("e", 1)))
            wire.proxy.mend()
            await until(lambda: process.connected)
            await soon(process.send([envelope(2)], 0))
            assert numbers(await take(await reopen(process), 1)) == [2]

    async def test_a_silent_wire_is_noticed(self, wire: WireWorld) -> None:
        """A wire that carries nothing and closes nothing: the beat misses it, `connected` turns False, `receive`
        raises Disconnected; when it carries again, the same subscription hears, proved by a hint."""
        process = wire.endpoint()
        heard: list[Hint] = []
        async with started(process):
            process.subscribe(heard.append)
            commands = await process.commands(0)
            waiting = asyncio.ensure_future(commands.receive(1))
            wire.proxy.hold()
            await until(lambda: not process.connected, 10.0)  # TCP and AMQP would take 15 s
            with pytest.raises(Disconnected):
                await soon(waiting)
            wire.proxy.mend()
            await until(lambda: process.connected)
            process.publish(Hint("e", 1, 1, [record(1)]))
            await until(lambda: Hint("e", 1, 1, [record(1)]) in heard)

    async def test_an_old_acknowledgement_means_nothing(self, wire: WireWorld) -> None:
        """What was received before a reconnect cannot be acknowledged after it: it comes again."""
        process = wire.endpoint()
        async with started(process):
            await soon(process.send([envelope(1)], 0))
            commands = await process.commands(0)
            old = await take(commands, 1, ack=False)
            wire.proxy.cut()
            with pytest.raises(Disconnected):
                await soon(commands.receive(1))
            await commands.ack(old)
            again = await reopen(process)
            await again.ack(old)
            fresh = await take(again, 1, ack=False)
            assert numbers(fresh) == [1]
            assert fresh[0].redelivered
            await again.ack(old)
            await again.close()
            last = await reopen(process)
            assert numbers(await take(last, 1)) == [1]

    async def test_a_slow_wire_keeps_order(self, wire: WireWorld) -> None:
        """With a delay in both directions nothing is lost, doubled or swapped, and nobody reconnects."""
        process = wire.endpoint()
        async with started(process):
            commands = await process.commands(0)
            await soon(process.send([envelope(0)], 0))
            assert numbers(await take(commands, 1)) == [0]
            connections = wire.proxy.accepted  # all that it needs
            wire.proxy.delay_seconds = 0.1
            sends = [asyncio.ensure_future(process.send([envelope(n)], 0)) for n in range(1, 51)]
            await soon(asyncio.gather(*sends))
            assert numbers(await take(commands, 50)) == list(range(1, 51))
            assert process.connected
            assert wire.proxy.accepted == connections

    @pytest.mark.parametrize("seed", [1, 2, 3])
    async def test_random_faults_lose_nothing(self, wire: WireWorld, seed: int) -> None:
        """Cuts, holes, delays and refusals at random moments (by seed): every command whose `send` returned is
        received, ids come first in order of sending, and in the end everybody is connected and hears."""
        sender, consumer = wire.endpoint(), wire.endpoint()
        rng = random.Random(seed)
        seen: dict[int, None] = {}
        heard: list[Hint] = []
        confirmed: list[int] = []
        over = asyncio.Event()

        async def send() -> None:
            while not over.is_set():
                number = len(confirmed) + 1
                while True:  # one after the other, again until it is known to be durable, as a client would
                    try:
                        await sender.send([envelope(number)], 0)
                        break
                    except Unavailable:
                        await asyncio.sleep(0.01)
                confirmed.append(number)

        def told() -> bool:
            """A hint arrives; those that fall between two connections are lost."""
            sender.publish(tip(Position("e", 7)))
            return bool(heard) and heard[-1].last == 7

        async def consume() -> None:
            while True:
                commands = await reopen(consumer)
                try:
                    while True:
                        got = await commands.receive(50)
                        for number in numbers(got):
                            seen.setdefault(number)
                        await commands.ack(got)
                except Disconnected:
                    await commands.close()

        async def break_things() -> None:
            faults = [wire.proxy.cut, wire.proxy.hold, wire.proxy.refuse, wire.proxy.cut]
            for _ in range(10):
                await asyncio.sleep(rng.uniform(0.0, 0.2))
                if rng.random() < 0.2:
                    wire.proxy.delay_seconds = 0.02
                else:
                    rng.choice(faults)()
                await asyncio.sleep(rng.uniform(0.0, 0.4))
                wire.proxy.mend()
            over.set()

        async with started(sender, consumer):
            consumer.subscribe(heard.append)
            consuming = asyncio.ensure_future(consume())
            breaking = asyncio.ensure_future(break_things())
            try:
                await soon(send(), 120.0)
                await breaking
                await until(lambda: len(seen) == len(confirmed))
                await until(told)
            finally:
                for task in (consuming, breaking):
                    task.cancel()
                await asyncio.wait({consuming, breaking})
            assert list(seen) == confirmed, f"seed {seed}"

    async def test_stop_ends_in_bounded_time(self, wire: WireWorld) -> None:
        """`stop` returns within seconds though the wire is silent, and fails what was not confirmed."""
        process = wire.endpoint()
        await process.start()
        wire.proxy.hold()
        sending = asyncio.ensure_future(process.send([envelope(1)], 0))
        await asyncio.sleep(0)
        await soon(process.stop(), 30.0)
        with pytest.raises(Disconnected):
            await soon(sending)
        wire.proxy.mend()

    async def test_start_without_a_broker(self, wire: WireWorld) -> None:
        """`start` raises Disconnected when there is nothing to connect to, and leaves nothing running."""
        wire.proxy.refuse()
        process = wire.endpoint()
        with pytest.raises(Disconnected):
            await soon(process.start())
        assert not process.connected
        wire.proxy.mend()
        async with started(process):
            assert process.connected
