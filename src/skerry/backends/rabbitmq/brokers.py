"""Which broker to connect to: a list of hosts, each with all the addresses of its name, in an order that learns.

Shuffled, so that processes spread over a cluster; the address that worked last comes first, and those that failed come
last, the latest failure at the very end. `allotted` gives each address its share of the time that there is, so that a
silent one does not use up all of it. Not here: connecting (link.py), when to try again (supervisor.py).
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from skerry.errors import Disconnected

Host = tuple[str, int]
"""Name or address, and port."""


@dataclass(frozen=True, slots=True)
class Address:
    """One way to a broker: `ip` is an address of `host`."""

    host: str
    port: int
    ip: str

    def __str__(self) -> str:
        return f"{self.host}:{self.port}" if self.host == self.ip else f"{self.host}:{self.port} ({self.ip})"


class Brokers:
    """The brokers of one process; both of its connections learn from each other."""

    def __init__(self, hosts: Sequence[Host], rng: random.Random | None = None) -> None:
        self._hosts = tuple(hosts)
        self._rng = rng or random.Random()
        self._good: Address | None = None
        self._bad: dict[Address, None] = {}  # the latest last

    async def addresses(self, seconds: float) -> list[Address]:
        """Every address of every host, in the order in which to try them. A name that cannot be resolved within
        `seconds` is passed over. Raises Disconnected when none can."""
        loop = asyncio.get_running_loop()
        looks = {
            asyncio.ensure_future(loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)): (host, port)
            for host, port in self._hosts
        }
        done, late = await asyncio.wait(looks, timeout=seconds)
        for look in late:
            look.cancel()
        found: dict[Address, None] = {}
        problem = "no answer from the resolver"
        for look in done:
            error = look.exception()
            if error is None:
                host, port = looks[look]
                found |= {Address(host, port, str(entry[4][0])): None for entry in look.result()}
            else:
                problem = str(error)
        if not found:
            names = ", ".join(host for host, _ in self._hosts)
            raise Disconnected(f"{names} cannot be reached: {problem}")
        return self.order(found)

    def order(self, addresses: Iterable[Address]) -> list[Address]:
        """The good one, the others in any order, the bad ones with the latest failure last."""
        found = list(dict.fromkeys(addresses))
        self._rng.shuffle(found)
        ranks = {address: number for number, address in enumerate(self._bad, 1)}
        found.sort(key=lambda address: -1 if address == self._good else ranks.get(address, 0))
        self._bad = {address: None for address in self._bad if address in found}
        return found

    def worked(self, address: Address) -> None:
        """A connection stands there."""
        self._good = address
        self._bad.pop(address, None)

    def failed(self, address: Address) -> None:
        """A connection could not be made there, or was lost."""
        if self._good == address:
            self._good = None
        self._bad.pop(address, None)
        self._bad[address] = None


def allotted(
    addresses: Sequence[Address], seconds: float, loop: asyncio.AbstractEventLoop
) -> Iterator[tuple[Address, float]]:
    """Each address with its share of what is left of `seconds`."""
    until = loop.time() + seconds
    for number, address in enumerate(addresses):
        yield address, max(0.05, (until - loop.time()) / (len(addresses) - number))
