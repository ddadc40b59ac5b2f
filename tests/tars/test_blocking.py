"""The facade for synchronous code: values instead of awaitables, many threads, refused inside a loop."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from skerry.errors import LifecycleError
from skerry.tars.blocking import BlockingCommunicator
from skerry.tars.call import Call, serving
from skerry.tars.call_errors import CallTimeout, RemoteError
from skerry.tars.settings import CallOptions
from skerry.tars.wire.packet import RequestPacket


async def test_calls_block_and_return_values(serve: Any, probe: Any) -> None:
    """From a thread: results, errors, options, ping, whole replies; after `close` no thread is left."""
    _, _, address = await serve()

    def use() -> None:
        with BlockingCommunicator(timeout_seconds=60.0) as c:
            proxy = c.proxy(probe, address)
            assert proxy.echo("a") == "a"
            assert proxy.divide(7, b=2) == (3, 1)
            proxy.tars_ping()
            with pytest.raises(RemoteError, match="five"):
                proxy.refuse(5, "five")
            with pytest.raises(CallTimeout):
                proxy.tars_configure(timeout_seconds=0.2).gate("g")
            assert proxy.tars_reply_of("about").context == {"answered": "by probe"}
            with pytest.raises(AttributeError, match="no function 'ecko'"):
                proxy.ecko("a")
        c.close()
        with pytest.raises(LifecycleError):
            proxy.echo("a")
        assert not [thread for thread in threading.enumerate() if thread.name == "tars-client"]

    await asyncio.to_thread(use)


async def test_many_threads_share_one_connection(serve: Any, probe: Any) -> None:
    """Twenty threads call at once over one connection."""
    server, _, address = await serve()

    def use() -> list[str]:
        with BlockingCommunicator() as c, ThreadPoolExecutor(20) as pool:
            proxy = c.proxy(probe, address)
            return list(pool.map(proxy.echo, map(str, range(200))))

    assert await asyncio.to_thread(use) == [str(number) for number in range(200)]
    assert server.states()[0].counters.connections == 1


async def test_the_deadline_of_the_served_call_counts(serve: Any, probe: Any) -> None:
    """A plain servant function that calls on gives the callee no more time than its own caller has."""
    _, _, address = await serve()

    def use() -> Any:
        serving.set(Call(RequestPacket(timeout_ms=30_000), ("h", 1), _now()))
        with BlockingCommunicator(timeout_seconds=60.0) as c:
            return c.proxy(probe, address).about()

    assert float((await asyncio.to_thread(use))["remaining"]) <= 30.0


def _now() -> float:
    import time

    return time.monotonic()


async def test_refused_where_a_loop_runs(serve: Any, probe: Any) -> None:
    """Blocking the event loop's own thread is an error that says what to use instead."""
    _, _, address = await serve()
    c = await asyncio.to_thread(BlockingCommunicator)
    try:
        with pytest.raises(LifecycleError, match="use Communicator and await"):
            c.proxy(probe, address)
    finally:
        await asyncio.to_thread(c.close)


def test_a_wrong_option_is_named(probe: Any) -> None:
    """A typing error in an option is found when the proxy is made."""
    with BlockingCommunicator() as c, pytest.raises(TypeError, match="no option timeout"):
        c.proxy(probe, "A.B.C@tcp -h 127.0.0.1 -p 1", timeout=3)
    assert CallOptions().timeout_seconds == 3.0
