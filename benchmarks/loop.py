"""The event loop that the product uses where it is installed as documented. Not for peers: each has its own."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

from skerry.loop.models import default, factory

T = TypeVar("T")


def run_on_loop(work: Coroutine[object, object, T]) -> T:
    """Run it to its end on such a loop, as `asyncio.run` does on its own."""
    with asyncio.Runner(loop_factory=factory(default())) as runner:
        return runner.run(work)
