"""The lifespan of an ASGI application (ASGI lifespan 2.0): start it, keep it, stop it, each with a deadline.

Used for every mounted application, and by the server for a whole application that is not ours.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Send

from skerry.errors import DeadlineExceeded, LifecycleError

logger = logging.getLogger("skerry.http")


class Lifespan:
    """One application's lifespan. `state` is what it leaves for its requests."""

    def __init__(self, app: ASGIApp, name: str, *, seconds: float = 60.0) -> None:
        self.state: dict[str, Any] = {}
        self._app, self._name, self._seconds = app, name, seconds
        self._inbox: asyncio.Queue[Message] = asyncio.Queue(2)
        self._started = asyncio.Event()
        self._stopped = asyncio.Event()
        self._failure: str | None = None
        self._supported = True
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Run its startup. An application without lifespan support just starts.

        Raises LifecycleError when it says that it failed, DeadlineExceeded when it does not answer in time.
        """
        self._task = asyncio.create_task(self._run(), name=f"lifespan of {self._name}")
        self._inbox.put_nowait({"type": "lifespan.startup"})
        await self._within(self._started, "startup")
        if self._failure is not None:
            raise LifecycleError(f"start {self._name} ({self._failure})", "starting", ())

    async def stop(self) -> None:
        """Run its shutdown; errors are logged, everything else closes anyway."""
        if self._task is None:
            return
        if self._supported and not self._task.done():
            self._inbox.put_nowait({"type": "lifespan.shutdown"})
            try:
                await self._within(self._stopped, "shutdown")
            except DeadlineExceeded as error:
                logger.warning("%s", error)
        task, self._task = self._task, None
        if not task.done():
            task.cancel()
        await asyncio.wait({task}, timeout=self._seconds)

    async def _within(self, event: asyncio.Event, what: str) -> None:
        try:
            async with asyncio.timeout(self._seconds):
                await event.wait()
        except TimeoutError:
            if self._task is not None:
                self._task.cancel()
            raise DeadlineExceeded(f"{what} of {self._name}", self._seconds) from None

    async def _run(self) -> None:
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
        try:
            await self._app(scope, self._inbox.get, self._send)
        except Exception as error:
            if self._started.is_set():
                logger.error("lifespan of %s failed", self._name, exc_info=error)
            else:
                # The specification: an exception at startup means that lifespan is not supported.
                self._supported = False
                logger.debug("%s has no lifespan: %r", self._name, error)
        finally:
            self._started.set()
            self._stopped.set()

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        match message["type"]:
            case "lifespan.startup.complete":
                self._started.set()
            case "lifespan.startup.failed":
                self._failure = message.get("message") or "it gave no reason"
                self._started.set()
            case "lifespan.shutdown.complete":
                self._stopped.set()
            case "lifespan.shutdown.failed":
                logger.error(
                    "shutdown of %s failed: %s", self._name, message.get("message") or "no reason given"
                )
                self._stopped.set()
            case other:
                raise RuntimeError(f"{other!r} is no message of a lifespan")  # it does not know lifespan


class Lifespans:
    """Those of several applications, one after the other."""

    def __init__(self) -> None:
        self._running: list[Lifespan] = []

    async def start(self, app: ASGIApp, name: str) -> dict[str, Any]:
        """Run its startup; returns the state for its requests. When it fails, those that run are stopped."""
        lifespan = Lifespan(app, name)
        self._running.append(lifespan)
        try:
            await lifespan.start()
        except BaseException:
            await self.stop()
            raise
        return lifespan.state

    async def stop(self) -> None:
        """Run their shutdowns, the last one first."""
        while self._running:
            await self._running.pop().stop()


async def answer_lifespan(
    receive: Receive,
    send: Send,
    startup: Callable[[], Awaitable[None]],
    shutdown: Callable[[], Awaitable[None]],
) -> None:
    """The application's side of a lifespan, as a foreign server runs it."""
    await receive()
    try:
        await startup()
    except Exception as error:
        logger.error("startup failed", exc_info=error)
        await send({"type": "lifespan.startup.failed", "message": str(error)})
        return
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await shutdown()
    await send({"type": "lifespan.shutdown.complete"})
