"""Messages for people, in the platform's web page: that a server starts, stops, and what alarms it.

Best effort: a bounded queue, half a second for each, a few tries, and nothing waits for it. What is dropped is counted.

Source: TarsCpp `RemoteNotify`; TarsFramework NotifyServer.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import Any

from skerry.tars.communicator import Communicator
from skerry.tars.errors import TarsError
from skerry.tars.platform.configuration import Configuration
from skerry.tars.platform.interfaces import interfaces

log = logging.getLogger("skerry.tars.platform")

NOTIFY: Any = interfaces("NotifyF")
TIMEOUT_SECONDS = 0.5
MAX_WAITING = 100
TRIES, PAUSE_SECONDS = 5, 1.0
"""How often a message is sent, and how long after it was not taken."""
MAX_CHARACTERS = 2000


class Notifier:
    """Messages to the object in `notify=`. `report` and `alarm` may be called from any thread; `send_all` sends."""

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration
        self._waiting: deque[Any] = deque()
        self._failed = 0  # tries of the first
        self.sent = self.dropped = 0

    def report(self, message: str) -> None:
        """A step of the server's life, as `restart`."""
        self._put(NOTIFY.ReportType.REPORT, message, NOTIFY.NOTIFYLEVEL.NOTIFYNORMAL)

    def alarm(self, message: str) -> None:
        """Something that somebody should look at."""
        self._put(NOTIFY.ReportType.REPORT, f"[alarm] {message}", NOTIFY.NOTIFYLEVEL.NOTIFYERROR)

    def _put(self, kind: Any, message: str, level: Any) -> None:
        if not self._configuration.notify:
            return
        if len(self._waiting) >= MAX_WAITING:
            self.dropped += 1
            return
        configuration = self._configuration
        self._waiting.append(
            NOTIFY.ReportInfo(
                eType=kind,
                sApp=configuration.app,
                sSet=configuration.set_division,
                sContainer="",
                sServer=configuration.server,
                sMessage=message[:MAX_CHARACTERS],
                eLevel=level,
                sNodeName=configuration.node_name,
            )
        )

    async def send_all(self, communicator: Communicator) -> float | None:
        """Send what waits. Returns after how many seconds to try again, None when nothing is left."""
        while self._waiting:
            info = self._waiting[0]
            try:
                proxy: Any = communicator.proxy(
                    NOTIFY.Notify,
                    self._configuration.notify,
                    timeout_seconds=TIMEOUT_SECONDS,
                    context={"node_name": self._configuration.node_name},
                )
                await proxy.reportNotifyInfo(info)
                self.sent += 1
            except TarsError as error:
                self._failed += 1
                if self._failed < TRIES:
                    return PAUSE_SECONDS
                self.dropped += 1
                log.debug("the notification service did not take %r: %s", info.sMessage, error)
            self._waiting.popleft()
            self._failed = 0
        return None
