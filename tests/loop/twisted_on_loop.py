"""A Twisted echo server and client on a `Loop` of the model given as argument; run by test_bridge.py."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from twisted.internet import asyncioreactor, endpoints, protocol

from skerry.loop.loop import Loop

twisted: Any = endpoints  # untyped
install: Any = asyncioreactor.install


class Echo(protocol.Protocol):
    """Sends back what comes."""

    transport: Any

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        self.transport.write(data)


class Ask(protocol.Protocol):
    """Says hello and keeps the answer."""

    transport: Any

    def __init__(self) -> None:
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def connectionMade(self) -> None:  # noqa: N802
        self.transport.write(b"hello")

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        self.answer.set_result(data)
        self.transport.loseConnection()


async def main() -> None:
    here = asyncio.get_running_loop()
    install(here)
    from twisted.internet import reactor

    installed: Any = reactor
    installed.startRunning(installSignalHandlers=False)
    server: Any = protocol.ServerFactory.forProtocol(Echo)
    port = await twisted.TCP4ServerEndpoint(installed, 0, interface="127.0.0.1").listen(server).asFuture(here)
    client = twisted.TCP4ClientEndpoint(installed, "127.0.0.1", port.getHost().port)
    asked = await twisted.connectProtocol(client, Ask()).asFuture(here)
    print(f"echo:{(await asyncio.wait_for(asked.answer, 60)).decode()}")
    await port.stopListening().asFuture(here)
    print(f"ticks:{bool(ticks)}")


if __name__ == "__main__":
    ticks: list[int] = []
    loop = Loop(model=sys.argv[1])
    loop.add_periodic_timer(0.001, lambda: ticks.append(1))
    loop.run(main)
