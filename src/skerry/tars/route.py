"""The endpoints of one object and the choice among them.

Direct endpoints never change. Otherwise the locator is asked: at the first call, then every refresh interval. As
TarsCpp does: an empty answer does not replace endpoints that are known (asked again after 10 s; while a call waits for
the first one, after 0.5 s); while the registry cannot be asked, calls go on with what is known (again after 2 s, from
the third failure on every 30 s). An endpoint that is no longer listed finishes its calls.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Sequence

from skerry.balancing import Balancer, ConsistentHash, HashModulo, RoundRobin, Weighted, hash_code
from skerry.tars.endpoint import Endpoint, ObjectAddress
from skerry.tars.link import Link
from skerry.tars.locator import Locator
from skerry.tars.settings import ClientSettings

log = logging.getLogger("skerry.tars.client")

EMPTY_SECONDS, FAILED_SECONDS, LONG_FAILED_SECONDS = 10.0, 2.0, 30.0
WANTED_SECONDS = 0.5


class Routes:
    """Links to the endpoints of one object. `on_unknown` is called for each reply that nobody waits for."""

    def __init__(
        self,
        address: ObjectAddress,
        settings: ClientSettings,
        locator: Locator | None,
        on_unknown: Callable[[], object] | None = None,
    ) -> None:
        self.problem = ""
        self._name, self._settings, self._locator = address.name, settings, locator
        self._on_unknown = on_unknown
        self._links: dict[Endpoint, Link] = {}
        self._active: frozenset[Link] = frozenset()
        self._only: Link | None = None
        self._turns: Balancer[Link] = RoundRobin[Link]()
        self._modulo: HashModulo[Link] = HashModulo()
        self._ring: ConsistentHash[Link] = ConsistentHash()
        self._refresher: asyncio.Task[None] | None = None
        self._known = asyncio.Event()
        self._wanted = 0
        self._asked = asyncio.Event()
        if address.endpoints:
            self._apply(address.endpoints, ())

    @property
    def links(self) -> tuple[Link, ...]:
        """The way to every endpoint that takes calls."""
        return tuple(link for link in self._links.values() if link in self._active)

    def pick(
        self, key: int | str | bytes | None, consistent: bool, now: float, tried: Sequence[Link]
    ) -> Link | None:
        """An endpoint that is listed, healthy and not tried yet; None when there is none."""
        only = self._only
        if only is not None:
            return only if not tried and _usable(only, now) else None

        def usable(link: Link) -> bool:
            return link in self._active and _usable(link, now) and link not in tried

        if key is None:
            return self._turns.pick(None, usable)
        code = hash_code(key)
        return (self._ring if consistent else self._modulo).pick(code, usable)

    def any_link(self, tried: Sequence[Link]) -> Link | None:
        """All are blocked or tried: one at random, one not tried if there is any, on a new connection if the
        old one is silent."""
        choice = [link for link in self._active if link not in tried] or list(self._active)
        if not choice:
            return None
        link = random.choice(choice)
        link.renew()
        return link

    async def located(self) -> None:
        """Return when an endpoint is known, or none ever will be. A registry may know none for the seconds between a
        crash and the restart: for a call that waits here it is asked again every `WANTED_SECONDS`."""
        if self._active and self._refresher is None:
            return
        if self._locator is None:
            self.problem = "the address has no endpoint and the communicator has no locator"
            return
        if self._refresher is None:
            self._refresher = asyncio.get_running_loop().create_task(self._refresh(self._locator))
        self._wanted += 1
        try:
            self._asked.set()
            await self._known.wait()
        finally:
            self._wanted -= 1

    async def close(self) -> None:
        if self._refresher is not None:
            self._refresher.cancel()
            await asyncio.gather(self._refresher, return_exceptions=True)
        await asyncio.gather(*(link.close() for link in self._links.values()))

    async def _refresh(self, locator: Locator) -> None:
        failures = 0
        while True:
            pause = self._settings.refresh_seconds
            try:
                found = await locator.find(self._name)
            except Exception as error:
                failures += 1
                pause = FAILED_SECONDS if failures < 3 else LONG_FAILED_SECONDS
                self.problem = f"the locator cannot be asked: {error}"
                log.warning("%s: %s", self._name, self.problem)
            else:
                failures = 0
                if found.active:
                    self.problem = ""
                    self._apply(found.active, found.inactive)
                    pause = min(pause, found.again_seconds or pause)
                else:
                    pause = min(pause, EMPTY_SECONDS)
                    self.problem = "the locator knows no endpoint of it"
                    log.warning("%s: %s", self._name, self.problem)
            if self._active:
                self._known.set()
            elif self._wanted:
                pause = min(pause, WANTED_SECONDS)
            self._asked.clear()
            if self._active or self._wanted:
                await asyncio.sleep(pause)
            else:
                with contextlib.suppress(
                    TimeoutError
                ):  # the next call that wants an endpoint cuts the pause short
                    await asyncio.wait_for(self._asked.wait(), pause)

    def _apply(self, active: Sequence[Endpoint], inactive: Sequence[Endpoint]) -> None:
        """Use these endpoints. One that was here before keeps its connections, its health and, for `hash`, its
        place in the order."""
        for endpoint in (*active, *inactive):
            if endpoint not in self._links:
                self._links[endpoint] = Link(endpoint, self._name, self._settings, self._on_unknown)
        now_active = frozenset(self._links[endpoint] for endpoint in active)
        for link in self._active - now_active:
            link.retire()
        self._active = now_active
        ordered = sorted(self._links.values(), key=lambda link: _order(link.endpoint))
        listed = [link for link in ordered if link in now_active]
        static = all(link.endpoint.weight_type == 1 for link in listed)
        if static:
            self._turns = Weighted(lambda link: link.endpoint.weight, listed)
        else:
            self._turns = RoundRobin(listed, start=random.randrange(len(listed)))
        self._modulo.replace(ordered)
        self._ring = ConsistentHash(
            listed,
            label=lambda link: link.endpoint.host,
            weight=lambda link: link.endpoint.weight if static else 100,
        )
        self._only = listed[0] if len(self._links) == 1 else None


def _usable(link: Link, now: float) -> bool:
    """Whether calls may go there. A blocked one whose time has come is tried in the background."""
    if link.health.trial_due(now):
        link.probe()
    return not link.health.blocked


def _order(endpoint: Endpoint) -> tuple[str, int, str]:
    return endpoint.host, endpoint.port, endpoint.protocol
