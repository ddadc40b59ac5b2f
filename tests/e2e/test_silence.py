"""A server that goes silent without closing anything, behind `skerry balancer --to`: nobody stays deaf."""

from __future__ import annotations

import asyncio
import json
import signal
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from skerry.testing.broker import free_ports
from skerry.testing.program import HttpConnection, Program

pytestmark = pytest.mark.timeout(300)
HEAD = "GET /events?beat=1 HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n"


async def listen(port: int) -> tuple[str, asyncio.StreamReader, asyncio.StreamWriter]:
    """An event stream through the balancer, and which process serves it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(HEAD.encode())
    while b'"type":"hello"' not in (line := await reader.readline()):
        assert line, "the stream ended before it began"
    hello = json.loads(line.partition(b"data: ")[2])
    assert hello["beat"] == 25
    return str(hello["process"]), reader, writer


async def ended(reader: asyncio.StreamReader) -> None:
    """Read on until the stream is over, whichever way."""
    try:
        while await reader.read(65536):
            pass
    except ConnectionResetError:
        pass


async def test_a_silent_server_keeps_nobody(tmp_path: Path) -> None:
    """One of two servers is stopped by SIGSTOP: its listener and a request under way are cut within seconds, who comes
    again is served by the other one, whose listener and writes go on; woken up, it serves again."""
    ports = free_ports(3)
    common = {
        "SKERRY_JOURNAL": f"sqlite:///{tmp_path}/kv.db",
        "SKERRY_TRANSPORT": "local:",
        "SKERRY_LOG_FORMAT": "text",
    }
    async with AsyncExitStack() as stack:

        async def run(name: str, *arguments: str) -> Program:
            program = Program(tmp_path, *arguments, environ={**common, "SKERRY_PROCESS": name})
            return await stack.enter_async_context(program)

        consumer = await run("consumer", "consumer", "livekv:app")
        servers = {}
        for number, port in enumerate(ports[:2], 1):
            servers[f"server-{number}"] = await run(
                f"server-{number}", "server", "livekv:app", "--bind", f"127.0.0.1:{port}"
            )
            await servers[f"server-{number}"].listening()
        to = [word for port in ports[:2] for word in ("--to", f"127.0.0.1:{port}")]
        balancer = await run("balancer", "balancer", *to, "--bind", f"127.0.0.1:{ports[2]}")
        async with asyncio.timeout(60):
            while "forwarding" not in balancer.text:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.02)
        streams: dict[str, tuple[asyncio.StreamReader, asyncio.StreamWriter]] = {}
        async with asyncio.timeout(60):
            while len(streams) < 2:  # to the one with fewer, as soon as both have answered a check
                name, reader, writer = await listen(ports[2])
                streams.setdefault(name, (reader, writer))
        (deaf, (stream, _)), (other, (well, _)) = streams.items()
        # Requests under way on both: their bodies are not complete when one process stops.
        halves = [await asyncio.open_connection("127.0.0.1", ports[2]) for _ in range(2)]
        for _, writer in halves:
            writer.write(b"PUT /values/half HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\nhalf")
        servers[deaf].send_signal(signal.SIGSTOP)
        try:
            async with asyncio.timeout(60):
                await ended(stream)
                over = [asyncio.ensure_future(ended(reader)) for reader, _ in halves]
                await asyncio.wait(over, return_when=asyncio.FIRST_COMPLETED)
                again = await listen(ports[2])
                assert again[0] == other
                connection = HttpConnection(ports[2])
                assert (await connection.ask("PUT", "/values/k", b"v")).status == 200
                connection.close()
                for reader in (well, again[1]):
                    while b'"key":"k"' not in (line := await reader.readline()):
                        assert line
            assert "answers nothing" in balancer.text
        finally:
            servers[deaf].send_signal(signal.SIGCONT)
        async with asyncio.timeout(60):
            back = f":{ports[int(deaf[-1]) - 1]} is healthy"
            while back not in balancer.text.partition("answers nothing")[2]:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        async with asyncio.timeout(60):
            while (await listen(ports[2]))[0] != deaf:  # it has the fewest
                pass
        for task in over:
            task.cancel()
        assert consumer.running
