"""A configuration service: files of applications, servers and nodes, and the limit on how often they are loaded.

Answers as tarsconfig does: the server's file and the node's are joined; a file that does not exist is an empty text
with return code 0; more than `limit` loads of one file within a minute are refused with 429.
"""

from __future__ import annotations

import time
from collections import deque
from typing import Any

from skerry.tars.call import current
from skerry.tars.platform.identity import NODE_NAME
from skerry.tars.platform.interfaces import interfaces

CONFIG: Any = interfaces("ConfigF")
JOINT = "\r\n\r\n"
LIMIT, WINDOW_SECONDS = 12, 60.0
TOO_OFTEN = 429


class ConfigCenter(CONFIG.Config):  # type: ignore[misc]
    """The servant, and its files. `limit`: loads of one file in a minute, None for any number. `loads`: how many there
    were in all."""

    def __init__(self) -> None:
        self.files: dict[tuple[str, str, str, str, str], str] = {}
        self.limit: int | None = LIMIT
        self.loads = 0
        self._loaded: dict[tuple[str, str, str, str], deque[float]] = {}

    def put(
        self, app: str, server: str, name: str, text: str, *, host: str = "", set_division: str = ""
    ) -> None:
        """Publish a file of `app`.`server` (of the whole application when `server` is empty); `host`: for one node."""
        self.files[app, server, name, host, set_division] = text

    def remove(self, app: str, server: str, name: str, *, host: str = "", set_division: str = "") -> None:
        """The file does not exist any more."""
        self.files.pop((app, server, name, host, set_division), None)

    async def ListConfig(self, app: str, server: str) -> Any:  # noqa: N802
        return 0, self._names(app, server)

    async def loadConfig(self, app: str, server: str, filename: str) -> Any:  # noqa: N802
        return self._load(app, server, filename, _caller())

    async def loadConfigByHost(self, appServerName: str, filename: str, host: str) -> Any:  # noqa: N802, N803
        app, _, server = appServerName.partition(".")
        return self._load(app, server, filename, host)

    async def checkConfig(self, appServerName: str, filename: str, host: str) -> Any:  # noqa: N802, N803
        return await self.loadConfigByHost(appServerName, filename, host)

    async def ListConfigByInfo(self, configInfo: Any) -> Any:  # noqa: N802, N803
        return 0, self._names(configInfo.appname, "" if configInfo.bAppOnly else configInfo.servername)

    async def loadConfigByInfo(self, configInfo: Any) -> Any:  # noqa: N802, N803
        server = "" if configInfo.bAppOnly else configInfo.servername
        host = configInfo.host or _caller()
        return self._load(configInfo.appname, server, configInfo.filename, host, configInfo.setdivision)

    async def checkConfigByInfo(self, configInfo: Any) -> Any:  # noqa: N802, N803
        return await self.loadConfigByInfo(configInfo)

    async def ListAllConfigByInfo(self, configInfo: Any) -> Any:  # noqa: N802, N803
        return await self.ListConfigByInfo(configInfo)

    def _names(self, app: str, server: str) -> list[str]:
        return sorted({name for at, of, name, _, _ in self.files if (at, of) == (app, server)})

    def _load(self, app: str, server: str, name: str, host: str, division: str = "") -> tuple[int, str]:
        self.loads += 1
        recent = self._loaded.setdefault((app, server, name, host), deque())
        now = time.monotonic()
        while recent and now - recent[0] > WINDOW_SECONDS:
            recent.popleft()
        if self.limit is not None and len(recent) >= self.limit:
            return TOO_OFTEN, ""
        recent.append(now)
        texts = [
            self.files.get((app, server, name, at, division))
            or self.files.get((app, server, name, at, ""), "")
            for at in ("", host)
        ]
        return 0, JOINT.join(filter(None, texts))


def _caller() -> str:
    call = current()
    return call.context.get(NODE_NAME) or call.peer[0]
