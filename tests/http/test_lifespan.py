"""A foreign lifespan is started, kept and stopped, each within its time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from skerry.errors import DeadlineExceeded, LifecycleError
from skerry.http.lifespan import Lifespan


async def test_a_whole_life() -> None:
    """Startup, state, shutdown, and the task is gone."""
    said: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        said.append((await receive())["type"])
        scope["state"]["pool"] = 1
        await send({"type": "lifespan.startup.complete"})
        said.append((await receive())["type"])
        await send({"type": "lifespan.shutdown.complete"})

    lifespan = Lifespan(app, "app")
    await lifespan.start()
    assert lifespan.state == {"pool": 1}
    await lifespan.stop()
    await lifespan.stop()
    assert said == ["lifespan.startup", "lifespan.shutdown"]
    assert len(asyncio.all_tasks()) == 1


@pytest.mark.parametrize("message", [None, {"type": "http.response.start"}])
async def test_an_application_without_lifespan_just_starts(message: Any) -> None:
    """One that raises, or that answers as if it were asked over HTTP, does not know lifespan."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if message is None:
            raise AssertionError("http only")
        await send(message)
        await receive()

    lifespan = Lifespan(app, "app")
    await lifespan.start()
    await lifespan.stop()


async def test_a_failed_startup_has_its_reason() -> None:
    """The message of the application is in the error."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "lifespan.startup.failed", "message": "no disk"})

    lifespan = Lifespan(app, "app")
    with pytest.raises(LifecycleError, match="no disk"):
        await lifespan.start()
    await lifespan.stop()


async def test_each_step_has_a_deadline() -> None:
    """A startup that hangs is an error; a shutdown that hangs is cut."""

    async def hangs_at_start(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.Event().wait()

    with pytest.raises(DeadlineExceeded):
        await Lifespan(hangs_at_start, "app", seconds=0.02).start()

    async def hangs_at_stop(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "lifespan.startup.complete"})
        await asyncio.Event().wait()

    lifespan = Lifespan(hangs_at_stop, "app", seconds=0.02)
    await lifespan.start()
    await lifespan.stop()
    assert len(asyncio.all_tasks()) == 1
