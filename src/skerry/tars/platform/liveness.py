"""The thread in which a service speaks to its node and to the notification service.

It has a loop of its own, so that keep-alives go out whatever the service's own loop is busy with. Not here: what is
said (node.py, notify.py).
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from skerry.tars.communicator import Communicator
from skerry.tars.locator import Locator
from skerry.tars.platform.configuration import Configuration
from skerry.tars.platform.identity import identity_of
from skerry.tars.platform.node import ALIVE_SECONDS, KeepAlives, Node
from skerry.tars.platform.notify import Notifier
from skerry.tars.platform.registry import RegistryLocator
from skerry.tars.platform.reporting import ReportSettings

if TYPE_CHECKING:
    from skerry.tars.platform.property import Properties

log = logging.getLogger("skerry.tars.platform")

LAST_SECONDS = 1.0
"""How long the last messages may take when the service ends."""


class Liveness:
    """`answers()` says whether the service answers; it is asked in the thread. `locator()` makes what finds objects
    without endpoints, in the thread as well; `gauges`, asked there too, are properties of the service as a whole."""

    def __init__(
        self,
        configuration: Configuration,
        pid: int,
        answers: Callable[[], bool],
        locator: Callable[[], Locator | None] = lambda: None,
        gauges: Mapping[str, Callable[[], float]] | None = None,
    ) -> None:
        self.keep_alives = KeepAlives(configuration, answers)
        self.notifier = Notifier(configuration)
        self._configuration, self._pid, self._make_locator = configuration, pid, locator
        self._gauges = dict(gauges or {})
        self._properties: Properties | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_over = self._is_urgent = False
        self._wake = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="tars-liveness", daemon=True)

    def start(self) -> None:
        """Tell the node that the server starts, every 5 s until `serve`."""
        self._thread.start()

    def serve(self, version: str) -> None:
        """It serves: tell the node at once, and every 10 s."""
        self.keep_alives.serve(version)
        self.notifier.report("restart")
        self._is_urgent = True
        self._hurry()

    def report(self, message: str) -> None:
        self.notifier.report(message)
        self._hurry()

    def alarm(self, message: str) -> None:
        self.notifier.alarm(message)
        self._hurry()

    def stop(self) -> None:
        """No keep-alives any more; what was to be said is said. Does not wait."""
        self.notifier.report("stop")
        self._is_over = True
        self._hurry()

    async def close(self) -> None:
        """Wait for the end of the thread, a moment at most."""
        if self._thread.is_alive():
            self._is_over = True
            self._hurry()
            await asyncio.to_thread(self._thread.join, LAST_SECONDS + 0.5)

    def _hurry(self) -> None:
        loop = self._loop
        if loop is not None:
            try:
                loop.call_soon_threadsafe(self._wake.set)
            except RuntimeError:  # it has ended
                pass

    # --- in the thread

    def _run(self) -> None:
        try:
            asyncio.run(self._report())
        except Exception:
            log.exception("the thread that reports to the node has failed")

    async def _report(self) -> None:
        loop = self._loop = asyncio.get_running_loop()
        locator = self._make_locator()
        async with AsyncExitStack() as stack:
            if isinstance(locator, RegistryLocator):
                stack.push_async_callback(locator.close)
            communicator = await stack.enter_async_context(Communicator(locator=locator))
            node = Node(communicator, self._configuration, self._pid) if self._configuration.node else None
            due = loop.time()
            while not self._is_over:
                if node is not None and (loop.time() >= due or self._is_urgent):
                    self._is_urgent = False
                    due = loop.time() + await self.keep_alives.tell(node)
                again = await self.notifier.send_all(communicator)
                if self._gauges and self.keep_alives.serves:
                    self._properties = self._told_gauges(communicator, locator)
                rest = due - loop.time() if node is not None else ALIVE_SECONDS
                await self._rest(rest if again is None else min(rest, again))
            if self._properties is not None:
                await self._properties.stop(LAST_SECONDS / 2)
            try:
                async with asyncio.timeout(LAST_SECONDS):
                    await self.notifier.send_all(communicator)
            except TimeoutError:
                pass
        self._loop = None

    def _told_gauges(self, communicator: Communicator, locator: Locator | None) -> Properties | None:
        """The gauges as properties from now on, if there is a service for them."""
        from skerry.tars.platform.property import (
            PROPERTY,
            Properties,
        )  # when it serves: nobody waits for it then

        gauges, self._gauges = self._gauges, {}
        client = self._configuration.client
        if not client.property or (locator is None and "@" not in client.property):
            return None
        seconds = client.report_timeout_seconds
        proxy = communicator.proxy(PROPERTY.PropertyF, client.property, timeout_seconds=seconds)
        settings = ReportSettings(client.report_seconds, seconds, client.report_bytes)
        identity = identity_of(self._configuration)
        properties = Properties(identity, proxy, settings, of_process=False)
        for name, ask in gauges.items():
            properties.gauge(name, ask)
        properties.start()
        return properties

    async def _rest(self, seconds: float) -> None:
        """Until it is time, or somebody has something to say."""
        if self._is_urgent or self._is_over:
            return
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()
