"""A consumer whose database goes away and comes back, twice."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

from tests.roles.test_consumer import world

from skerry.testing.clock import VirtualLoop, run_virtual


def test_each_outage_begins_with_a_short_pause_and_has_a_reason() -> None:
    """An error without a text is named by its class; the pauses of an outage do not count for the next one."""

    async def main() -> None:
        async with world() as here:
            loop, real = asyncio.get_running_loop(), here.journal.acquire
            assert isinstance(loop, VirtualLoop)
            here.kernel.clock = loop.clock
            away, tried = True, list[float]()

            async def acquire(*args: Any) -> Any:
                tried.append(loop.time())
                if away:
                    raise TimeoutError
                return await real(*args)

            here.journal.acquire = acquire  # type: ignore[assignment]
            role = here.role(shared=True)
            await role.start()
            await asyncio.sleep(60)
            assert [trouble.partition(": ")[2] for trouble in role.troubles] == ["TimeoutError"]
            away = False
            await asyncio.sleep(20)
            assert role.troubles == []
            assert (await here.add("a")).applied
            away = True
            again = loop.time()
            await asyncio.sleep(30)
            assert len(role.troubles) == 1
            pauses = [later - earlier for earlier, later in pairwise(t for t in tried if t > again)]
            assert min(pauses) <= 0.1
            away = False
            await asyncio.sleep(20)
            await role.stop()

    run_virtual(main())
