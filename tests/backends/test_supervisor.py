"""The supervisor, without a broker: one session at a time, back-off, and a bounded end."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from skerry.backends.supervisor import Supervisor
from skerry.clock import Backoff
from skerry.errors import Disconnected, SettingsError
from skerry.testing.clock import VirtualClock
from skerry.testing.transports import soon, until


class FakeSession:
    """Lives until its `lost` is done."""

    def __init__(self) -> None:
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.closed: list[bool] = []

    async def close(self, polite: bool = False) -> None:
        self.closed.append(polite)


class Scene:
    """A supervisor over a script of what each attempt to connect does."""

    def __init__(self, *script: Exception | FakeSession) -> None:
        self.script = list(script)
        self.clock = VirtualClock()
        self.said: list[str] = []
        self.attempts = 0
        self.supervisor: Supervisor[FakeSession] = Supervisor(
            "test",
            self.open,
            lambda session: self.said.append("opened"),
            lambda reason: self.said.append(f"lost: {reason}"),
            self.clock,
            Backoff(first=1.0, ceiling=8.0),
        )

    async def open(self) -> FakeSession:
        self.attempts += 1
        step = self.script.pop(0)
        if isinstance(step, Exception):
            raise step
        return step


async def test_a_lost_session_is_closed_and_replaced() -> None:
    """Lost: told, closed without politeness, a pause, the next one; stopped: closed politely, nothing more."""
    first, second = FakeSession(), FakeSession()
    scene = Scene(first, second)
    scene.supervisor.start()
    assert await soon(scene.supervisor.wait(30)) is first
    first.lost.set_result("the wire broke")
    await until(lambda: first.closed == [False])
    assert scene.supervisor.session is None
    assert scene.attempts == 1
    await scene.clock.advance(1.0)
    assert await soon(scene.supervisor.wait(30)) is second
    await scene.supervisor.stop()
    assert second.closed == [True]
    assert scene.said == ["opened", "lost: the wire broke", "opened", "lost: stopped"]
    with pytest.raises(Disconnected):
        await soon(scene.supervisor.wait(30))


async def test_attempts_back_off() -> None:
    """Failing attempts come slower and slower, up to the ceiling; each failure is known by its text."""
    scene = Scene(*[Disconnected("nobody there")] * 20)
    scene.supervisor.start()
    await until(lambda: scene.attempts == 1)
    assert str(scene.supervisor.failure) == "nobody there"
    await scene.clock.advance(0.4)  # the first pause is half a second at least
    assert scene.attempts == 1
    for _ in range(30):
        await scene.clock.advance(1.0)
    assert 5 <= scene.attempts <= 12
    await scene.supervisor.stop()


async def test_who_waits_is_told_why_not() -> None:
    """A wait ends in bounded time with the last failure's text, at once for what only a person can put right."""
    scene = Scene(*[Disconnected("nobody there")] * 3)
    scene.supervisor.start()
    with pytest.raises(Disconnected, match=r"within 0\.05 s: nobody there"):
        await soon(scene.supervisor.wait(0.05))
    await scene.supervisor.stop()
    scene = Scene(SettingsError("transport", "wrong password"), FakeSession())
    scene.supervisor.start()
    with pytest.raises(SettingsError):
        await soon(scene.supervisor.wait(60.0))
    await scene.supervisor.stop()


async def test_a_strange_error_is_survived() -> None:
    """Whatever an attempt raises, the supervisor tries on: it is the last one who could."""
    session = FakeSession()
    scene = Scene(RuntimeError("a bug somewhere"), session)
    scene.supervisor.start()
    await until(lambda: scene.attempts == 1)
    await scene.clock.advance(1.0)
    assert await soon(scene.supervisor.wait(30)) is session
    await scene.supervisor.stop()


@pytest.mark.parametrize("lost_in", ["opening", "closing", "an error"])
async def test_a_cancellation_that_a_library_loses_keeps_nobody_from_stopping(lost_in: str) -> None:
    """asyncio.wait_for of Python 3.11, which aiormq uses, forgets that it was cancelled when its work is done at the
    same moment; stopping waited for ever then."""
    session = FakeSession()
    scene = Scene()
    inside = asyncio.Event()

    async def loses() -> None:
        inside.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    async def open_session() -> FakeSession:
        if lost_in != "closing":
            await loses()
        if lost_in == "an error":
            raise Disconnected("the connection was lost")
        return session

    async def close(polite: bool = False) -> None:
        session.closed.append(polite)
        if lost_in == "closing":
            await loses()

    session.close = close  # type: ignore[method-assign]
    scene.supervisor._open = open_session
    scene.supervisor.start()
    if lost_in == "closing":
        await soon(scene.supervisor.wait(30))
        session.lost.set_result("the wire broke")
    await soon(inside.wait())
    await soon(scene.supervisor.stop(), 5.0)
    assert scene.supervisor.session is None
    assert session.closed == {"opening": [True], "closing": [False], "an error": []}[lost_in]
