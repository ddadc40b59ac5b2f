"""`emit`: an event in the application's own transaction, or not at all.

    with transaction.atomic():
        order.save()
        emit(OrderPaid(number=order.pk), key=f"order-{order.pk}")

The event is committed with the rows, and rolled back with them. Once it is committed the consumer moves it into the
journal, in one sequence with those of commands; of one row in the order of its changes, as long as the row is written
before `emit` (its lock keeps the next one away until the commit).
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Coroutine, Generator
from concurrent.futures import Future
from typing import Any
from weakref import WeakKeyDictionary

from skerry.bridge.connections import Connection, at_once, connection_of
from skerry.bridge.place import Place, place
from skerry.bridge.site import Expected, Site, site
from skerry.bus.outcomes import Receipt
from skerry.errors import (
    DeclarationError,
    InvalidMessage,
    JournalError,
    LifecycleError,
    Overloaded,
    SkerryError,
)
from skerry.journal.intake import MAX_EVENT_BYTES, MAX_EVENTS, Leaving
from skerry.journal.journal import Status
from skerry.messages.message import Event
from skerry.messages.typed import typed
from skerry.provenance import TRACE, carried

logger = logging.getLogger("skerry.bridge")
_COUNTED = 1000
"""After so many on one connection it is asked whether they are of one transaction."""


class Emitted(Expected):
    """An event that was emitted, or will be when awaited: await it where the connection is asynchronous,
    `await emit(...)`. `id`: of the event, as `Record.command_id` says."""

    __slots__ = ("_committed", "_leaving", "_site")

    def __init__(self, id: str, site: Site | None) -> None:
        self.id = id
        self._site = site
        if site is not None:  # elsewhere nobody can wait
            self.applied = Future()
        self._leaving: Coroutine[Any, Any, None] | None = None
        self._committed: bool | None = None  # None: nobody tells

    def __await__(self) -> Generator[Any, None, Emitted]:
        leaving, self._leaving = self._leaving, None
        if leaving is not None:
            yield from leaving.__await__()
        return self

    def wait(self, seconds: float = 5.0) -> Receipt[None]:
        """After the commit, in a thread: wait until this process's memory has the event. A Receipt, APPLIED with the
        position, PENDING when the time ran out. Raises LifecycleError in a process that follows no journal, in its
        loop, and before the commit."""
        if self._ready().is_here:
            raise LifecycleError("wait", "in the loop", ("await emitted.visible()",))
        try:
            return self._receipt(self.applied.result(seconds))
        except TimeoutError:
            return Receipt(self.id, Status.PENDING)

    async def visible(self, seconds: float = 5.0) -> Receipt[None]:
        """`wait`, in a coroutine."""
        self._ready()
        try:
            async with asyncio.timeout(seconds):
                return self._receipt(await asyncio.shield(asyncio.wrap_future(self.applied)))
        except TimeoutError:
            return Receipt(self.id, Status.PENDING)

    def _ready(self) -> Site:
        if self._site is None:
            cure = "run it under skerry host or skerry up, beside an App"
            raise LifecycleError("wait", "this process follows no journal", (cure,))
        if self._committed is False:
            raise LifecycleError("wait", "the transaction is not committed", ("commit, then wait",))
        self._site.look()
        return self._site

    def _receipt(self, position: Any) -> Receipt[None]:
        return Receipt(self.id, Status.APPLIED, position)

    def _is_committed(self) -> None:
        self._committed = True
        if self._site is not None:
            self._site.look()


def emit(
    event: Event,
    *,
    key: str | None = None,
    using: str | None = None,
    session: Any = None,
    connection: Any = None,
) -> Emitted:
    """Add an event to the transaction that is open on the application's own connection.

    `key`: its subject (`Record.key`), by default the event's `subject_key()`. The transaction is Django's of the
    database `using` ("default" when nothing is said and Django is used), that of a SQLAlchemy `session` (which is
    flushed), or that of a `connection`: psycopg, asyncpg, sqlite3, SQLAlchemy. With an asynchronous connection `emit`
    is awaited: `await emit(...)`.

    Raises LifecycleError outside of a transaction, InvalidMessage for an event that does not fit its declaration or has
    over 1 MiB, DeclarationError for one that the App of this process does not list (`app.emits(..., foreign=True)`),
    Overloaded beyond 10,000 in one transaction, SettingsError when it is not known whose journal it is for,
    JournalError when the journal is not in this database.
    """
    if not isinstance(event, Event):
        raise DeclarationError(f"emit takes an Event, not {type(event).__name__}")
    bound = connection_of(using, session, connection)
    known = _known_of(bound)
    where = known.place
    leaving = _leaving(event, key, where.site)
    if not bound.in_transaction:
        raise LifecycleError(
            "emit", "outside of a transaction",
            ("begin one (transaction.atomic(), session.begin(), connection.transaction()): the event is part of it",),
        )  # fmt: skip
    emitted = Emitted(leaving.id, where.site)
    work = _leave(bound, known, leaving, emitted)
    if bound.is_async:
        emitted._leaving = work
    else:
        at_once(work)
    return emitted


def _leaving(event: Event, key: str | None, site: Site | None) -> Leaving:
    kind = type(event)
    if site is not None and kind.message_name not in site.foreign:
        name = kind.__name__
        raise DeclarationError(
            f"{name} is not listed: app.emits({name}, foreign=True) lets transactions leave it"
        )
    data, event = typed(kind).encode(event)
    if len(data) > MAX_EVENT_BYTES:
        raise InvalidMessage(
            kind.message_name, f"an event of {len(data)} bytes, the limit is {MAX_EVENT_BYTES}"
        )
    chosen = event.subject_key() if key is None else key
    if "\x00" in chosen:
        raise InvalidMessage(kind.message_name, "its key has U+0000, which cannot be stored")
    trace = carried.get().get(TRACE, "")
    return Leaving(_new_id(), kind.message_name, kind.writes_version, chosen, data.decode(), trace)


async def _leave(bound: Connection, known: _Known, leaving: Leaving, emitted: Emitted) -> None:
    where = known.place
    try:
        if where.door.asks and not bound.is_apsw:
            told = where.door.refused(await bound.fetch_value(where.door.asks))
            if told:
                raise JournalError(told)
        await bound.write_out()
        if where.door.wrote:
            known.count += 1
            if known.count > MAX_EVENTS or not known.count % _COUNTED:
                _check(known, await bound.fetch_value(where.door.wrote))
            if where.strict and await bound.fetch_value(where.door.wrote) is None:
                logger.warning(
                    "%s is emitted before its transaction has written anything: write the row first, else events of "
                    "one row may be out of order (%s)", leaving.name, _caller(),
                )  # fmt: skip
        for sql, values in where.door.statements(leaving):
            await bound.execute(sql, values)
    except SkerryError:
        raise
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None:  # Django's and SQLAlchemy's errors have the driver's behind them
            if told := where.door.explained(getattr(cause, "orig", None) or cause):
                raise JournalError(told) from error
            cause = cause.__cause__
        raise
    if where.site is not None:
        where.site.expect(emitted)
    emitted._committed = False if bound.on_commit(emitted._is_committed) else None
    if emitted._committed is None and where.site is not None:
        where.site.look()  # nobody will tell of the commit: it is looked for more often for a second


def _new_id() -> str:
    """A UUID of version 4 (RFC 9562 section 5.4) in 32 hexadecimal digits."""
    digits = os.urandom(16).hex()
    return f"{digits[:12]}4{digits[13:16]}a{digits[17:]}"


# --- what is known of a connection


class _Known:
    """Where its events are left, and how many were: `count` since the transaction `transaction` was seen."""

    __slots__ = ("count", "place", "transaction")

    def __init__(self, place: Place) -> None:
        self.place = place
        self.count = 0
        self.transaction: Any = None


_known: WeakKeyDictionary[Any, _Known] = WeakKeyDictionary()


def _known_of(bound: Connection) -> _Known:
    """Remembered as long as the connection lives, and the App of this process: settings are looked up once for each."""
    try:
        known = _known.get(bound.whose)
    except TypeError:  # no weak references to it: its events are not counted
        return _Known(place(bound.database))
    if known is None or known.place.site is not site():
        known = _known[bound.whose] = _Known(place(bound.database))
    return known


def _check(known: _Known, transaction: Any) -> None:
    """Refuse what is far too much for one transaction, the one that is open: everybody would wait for it."""
    if transaction != known.transaction:
        known.count, known.transaction = 1, transaction
    elif known.count > MAX_EVENTS:
        raise Overloaded(
            f"one transaction leaves over {MAX_EVENTS} events: emit one that tells of all of them"
        )


def _caller() -> str:
    """The file and line of the `emit`."""
    frame = sys._getframe(1)
    while frame.f_back is not None and "/skerry/bridge/" in frame.f_code.co_filename:
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
