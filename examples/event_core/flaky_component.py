"""A task that fails twice and is restarted, in virtual time. Run: `python examples/event_core/flaky_component.py`.

Expected output:

    feed connects (attempt 1)
    failed: feed: no route (attempt 1)
    restarted
    feed connects (attempt 2)
    failed: feed: no route (attempt 2)
    restarted
    feed connects (attempt 3)
    feed reads
    stopped
"""

from __future__ import annotations

import asyncio

from skerry.supervision import Supervisor, restart
from skerry.testing import run_virtual

attempts = 0


async def feed() -> None:
    """What is supervised: runs until it is stopped."""
    global attempts
    attempts += 1
    print(f"feed connects (attempt {attempts})")
    if attempts < 3:
        raise ConnectionError(f"no route (attempt {attempts})")
    print("feed reads")
    await asyncio.Event().wait()


async def supervise() -> None:
    supervisor = Supervisor("app")
    supervisor.rule(ConnectionError, restart)
    supervisor.events.on("failure", lambda failure: print(f"failed: {failure.component}: {failure.message}"))
    supervisor.events.on("restarted", lambda failure: print("restarted"))
    supervisor.spawn("feed", feed)
    await supervisor.start()
    await asyncio.sleep(10.0)  # virtual seconds
    await supervisor.stop()
    print("stopped")


def main() -> None:
    global attempts
    attempts = 0
    run_virtual(supervise())


if __name__ == "__main__":
    main()
