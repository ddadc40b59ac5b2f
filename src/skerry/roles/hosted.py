"""The hosted role: what an App hosts, in a process beside its servers (`skerry up --hosts N`).

Servers get what clients ask first, and pass on what is for this process; what is not for it goes back to them. It
reads the journal along, so that `ask`, `send` and `emit` work in the views as they do in a server.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from skerry.bridge.site import Site
from skerry.http.application import Application
from skerry.http.health import OWN_PAGES
from skerry.http.routes import Mount
from skerry.kernel.declaration import Declaration
from skerry.loop.passing import Passed
from skerry.roles.host import HostRole
from skerry.roles.hosts import HOSTS, only_apart
from skerry.roles.kind import RoleContext, RoleKind
from skerry.roles.server import follow, site_of
from skerry.server.moving import Moves, unserved

logger = logging.getLogger("skerry.host")


class HostedRole(HostRole):
    """What is declared by `app.host`, and nothing else of an App."""

    name = "hosted"
    group = HOSTS

    def __init__(self, context: RoleContext) -> None:
        self._kernel = context.kernel
        self._site: Site | None = None
        super().__init__(context)

    def _served(self, context: RoleContext) -> Application:
        return only_apart(context.declaration.http, context.settings)

    def _moves(self, context: RoleContext) -> Moves:
        return Moves("server", _outlined(context.declaration, self.application))

    async def start(self) -> None:
        await follow(self._kernel)
        self._site = site_of(self._kernel)
        self._site.install()
        await super().start()

    async def stop(self) -> None:
        await super().stop()
        try:
            async with asyncio.timeout(max(self.drain, 0.1)):
                await self._kernel.commands.drain()
        except TimeoutError:
            logger.warning("commands were still unconfirmed when the drain time ended")
        if self._site is not None:
            self._site.remove()
        await self._kernel.stop_reading()

    def gauges(self) -> dict[str, float | str]:
        projector = self._kernel.projector
        return {"lag": projector.behind, **super().gauges(), "position": str(projector.position)}

    def hand_on(self, passed: Passed | None) -> tuple[str, Passed]:
        """A client's connection goes back to a server, as all hosts may end; what a server relays over stays."""
        relayed = passed is not None and passed.relayed
        return HOSTS if relayed else "server", passed or Passed()


def _outlined(declaration: Declaration, application: Application) -> Callable[[str, bytes], bool]:
    """Whether a request is for one of the hosted applications, by what the whole application declares."""
    whole = declaration.http.copy()
    if declaration.live is not None:
        whole.get(declaration.live.path)(unserved)
        whole.websocket(declaration.live.path)(unserved)
    find, prefixes = whole.outline().find, {mount.prefix for mount in application.mounts}
    own = OWN_PAGES.encode()

    def is_ours(method: str, raw_path: bytes) -> bool:
        if raw_path == own or raw_path.startswith(own + b"/"):
            return False
        found = find(method, raw_path)
        return isinstance(found, Mount) and found.prefix in prefixes

    return is_ours


HOSTED = RoleKind("hosted", HostedRole, journal="reads", listens="bind")
