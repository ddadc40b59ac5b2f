"""Sessions of browsers that were ended early: a logout is an event in the journal, which every process hears.

What is revoked is kept until the session would have ended by itself, in one row that each logout prunes. It is declared
where there are tokens, in every process of the application: the consumer decides, servers refuse.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import msgspec

from skerry.bus.bus import CommandBus
from skerry.bus.handlers import Handler
from skerry.bus.outcomes import Receipt
from skerry.errors import Rejected, Unavailable
from skerry.http.application import Application
from skerry.http.auth import Session, Tokens
from skerry.journal.journal import Record, Status
from skerry.journal.projection import Projection
from skerry.journal.table import AnyTable, Table
from skerry.journal.unit import Unit
from skerry.kernel.declaration import Declaration
from skerry.messages.message import Command, Event
from skerry.provenance import provenance

MOST_REVOKED = 5_000
"""Sessions that may be revoked and not over at one time."""
ROW = "all"


class Revoked(msgspec.Struct, frozen=True):
    """The ids of revoked sessions, and when each would have ended (seconds since 1970)."""

    until: dict[str, int]


class RevokeSession(Command, frozen=True):
    """End a session before its time."""

    message_name: ClassVar[str] = "skerry_revoke_session"

    session: str
    expires: int

    def routing_key(self) -> str:
        return ROW


class SessionRevoked(Event, frozen=True):
    """A session ended before its time; the event's `who` did it."""

    message_name: ClassVar[str] = "skerry_session_revoked"

    session: str
    expires: int

    def subject_key(self) -> str:
        return self.session


revoked = Table("skerry_sessions", key=str, row=Revoked)


async def revoke(command: RevokeSession, unit: Unit) -> None:
    """Keep the session's id until it is over."""
    row = await unit.get(revoked, ROW)
    until = {id: at for id, at in (row.until if row else {}).items() if at >= unit.at}
    if command.session in until or command.expires < unit.at:
        return
    if len(until) >= MOST_REVOKED:
        raise Rejected(f"{MOST_REVOKED} sessions are revoked already and not over yet")
    unit.put(revoked, ROW, Revoked({**until, command.session: command.expires}))
    unit.emit(SessionRevoked(command.session, command.expires))


class RevokedSessions(Projection):
    """What servers look at before they believe a session. `listeners` are called when a session is revoked."""

    table = revoked

    def __init__(self) -> None:
        self.until: dict[str, int] = {}
        self.listeners: list[Callable[[], None]] = []
        self._offset = 0

    def __contains__(self, session: object) -> bool:
        return session in self.until

    def clear(self) -> None:
        self.until.clear()

    def load(self, table: AnyTable, key: Any, row: Any, offset: int) -> None:
        self.until, self._offset = dict(row.until), offset
        self._tell()

    def dump(self) -> Iterable[tuple[AnyTable, Any, Any, int]]:
        if self.until:
            yield revoked, ROW, Revoked(dict(self.until)), self._offset

    @Projection.applies(SessionRevoked)
    def add(self, event: SessionRevoked, record: Record) -> None:
        for id in [id for id, at in self.until.items() if at < record.at]:
            del self.until[id]
        self.until[event.session] = event.expires
        self._offset = record.offset
        self._tell()

    def _tell(self) -> None:
        for listener in self.listeners:
            listener()


def declare_sessions(declaration: Declaration) -> None:
    """Make the application revoke sessions; once."""
    if RevokedSessions in declaration.projections:
        return
    declaration.messages.add(RevokeSession)
    declaration.messages.add(SessionRevoked)
    declaration.use_table(revoked)
    declaration.handlers.add_command(Handler(RevokeSession, revoke, revoked))
    declaration.projections.append(RevokedSessions)


def heed(sessions: RevokedSessions, tokens: Tokens, application: Application) -> None:
    """Let tokens refuse sessions that are revoked, and forget what is remembered of them."""
    tokens.revoked = sessions

    def forget() -> None:
        if application.guard is not None:
            application.guard.forget()

    sessions.listeners.append(forget)


def revoking(commands: CommandBus) -> Callable[[Session], asyncio.Future[None]]:
    """How a session is revoked from here on: everywhere, when the future is done."""

    def end(session: Session) -> asyncio.Future[None]:
        result: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def told(done: asyncio.Future[Receipt[Any]]) -> None:
            error = done.exception()
            if error is None and done.result().status is not Status.APPLIED:
                error = Unavailable(done.result().reason or "no consumer has decided it yet")
            if result.done():
                return
            if error is None:
                result.set_result(None)
            else:
                result.set_exception(error)

        command = RevokeSession(session.id, session.expires)
        commands.submit(command, headers=provenance(session.identity.subject)).add_done_callback(told)
        return result

    return end
