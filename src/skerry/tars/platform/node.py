"""What a server tells its node: that it starts, which version it is, that it is alive.

`Node` makes the calls, `KeepAlives` decides which ones are due. Both run in the loop of `liveness`, a thread of its
own, so that a busy service does not look dead.

Source: TarsCpp `NodeFHelper`, `KeepAliveNodeFHelper`; tarsnode takes a server for dead when an adapter is silent.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from skerry.tars.communicator import Communicator
from skerry.tars.errors import TarsError
from skerry.tars.platform.configuration import ADMIN_ADAPTER, Configuration
from skerry.tars.platform.interfaces import interfaces

log = logging.getLogger("skerry.tars.platform")

NODE: Any = interfaces("NodeF")
ACTIVATING_SECONDS, ALIVE_SECONDS = 5.0, 10.0
SILENT_SECONDS = 1.0
"""How often a service of which nobody answers is looked at."""
TIMEOUT_SECONDS = 3.0


class Node:
    """The object in `node=`, as the server with this process id speaks to it. Raises what calls raise."""

    def __init__(self, communicator: Communicator, configuration: Configuration, pid: int) -> None:
        self._configuration, self._pid = configuration, pid
        self._server: Any = communicator.proxy(
            NODE.ServerF, configuration.node, timeout_seconds=TIMEOUT_SECONDS
        )

    async def keep_alive(self, adapter: str = "") -> None:
        """This adapter is served; empty: all are."""
        await self._server.keepAlive(self._info(adapter))

    async def keep_activating(self) -> None:
        """It still starts."""
        await self._server.keepActiving(self._info(""))

    async def report_version(self, version: str) -> None:
        await self._server.reportVersion(self._configuration.app, self._configuration.server, version)

    def _info(self, adapter: str) -> Any:
        configuration = self._configuration
        return NODE.ServerInfo(
            application=configuration.app,
            serverName=configuration.server,
            pid=self._pid,
            adapter=adapter,
        )


class KeepAlives:
    """What the node is to hear, and when.

    That it starts, until `serve(version)` is called; from then on every adapter and `AdminAdapter` is kept alive as
    long as `answers()` says that the service answers. When the node cannot be reached that is logged once, and it is
    tried on.
    """

    def __init__(self, configuration: Configuration, answers: Callable[[], bool]) -> None:
        self._names = [*(adapter.name for adapter in configuration.adapters), ADMIN_ADAPTER]
        self._answers = answers
        self._version: str | None = None
        self._is_told = False
        self._is_reachable = True
        self.is_silent = False
        """Whether nobody answers, so that the node is told nothing."""
        self.told_at: float | None = None
        """When the node last took something (monotonic)."""

    @property
    def serves(self) -> bool:
        return self._version is not None

    def serve(self, version: str) -> None:
        """It serves from now on."""
        self._version = version

    async def tell(self, node: Node) -> float:
        """Tell the node what is due. Returns after how many seconds to do so again."""
        try:
            pause = await self._tell(node)
        except TarsError as error:
            if self._is_reachable:
                log.warning("the node cannot be told that this server lives: %s", error)
            self._is_reachable = False
            return SILENT_SECONDS
        if not self._is_reachable:
            log.info("the node is told again that this server lives")
        self._is_reachable = True
        return pause

    async def _tell(self, node: Node) -> float:
        version = self._version
        if version is None:
            await node.keep_activating()
            self.told_at = time.monotonic()
            return ACTIVATING_SECONDS
        if not self._answers():
            if not self.is_silent:
                log.error("no process of the service answers: the node is told nothing until one does")
            self.is_silent = True
            return SILENT_SECONDS
        if self.is_silent:
            log.info("the service answers again")
        self.is_silent = False
        if not self._is_told:
            await node.keep_alive()
            await node.report_version(version)
            self._is_told = True
        for name in self._names:
            await node.keep_alive(name)
        self.told_at = time.monotonic()
        return ALIVE_SECONDS
