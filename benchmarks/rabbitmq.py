"""RabbitMQ: sending and receiving commands against aiormq used directly, on one private broker, in turns.

What the peer does is what its documentation shows at its best: 256 publishes gathered on a confirm channel, persistent
and mandatory; a consumer with prefetch 512 that acknowledges 100 at a time. Ours: one command per message, and packs
of 50. CPU time of this process per command is steadier than the rate: both are printed. Also the time from `send` to
its confirm, and to a hint heard, at 100 a second. Run: `python -m benchmarks.rabbitmq`.

The ratio is of CPU time per command, ours to aiormq's; rates and CPU stand in the note.
"""

from __future__ import annotations

import asyncio
import secrets
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from pathlib import Path

import aiormq
from aiormq.abc import DeliveredMessage
from benchmarks.loop import run_on_loop
from benchmarks.rows import Row, table
from pamqp.commands import Basic

from skerry.backends.rabbitmq.settings import RabbitSettings
from skerry.backends.rabbitmq.transport import RabbitTransport
from skerry.journal.hints import Hint, tip
from skerry.messages.envelope import Envelope, pack, unpack
from skerry.position import Position
from skerry.testing.broker import PrivateBroker
from skerry.testing.transports import envelope

ROUNDS = 3
COMMANDS = 4_000
PACK = 50
WINDOW = 256
BARS = {
    "send, one a message": 0.5,
    "send, packs of 50": 0.05,
    "receive, one a message": 1.0,
    "receive, packs of 50": 0.2,
}


def made(count: int) -> list[Envelope]:
    return [envelope(n, key=f"key-{n}", value="x" * 64) for n in range(count)]


async def timed(work: Awaitable[None], count: int) -> tuple[float, float]:
    """(commands a second, CPU microseconds a command)"""
    began, cpu = time.perf_counter(), time.process_time()
    await work
    return count / (time.perf_counter() - began), (time.process_time() - cpu) / count * 1e6


async def send_ours(process: RabbitTransport, envelopes: list[Envelope], size: int) -> None:
    window = asyncio.Semaphore(WINDOW)
    pending: set[asyncio.Future[None]] = set()
    for start in range(0, len(envelopes), size):
        await window.acquire()
        future = asyncio.ensure_future(process.send(envelopes[start : start + size], 0))
        pending.add(future)
        future.add_done_callback(pending.discard)
        future.add_done_callback(lambda done: window.release())
    if pending:
        await asyncio.wait(set(pending))


async def receive_ours(process: RabbitTransport, count: int) -> None:
    commands = await process.commands(0)
    while count > 0:
        deliveries = await commands.receive(500)
        await commands.ack(deliveries)
        count -= sum(len(d.envelopes) for d in deliveries)
    await commands.close()


async def send_peer(channel: aiormq.abc.AbstractChannel, queue: str, envelopes: list[Envelope]) -> None:
    for start in range(0, len(envelopes), WINDOW):
        await asyncio.gather(
            *(
                channel.basic_publish(
                    pack([one]),
                    routing_key=queue,
                    mandatory=True,
                    properties=Basic.Properties(delivery_mode=2),
                )
                for one in envelopes[start : start + WINDOW]
            )
        )


async def receive_peer(channel: aiormq.abc.AbstractChannel, queue: str, count: int) -> None:
    done = asyncio.Event()
    seen = 0

    async def take(message: DeliveredMessage) -> None:
        nonlocal seen
        assert message.delivery_tag is not None
        unpack(message.body)
        seen += 1
        if seen % 100 == 0 or seen == count:
            await channel.basic_ack(message.delivery_tag, multiple=True, wait=False)
        if seen == count:
            done.set()

    await channel.basic_qos(prefetch_count=512)
    consuming = await channel.basic_consume(queue, take)
    await done.wait()
    assert consuming.consumer_tag is not None
    await channel.basic_cancel(consuming.consumer_tag)


async def throughput(broker: PrivateBroker) -> list[Row]:
    settings = RabbitSettings(broker.url, f"b{secrets.token_hex(3)}")
    process = RabbitTransport(settings)
    await process.start()
    connection = await aiormq.connect(broker.url)
    channel = await connection.channel()
    queue = f"peer-{secrets.token_hex(3)}"
    await channel.queue_declare(queue, durable=True, arguments={"x-queue-type": "quorum"})
    results: dict[str, list[tuple[float, float]]] = {}
    many = COMMANDS * 10

    async def run(what: str, work: Callable[[], Awaitable[None]], count: int) -> None:
        results.setdefault(what, []).append(await timed(work(), count))

    for _ in range(ROUNDS + 1):
        some, more = made(COMMANDS), made(many)
        await run("peer send", lambda some=some: send_peer(channel, queue, some), COMMANDS)  # type: ignore[misc]
        await run("peer receive", lambda: receive_peer(channel, queue, COMMANDS), COMMANDS)
        await run("send, one a message", lambda some=some: send_ours(process, some, 1), COMMANDS)  # type: ignore[misc]
        await run("receive, one a message", lambda: receive_ours(process, COMMANDS), COMMANDS)
        await run("send, packs of 50", lambda more=more: send_ours(process, more, PACK), many)  # type: ignore[misc]
        await run("receive, packs of 50", lambda: receive_ours(process, many), many)
    await connection.close()
    await process.stop()
    return compared({what: values[1:] for what, values in results.items()})


def compared(results: dict[str, list[tuple[float, float]]]) -> list[Row]:
    """Medians of the rounds, as CPU microseconds a command, against the peer's."""
    middle = {
        what: (statistics.median(v[0] for v in values), statistics.median(v[1] for v in values))
        for what, values in results.items()
    }
    found = []
    for what, bar in BARS.items():
        theirs = middle["peer send" if what.startswith("send") else "peer receive"]
        rate, cpu = middle[what]
        peer = f"aiormq {version('aiormq')}: {theirs[1]:.1f} us"
        note = f"{rate:,.0f}/s against {theirs[0]:,.0f}/s"
        found.append(Row(f"rabbitmq {what}", cpu, "us CPU", peer, cpu / theirs[1], bar, note))
    return found


async def latency(broker: PrivateBroker, count: int = 200) -> list[Row]:
    """Milliseconds at 100 a second, on an otherwise idle broker."""
    process = RabbitTransport(RabbitSettings(broker.url, f"b{secrets.token_hex(3)}"))
    await process.start()
    told: dict[int, float] = {}
    heard: list[float] = []

    def hear(hint: Hint) -> None:
        heard.append(time.perf_counter() - told[hint.last])

    process.subscribe(hear)
    confirmed: list[float] = []
    for number in range(count):
        began = time.perf_counter()
        await process.send([envelope(number)], 0)
        confirmed.append(time.perf_counter() - began)
        told[number] = time.perf_counter()
        process.publish(tip(Position("e", number)))
        await asyncio.sleep(0.01)
    await process.stop()
    found = []
    for what, values in (("send to confirm", confirmed), ("publish to heard", heard)):
        ordered = sorted(values)
        p99 = ordered[int(len(ordered) * 0.99)] * 1e3
        found.append(
            Row(
                f"rabbitmq {what}", statistics.median(ordered) * 1e3, "ms", note=f"p99 {p99:.2f} ms, at 100/s"
            )
        )
    return found


async def measure() -> list[Row]:
    with tempfile.TemporaryDirectory() as directory:
        async with PrivateBroker(Path(directory)) as broker:
            return [*await throughput(broker), *await latency(broker)]


def run() -> list[Row]:
    return run_on_loop(measure())


if __name__ == "__main__":
    print(table(run()))
