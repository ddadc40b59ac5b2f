"""When reports are sent: every interval, first after a random part of one, once more at the end.

Statistics and properties are told to send by it. A report that fails is lost and counted; what is reported next is not.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from skerry.tars.errors import TarsError

log = logging.getLogger("skerry.tars.platform")

LAST_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class ReportSettings:
    """How often, how long one report may take, and the size that the entries of one may have together (1,400 bytes fit
    one datagram). Source: `report-interval`, `report-timeout` and `max-report-size` of the client section."""

    interval_seconds: float = 60.0
    timeout_seconds: float = 5.0
    batch_bytes: int = 1400


class Reporting:
    """Calls `send` in time. `name` is the service's, for the log. `sent` and `failed` count; `problem` is why the last
    one failed, empty when it did not."""

    def __init__(self, name: str, send: Callable[[], Awaitable[None]], interval_seconds: float) -> None:
        self.name, self._send, self._interval = name, send, interval_seconds
        self._task: asyncio.Task[None] | None = None
        self.sent = self.failed = 0
        self.problem = ""

    def start(self) -> None:
        """Begin, in the running loop."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self, seconds: float = LAST_SECONDS) -> None:
        """Send what there is once more, for so long at most, and end."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._task = None
        try:
            async with asyncio.timeout(seconds):
                await self.now()
        except TimeoutError:
            self.failed += 1

    async def now(self) -> None:
        """Send now; a failure is noted, not raised."""
        try:
            await self._send()
        except (TarsError, OSError) as error:
            self.failed += 1
            if not self.problem:
                log.warning("%s cannot be reported to, what was counted is lost: %s", self.name, error)
            self.problem = str(error)
        else:
            self.sent += 1
            if self.problem:
                log.info("%s is reported to again", self.name)
            self.problem = ""

    async def _run(self) -> None:
        pause = self._interval * random.uniform(
            0.1, 1.0
        )  # a thousand servers started at once do not report at once
        while True:
            await asyncio.sleep(pause)
            await self.now()
            pause = self._interval
