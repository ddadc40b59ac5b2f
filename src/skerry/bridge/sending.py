"""`send` and `ask`: the App's commands and queries from anywhere in its process.

A view in a thread hops to the loop and waits there, never longer than it was told; the loop never waits for a thread,
so that a full pool is slow and never stands still. In a coroutine the same names are awaited (`await send(...)`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Generator
from concurrent.futures import Future
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from skerry.bridge.connections import connection_of
from skerry.bridge.site import Site, needed
from skerry.bus.bus import CommandIds
from skerry.bus.outcomes import Level, Receipt
from skerry.clock import SystemClock
from skerry.errors import DeadlineExceeded, DeclarationError, LifecycleError, OutcomeUnknown
from skerry.journal.journal import Status
from skerry.messages.message import Command, Query

R = TypeVar("R")
logger = logging.getLogger("skerry.bridge")
SPARE_SECONDS = 5.0
"""So much longer than it was told a thread waits for a loop that does not turn."""
ANSWER_SECONDS = 5.0
"""How long a thread waits for an answer from memory."""
_ids = CommandIds()


@dataclass(frozen=True, slots=True)
class Sent(Receipt[R]):
    """A Receipt. In a coroutine it is PENDING until it is awaited, which gives the one that came."""

    coming: asyncio.Future[Receipt[R]] | None = field(default=None, repr=False, compare=False)

    def __await__(self) -> Generator[Any, None, Receipt[R]]:
        if self.coming is None:
            return self
        return (yield from asyncio.shield(self.coming).__await__())


def send(
    command: Command[R],
    *,
    wait: float | None = None,
    level: Level = Level.VISIBLE,
    id: str | None = None,
    after_commit: bool = False,
    using: str | None = None,
    session: Any = None,
) -> Sent[R]:
    """Send a command of the App. In a thread it returns when the command is decided and visible in this process's
    memory (`level` says for how much it waits), after `wait` seconds (SKERRY_WAIT by default) at the latest with a
    PENDING receipt; in a coroutine write `await send(...)`.

    `after_commit`: send it when the transaction of `using` (Django, "default") or of the SQLAlchemy `session` is
    committed, and not at all when it is rolled back; the receipt is PENDING at once. It is sent from memory: a process
    that dies between commit and sending loses it. Where that matters, `emit` an event and let a reactor do the work.

    Raises what the command bus raises: DeclarationError, InvalidMessage, Overloaded, Disconnected, OutcomeUnknown; and
    LifecycleError where no App of Skerry runs.
    """
    site = needed("send")
    if type(command) not in site.commands:
        raise DeclarationError(f"no handler decides {type(command).__name__}")
    chosen = id or _ids.new(SystemClock.now())
    if after_commit:
        return _send_later(site, command, chosen, connection_of(using, session, None))
    if site.is_here:
        coming = site.commands.submit(command, id=chosen, level=level, wait_seconds=wait)
        coming.add_done_callback(_looked_at)
        return Sent(chosen, Status.PENDING, coming=coming)
    work = site.commands.send(command, id=chosen, level=level, wait_seconds=wait)
    running = asyncio.run_coroutine_threadsafe(work, site.loop)
    if _in_a_loop():
        return Sent(chosen, Status.PENDING, coming=asyncio.wrap_future(running))
    try:
        receipt = running.result((site.commands.wait_seconds if wait is None else wait) + SPARE_SECONDS)
    except TimeoutError:
        running.cancel()
        raise OutcomeUnknown(chosen) from None
    return Sent(**{each.name: getattr(receipt, each.name) for each in fields(Receipt)})


def _send_later(site: Site, command: Command[R], id: str, bound: Any) -> Sent[R]:
    if not bound.in_transaction:
        raise LifecycleError("send after the commit", "outside of a transaction", ("send it at once",))

    def submit() -> None:
        future = site.commands.submit(command, id=id, level=Level.ACCEPTED)
        future.add_done_callback(_sent_later)

    def committed() -> None:
        site.call(submit).add_done_callback(_sent_later)

    if not bound.on_commit(committed):
        raise DeclarationError(
            "after_commit goes with Django's atomic() and SQLAlchemy's sessions; other connections do not tell of "
            "their commit: send it after yours"
        )
    return Sent(id, Status.PENDING)


def _sent_later(done: asyncio.Future[Any] | Future[Any]) -> None:
    if not done.cancelled() and (error := done.exception()) is not None:
        logger.error("a command that was to be sent after the commit was not: %s", error)


def _looked_at(done: asyncio.Future[Any]) -> None:
    """A caller that does not await it does not want to know."""
    if not done.cancelled():
        done.exception()


def ask(query: Query[R]) -> R:
    """The answer of the App's handler, from this process's memory, between two events, so that it is
    consistent. A thread waits for the loop's next turn (about 30 microseconds when it is idle); in the loop
    it is a plain call.

    Raises DeclarationError when nothing answers it (or, in a coroutine, only an asynchronous handler does: `await
    ask_async(query)`), DeadlineExceeded for a loop that does not turn, LifecycleError where no App of Skerry runs."""
    site = needed("ask")
    if site.is_here:
        return site.queries.ask(query)
    asked: Future[R]
    if site.queries.is_async(query):
        asked = asyncio.run_coroutine_threadsafe(site.queries.ask_async(query), site.loop)
    else:
        asked = site.call(lambda: site.queries.ask(query))
    try:
        return asked.result(ANSWER_SECONDS + SPARE_SECONDS)
    except TimeoutError:
        if asked.done():
            raise
        asked.cancel()
        raise DeadlineExceeded(
            f"an answer to {type(query).__name__}", ANSWER_SECONDS + SPARE_SECONDS
        ) from None


async def ask_async(query: Query[R]) -> R:
    """`ask` in a coroutine, whatever its handler is, in whichever loop."""
    site = needed("ask")
    if site.is_here:
        return await site.queries.ask_async(query)
    running = asyncio.run_coroutine_threadsafe(site.queries.ask_async(query), site.loop)
    return await asyncio.wrap_future(running)


def _in_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
