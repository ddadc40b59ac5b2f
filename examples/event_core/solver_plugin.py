"""A plugin that brings rules for full disks and lost databases. Run: `python examples/event_core/solver_plugin.py`.

Expected output:

    making room on /data
    writer is told to go on
    database again, attempt 1
    database again, attempt 2
    solved: database: ConnectionError: gone
    without the plugin: nobody made room
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Iterable

from skerry.clock import Backoff
from skerry.supervision import Failure, Hands, Solver, Supervisor, resume, retry
from skerry.testing import run_virtual


class KeepGoing:
    """Rules for what can be mended from here."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def rules(self) -> Iterable[tuple[type[BaseException], tuple[Solver, ...]]]:
        yield OSError, (self.make_room, resume)
        yield ConnectionError, (retry(attempts=3, backoff=lambda: Backoff(first=0.5)),)

    async def make_room(self, failure: Failure, hands: Hands) -> None:
        await asyncio.sleep(0)
        print(f"making room on {self.folder}")


class Writer:
    """A child that can be held and resumed."""

    name = "writer"

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def resume(self) -> None:
        print("writer is told to go on")


async def show() -> None:
    supervisor, plugin = Supervisor("app"), KeepGoing("/data")
    supervisor.plug(plugin)
    supervisor.add(Writer())
    await supervisor.start()
    supervisor.report("writer", OSError(errno.ENOSPC, "No space left on device"))
    await supervisor.settled()

    tries = 0

    def connect() -> None:
        nonlocal tries
        tries += 1
        print(f"database again, attempt {tries}")
        if tries < 2:
            raise ConnectionError("still gone")

    with supervisor.events.on("solved", lambda failure: print(f"solved: {failure}")):
        supervisor.report("database", ConnectionError("gone"), connect)
        await supervisor.settled()

    supervisor.unplug(plugin)
    supervisor.rule(OSError, lambda failure, hands: print("without the plugin: nobody made room"))
    supervisor.report("writer", OSError(errno.ENOSPC, "No space left on device"))
    await supervisor.settled()
    await supervisor.stop()


def main() -> None:
    run_virtual(show())


if __name__ == "__main__":
    main()
