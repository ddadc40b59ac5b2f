"""A loop that has nothing to do is known to wait, without being woken; a call that waits elsewhere does not count."""

from __future__ import annotations

import asyncio
import select
import socket
import sys
import threading
import time
from collections.abc import Callable

import pytest

from skerry.loop import models
from skerry.loop.blocked import Waiting

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="what a thread does is told by Linux")


def within(seconds: float, holds: Callable[[], bool]) -> bool:
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.001)
    return True


@pytest.mark.parametrize("model", [name for name in models.available() if name not in ("select", "poll")])
def test_a_loop_that_waits(model: str) -> None:
    """It is seen waiting in its own selector; while a callback waits in another one it is not."""
    with asyncio.Runner(loop_factory=models.factory(model)) as runner:
        runner.run(_looked_at())


async def _looked_at() -> None:
    loop = asyncio.get_running_loop()
    waiting = Waiting(loop)
    assert not waiting.now()  # nothing is known yet
    await asyncio.sleep(0)
    seen: list[bool] = []
    ended, inside = asyncio.Event(), threading.Event()

    def look() -> None:
        answered = threading.Event()
        loop.call_soon_threadsafe(answered.set)
        assert answered.wait(30)
        waiting.learn()
        seen.append(within(30, waiting.now))
        loop.call_soon_threadsafe(block)
        assert inside.wait(30)
        seen.append(any(waiting.now() for _ in range(100)))
        ours.send(b"x")
        loop.call_soon_threadsafe(ended.set)

    ours, theirs = socket.socketpair()

    def block() -> None:
        with select.epoll() as another:
            another.register(theirs, select.EPOLLIN)
            inside.set()
            another.poll(30)

    thread = threading.Thread(target=look)
    thread.start()
    await ended.wait()
    thread.join()
    waiting.close()
    ours.close()
    theirs.close()
    assert seen == [True, False]


def test_without_what_the_kernel_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is known then, and nothing is broken."""
    monkeypatch.setattr("skerry.loop.blocked.EPOLL_CALLS", {})

    async def main() -> None:
        waiting = Waiting(asyncio.get_running_loop())
        await asyncio.sleep(0)
        waiting.learn()
        await asyncio.sleep(0)
        assert not waiting.now()
        waiting.close()

    asyncio.run(main())
