"""The failed state: work is held, mended, resumed; and an end with a code.

Run: `python examples/event_core/when_it_fails.py`.

Expected output:

    server starts
    beat
    beat
    -> failed: disk: OSError: full
    server takes nothing new
    mending, meanwhile no beat
    server goes on
    -> started
    beat
    -> failed: disk: ValueError: unknown format
    server takes nothing new
    server stops
    exit code 70: cannot recover: unknown format (began with disk: ValueError: unknown format)
"""

from __future__ import annotations

import asyncio
import logging

from skerry import Loop, Runtime
from skerry.supervision import Failure, Hands, escalate
from skerry.testing import VirtualLoop, run_virtual


class Server:
    """A role."""

    name = "server"

    async def start(self) -> None:
        print("server starts")

    async def hold(self) -> None:
        print("server takes nothing new")

    async def resume(self) -> None:
        print("server goes on")

    async def stop(self) -> None:
        print("server stops")


async def mend(failure: Failure, hands: Hands) -> None:
    await asyncio.sleep(5.0)
    print("mending, meanwhile no beat")


async def live() -> None:
    asyncio_loop = asyncio.get_running_loop()
    assert isinstance(asyncio_loop, VirtualLoop)
    runtime = Runtime("app", [Server()], loop=Loop(clock=asyncio_loop.clock), clock=asyncio_loop.clock)
    runtime.guard.rule(OSError, mend)
    runtime.guard.rule(ValueError, escalate)
    runtime.events.on("fail", lambda failure: print(f"-> {runtime.state}: {failure}"))
    runtime.events.on("resume", lambda: print(f"-> {runtime.state}"))
    runtime.loop.add_periodic_timer(1.0, lambda: print("beat"))
    asyncio_loop.call_later(2.5, lambda: runtime.fail("disk", OSError("full")))
    asyncio_loop.call_later(8.2, lambda: runtime.fail("disk", ValueError("unknown format")))
    code = await runtime.serve()
    assert runtime.exit is not None
    print(f"exit code {code}: {runtime.exit.message}")


def main() -> None:
    logging.disable(logging.CRITICAL)  # the log has every failure with its traceback; here it would be noise
    try:
        run_virtual(live())
    finally:
        logging.disable(logging.NOTSET)


if __name__ == "__main__":
    main()
