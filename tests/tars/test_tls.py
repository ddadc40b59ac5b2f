"""ssl endpoints: encrypted, verified, drained like others. The certificate in tls/ is for these tests only."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest

from skerry.tars.call_errors import ConnectFailed
from skerry.tars.communicator import Communicator
from skerry.tars.settings import ClientSettings

PAIR = Path(__file__).parent / "tls"
ADDRESS = "Test.Probe.ProbeObj@ssl -h 127.0.0.1 -p 0 -t 60000"


def server_side() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(PAIR / "certificate.pem", PAIR / "key.pem")
    return context


def client_side() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(PAIR / "certificate.pem"))


async def test_calls_over_tls(serve: Any, probe: Any) -> None:
    """Many calls and a large reply over one verified connection."""
    server, _, address = await serve(ADDRESS, tls=server_side())
    assert "@ssl " in address
    async with Communicator(settings=ClientSettings(tls=client_side())) as c:
        proxy = c.proxy(probe, address)
        assert await asyncio.gather(*(proxy.echo(str(n)) for n in range(100))) == [str(n) for n in range(100)]
        assert len(await proxy.blob(2_000_000)) == 2_000_000
    assert server.states()[0].counters.connections == 1


async def test_an_unknown_certificate_is_refused(serve: Any, probe: Any) -> None:
    """Without being told to trust it the client does not talk to the server."""
    _, _, address = await serve(ADDRESS, tls=server_side())
    async with Communicator() as c:
        with pytest.raises(ConnectFailed, match="certificate"):
            await c.proxy(probe, address).echo("secret")


async def test_a_drain_over_tls(serve: Any, probe: Any) -> None:
    """A call under way ends well when the server stops."""
    server, servant, address = await serve(ADDRESS, tls=server_side())
    async with Communicator(settings=ClientSettings(tls=client_side())) as c:
        call = asyncio.create_task(c.proxy(probe, address).gate("g"))
        await servant.entered["g"].wait()
        stopping = asyncio.create_task(server.stop(5.0))
        servant.gates["g"].set()
        assert await call == "g"
        assert await stopping
