"""Ends a server that runs, as the word `stop` behind its command line asks.

Asks its AdminObj, waits as long as the platform's file allows, and kills what is left then.

Source: what TarsPHP's `index.php --config=CONF stop` is for; tarsnode waits for its end.
"""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

from skerry.tars.communicator import Communicator
from skerry.tars.endpoint import Endpoint
from skerry.tars.errors import TarsError
from skerry.tars.platform.configuration import ADMIN_OBJECT, Configuration
from skerry.tars.platform.interfaces import interfaces

ADMIN: Any = interfaces("AdminF")
ASK_SECONDS = 10.0
"""A server that listens may be slow to answer: it runs all the same."""
EXTRA_SECONDS = 1.0
LOOK_SECONDS = 0.02


async def running_pid(configuration: Configuration) -> int | None:
    """The pid of the server that answers on the file's `local` endpoint; None when none does, at once when nobody
    listens there."""
    if configuration.local is None or not await _listens(configuration.local):
        return None
    async with Communicator(timeout_seconds=ASK_SECONDS) as communicator:
        try:
            return int(await _admin(communicator, configuration).getPid())
        except TarsError:
            return None


async def stop_server(configuration: Configuration) -> int | None:
    """End it. Its pid when it ended, None when none ran. Raises ProcessLookupError never; PermissionError when it
    belongs to somebody else and does not end by itself."""
    pid = await running_pid(configuration)
    if pid is None:
        return None
    async with Communicator(timeout_seconds=ASK_SECONDS) as communicator:
        try:
            await _admin(communicator, configuration).shutdown()
        except TarsError:  # it hangs: it will be killed
            pass
    if not await _ended(pid, configuration.deactivating_seconds + EXTRA_SECONDS):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        await _ended(pid, EXTRA_SECONDS)
    return pid


async def _listens(endpoint: Endpoint) -> bool:
    try:
        async with asyncio.timeout(ASK_SECONDS):
            _, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


async def _ended(pid: int, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            while _is_there(pid):  # noqa: ASYNC110 - another process sets no event
                await asyncio.sleep(LOOK_SECONDS)
    except TimeoutError:
        return False
    return True


def _is_there(pid: int) -> bool:
    """Whether it still runs; a child of somebody who has not waited for it yet does not."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        pass
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return not os.path.isdir("/proc/self")


def _admin(communicator: Communicator, configuration: Configuration) -> Any:
    return communicator.proxy(ADMIN.AdminF, f"{ADMIN_OBJECT}@{configuration.local}")
