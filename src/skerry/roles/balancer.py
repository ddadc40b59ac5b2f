"""The balancer: accepts on the public address and hands the connection itself to the least busy server process.

Nothing of a request passes through here, so it costs nothing while connections are kept alive. A connection that
could not be handed over is tried with the next server; until a server has acknowledged it, this process keeps its
own copy, and takes it back when the server dies or does not answer. With no healthy server a connection waits, within
a bound, and is then told 503. Not here: the listening sockets outlive this process elsewhere (the runner holds them);
servers on other machines (proxy.py).
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from skerry.balancing import LeastBusy
from skerry.loop.descriptors import MAX_AT_ONCE, LinkClosed
from skerry.loop.door import Door
from skerry.loop.handover import WELCOME
from skerry.options import option
from skerry.roles.accepting import Acceptor
from skerry.roles.link import Link, Waiting
from skerry.roles.refusal import Refusals
from skerry.telemetry import Registry

log = logging.getLogger("skerry.balancer")

TICK_SECONDS = 0.1
SPARE_DESCRIPTORS = 24
"""Kept from clients: for servers that join or give connections back, and for what this process tells of itself."""


@dataclass(frozen=True, slots=True)
class BalancerSettings:
    """The balancer of `skerry up`."""

    wait_seconds: float = option(
        5.0, "that a connection waits for a healthy server before it is told 503", least=0.0, most=600.0
    )
    max_waiting: int = option(4096, "connections that may wait", least=1, most=1_000_000)
    silent_seconds: float = option(
        1.0, "after which a server that acknowledges nothing is given up", least=0.1, most=600.0
    )


class Balancer:
    """Connections of `listeners` go to the servers of the group that each is mapped to; servers join through `door`.
    `further`: groups that get none but those that a server of another group passes on.

    The listening sockets are non-blocking; this object does not close them, nor the door, unless `close` is called.
    """

    name = "balancer"

    def __init__(
        self,
        listeners: Mapping[socket.socket, str],
        door: Door,
        settings: BalancerSettings | None = None,
        registry: Registry | None = None,
        tls_groups: frozenset[str] = frozenset(),
        *,
        further: Iterable[str] = (),
    ) -> None:
        self._acceptors = [
            Acceptor(
                listener,
                partial(self._accepted_one, group),
                partial(self._distribute, group),
                SPARE_DESCRIPTORS,
            )
            for listener, group in listeners.items()
        ]
        self._door = door
        self.settings = settings or BalancerSettings()
        self._tls_groups = tls_groups
        self._links: dict[str, list[Link]] = {group: [] for group in (*listeners.values(), *further)}
        self._strangers: set[Link] = set()
        self._choose: dict[str, LeastBusy[Link]] = {group: LeastBusy(Link.busy) for group in self._links}
        self._waiting: dict[str, deque[Waiting]] = {group: deque() for group in self._links}
        self._refusals = Refusals()
        self._timer: asyncio.TimerHandle | None = None
        registry = registry or Registry()
        self._accepted = registry.counter("skerry_balancer_accepted_total", "Connections accepted.")
        self._handed = registry.counter("skerry_balancer_handed_total", "Connections handed to servers.")
        self._again = registry.counter(
            "skerry_balancer_retried_total",
            "Connections handed again, because a server died, hung or was full.",
        )
        self._refused = registry.counter("skerry_balancer_refused_total", "Connections told 503.")

    # --- a role

    async def start(self) -> None:
        """Accept, and let servers join."""
        self._door.open(self._on_door)
        await self.resume()

    async def hold(self) -> None:
        """Accept nothing; clients wait in the kernel's queue."""
        for acceptor in self._acceptors:
            acceptor.stop()

    async def resume(self) -> None:
        for acceptor in self._acceptors:
            acceptor.start()

    async def stop(self, seconds: float = 2.0) -> None:
        """Accept nothing more, hand over what was accepted and what servers still gave back or on, let the servers go:
        they join the next balancer."""
        await self.hold()
        loop = asyncio.get_running_loop()
        self._door.shut()
        for link in self._all_links():
            link.announce_end()
        began = loop.time()
        while loop.time() < began + seconds:
            is_heard = loop.time() > began + self.settings.silent_seconds or all(
                link.done for link in self._all_links()
            )
            if is_heard and not self._under_way():
                break
            self.distribute()
            await asyncio.sleep(0.005)
        if self._timer is not None:
            self._timer.cancel()
        for link in [*self._all_links(), *self._strangers]:
            loop.remove_reader(link.sock)
            for each in link.give_up():
                each.close()
        self._links = {group: [] for group in self._links}
        self._strangers.clear()
        for group, waiting in self._waiting.items():
            while waiting:
                self._refuse(waiting.popleft(), group)
        await self._refusals.finish(min(1.0, seconds))

    def close(self) -> None:
        """Close the listening sockets too: where no runner holds them."""
        for acceptor in self._acceptors:
            acceptor.listener.close()
        self._door.close()

    @property
    def servers(self) -> dict[str, int]:
        """Open connections by name of the servers that take some now."""
        return {link.name: link.open for link in self._all_links() if link.usable()}

    @property
    def waiting(self) -> int:
        return sum(len(waiting) for waiting in self._waiting.values())

    def _all_links(self) -> list[Link]:
        return [link for links in self._links.values() for link in links]

    def _under_way(self) -> bool:
        return any(link.unacknowledged for link in self._all_links()) or (
            any(waiting and self._links[group] for group, waiting in self._waiting.items())
        )

    # --- connections

    def _accepted_one(self, group: str, connection: socket.socket) -> None:
        waiting, now = self._waiting[group], time.monotonic()
        self._accepted.value += 1
        if len(waiting) >= self.settings.max_waiting:
            self._refuse(Waiting(connection, now), group)
        else:
            waiting.append(Waiting(connection, now))

    def distribute(self) -> None:
        for group in self._waiting:
            self._distribute(group)

    def _distribute(self, group: str) -> None:
        """Hand over what waits: each connection to the least busy server, those of one server together."""
        waiting = self._waiting[group]
        if waiting:
            self._tick_soon()
        choose, now = self._choose[group], time.monotonic()
        while waiting:
            shares: dict[Link, list[Waiting]] = {}
            while waiting:
                link = choose.pick(usable=Link.usable)
                if link is None:
                    break
                share = shares.setdefault(link, [])
                share.append(waiting.popleft())
                link.promised += 1
                if sum(len(each.marks) for each in share) >= MAX_AT_ONCE - 1:
                    break
            if not shares:
                return
            for link, share in shares.items():
                self._hand(link, share, now)

    def _hand(self, link: Link, share: list[Waiting], now: float) -> None:
        link.promised = 0
        try:
            if link.hand(share, now):
                self._handed.value += len(share)
                return
            self._put_back(link.group, share)
        except LinkClosed as why:
            self._put_back(link.group, share)
            self.lost(link, str(why))

    def _put_back(self, group: str, share: Sequence[Waiting]) -> None:
        for each in reversed(share):
            each.attempts += 1
            self._again.value += 1
            self._waiting[group].appendleft(each)

    def take_back(self, link: Link, connection: socket.socket) -> None:
        """A draining server gives an idle connection: to another one with it."""
        connection.setblocking(False)
        self._waiting[link.group].append(Waiting(connection, time.monotonic(), kept=True))
        asyncio.get_running_loop().call_soon(self.distribute)

    def pass_on(self, group: str, connection: socket.socket, beside: socket.socket) -> None:
        """A server gives a connection to a process of another group, with what it knows of it."""
        waiting = self._waiting.get(group)
        each = Waiting(connection, time.monotonic(), beside=beside)
        if waiting is None or len(waiting) >= self.settings.max_waiting:
            self._refuse(each, group)
            return
        connection.setblocking(False)
        waiting.append(each)
        asyncio.get_running_loop().call_soon(self._distribute, group)

    def _refuse(self, each: Waiting, group: str) -> None:
        self._refused.value += 1
        if each.beside is not None:
            each.beside.close()
        if group in self._tls_groups:
            each.connection.close()  # 503 in plain text would be noise to a TLS client
        else:
            self._refusals.refuse(each.connection)

    # --- servers

    def _on_door(self, sock: socket.socket) -> None:
        link = Link(self, sock)
        self._strangers.add(link)
        asyncio.get_running_loop().add_reader(sock, link.on_readable)

    def joined(self, link: Link) -> None:
        """A server said its group and name."""
        self._strangers.discard(link)
        links = self._links.get(link.group)
        if links is None:
            raise LinkClosed(f"there is no group {link.group!r} here")
        link.tell(WELCOME)
        links.append(link)
        self._choose[link.group].replace(links)
        log.info("server %s joined", link.name)
        asyncio.get_running_loop().call_soon(self.distribute)

    def lost(self, link: Link, why: str) -> None:
        """A server's link ended: what it did not acknowledge goes to others."""
        self._strangers.discard(link)
        asyncio.get_running_loop().remove_reader(link.sock)
        left = link.give_up()
        links = self._links.get(link.group)
        if links is None or link not in links:
            return
        links.remove(link)
        self._choose[link.group].replace(links)
        log.info("server %s left (%s), %d connections go to others", link.name, why, len(left))
        self._put_back(link.group, left)
        asyncio.get_running_loop().call_soon(self.distribute)

    # --- time

    def _tick_soon(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TICK_SECONDS, self._tick)

    def _tick(self) -> None:
        """A few times a second while something waits: give up silent servers, refuse connections that waited long
        enough."""
        self._timer = None
        now = time.monotonic()
        for link in self._all_links():
            if link.unacknowledged and now - link.silent_since > self.settings.silent_seconds:
                self.lost(link, f"it took nothing for {self.settings.silent_seconds:g} s")
            elif link.full:
                link.full = False
        for group, waiting in self._waiting.items():
            while waiting and now - waiting[0].since > self.settings.wait_seconds:
                self._refuse(waiting.popleft(), group)
            if waiting:
                self._distribute(group)
        if any(link.unacknowledged for link in self._all_links()):
            self._tick_soon()
