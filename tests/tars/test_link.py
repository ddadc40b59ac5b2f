"""A link makes one connection however many wait for it, and leaves none behind."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from skerry.tars.endpoint import Endpoint, ObjectAddress
from skerry.tars.link import Link
from skerry.tars.settings import ClientSettings

NAME = "Test.Probe.ProbeObj"


def link_to(address: str, **settings: Any) -> Link:
    return Link(ObjectAddress.parse(address).endpoints[0], NAME, ClientSettings(**settings))


async def test_many_waiters_one_connection(serve: Any) -> None:
    """Twenty calls that need a connection at once make one."""
    server, _, address = await serve()
    link = link_to(address)
    channels = await asyncio.gather(*(link.connect(60.0) for _ in range(20)))
    assert len({id(channel) for channel in channels}) == 1
    assert link.ready() is channels[0]
    assert server.states()[0].counters.connections == 1
    await link.close()
    assert link.ready() is None


async def test_a_waiter_that_gives_up_does_not_stop_the_others(serve: Any) -> None:
    """Cancelling one waiter leaves the connection to the rest."""
    _, _, address = await serve()
    link = link_to(address)
    impatient, patient = (asyncio.create_task(link.connect(60.0)) for _ in range(2))
    await asyncio.sleep(0)
    impatient.cancel()
    assert (await patient).open
    await link.close()


async def test_connecting_takes_no_longer_than_allowed() -> None:
    """A host that does not answer: TimeoutError after the connect time-out, and no task is left."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        fillers = [socket.socket() for _ in range(4)]  # fill the backlog: further connects hang
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        link = link_to(f"{NAME}@tcp -h 127.0.0.1 -p {port}", connect_seconds=0.05)
        with pytest.raises(TimeoutError):
            await link.connect(5.0)
        for filler in fillers:
            filler.close()
    await link.close()


async def test_a_missing_account_is_told_by_name() -> None:
    """-e 1 without an account says what to give, instead of a connection that the server would cut."""
    link = Link(Endpoint("tcp", "127.0.0.1", 1, auth=1), NAME, ClientSettings())
    with pytest.raises(OSError, match="wants an account"):
        await link.connect(60.0)


async def test_retired_links_finish_their_calls(serve: Any, probe: Any) -> None:
    """A link whose endpoint is no longer listed takes no new calls; replies still come, then it closes."""
    server, servant, address = await serve()
    link = link_to(address)
    channel = await link.connect(60.0)
    future = channel.pending.wait(1, asyncio.get_running_loop().time() + 1e6)
    channel.send(_request(probe))
    await servant.entered["g"].wait()
    link.retire()
    assert link.ready() is None
    servant.gates["g"].set()
    assert (await future).code == 0
    async with asyncio.timeout(60):
        while server.states()[0].connections:  # noqa: ASYNC110  the other side of a socket sets no event
            await asyncio.sleep(0.001)


def _request(probe: Any) -> bytes:
    from skerry.tars.wire.packet import RequestPacket, encode_request

    body = probe.__tars_interface__.functions["gate"].encode_args(("g",))
    return encode_request(RequestPacket(request_id=1, servant=NAME, function="gate", body=body))
