"""One connection of ours to PostgreSQL: what it is connected to, and since when it waits. No commit is ever cancelled.

A commit that is given up, by its deadline or by the end of its task, ends with its connection. The driver would send a
cancel request over a second one, and a COMMIT that is cancelled while it waits for a synchronous standby stands on this
server alone, with a warning beside its success. Other statements are cancelled as usual: a handler in SQL mode may be
late, and its savepoint is undone. Not here: when to give up (connections.py), who is asked meanwhile (silence.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import asyncpg

from skerry.backends.postgres.role import ServerRole
from skerry.errors import Disconnected


class Session(asyncpg.Connection):  # type: ignore[misc]
    """`role`: what it is connected to (`role_of`). `waiting_since`: when the statement under way was sent, by the
    loop's clock; None when there is none. `asked_at`: when the server was last known to work on it; `idle_since`:
    of which statement it was told that the server does nothing for it. `lost`: why it was
    given up, "" while it was not. `warnings`: how many the server has sent. `is_committing`: see `committing`."""

    role: ServerRole
    waiting_since: float | None = None
    asked_at = 0.0
    idle_since: float | None = None
    lost = ""
    warnings = 0
    is_committing = False

    def get_reset_query(self) -> str:
        """None: ours are given back clean, and it would cost a round trip each time."""
        return ""

    def heed_warnings(self) -> None:
        """To be called once, when it is connected."""
        self.add_log_listener(_count)

    def give_up(self, why: str) -> None:
        """Close it at once: what it waits for ends with an error."""
        self.lost = self.lost or why
        self.terminate()

    @property
    def became_read_only(self) -> bool:
        """Whether the server has said by itself (PostgreSQL 14 and newer do) that it takes no writes any more."""
        settings = self.get_settings()
        return self.role.takes_writes and "on" in (
            getattr(settings, "in_hot_standby", ""),
            getattr(settings, "default_transaction_read_only", ""),
        )

    def _cancel_current_command(self, *waiters: Any) -> None:
        """asyncpg's, called to send a cancel request: a deadline has passed, or the task was cancelled."""
        if self.is_committing:  # soon: asyncpg is not done with it yet
            asyncio.get_running_loop().call_soon(self.give_up, "a commit was not answered in time")
        else:
            super()._cancel_current_command(*waiters)

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> Any:
        self._begin()
        try:
            return await super().execute(query, *args, timeout=timeout)
        finally:
            self.waiting_since = None

    async def fetch(
        self, query: str, *args: Any, timeout: float | None = None, record_class: Any = None
    ) -> Any:
        self._begin()
        try:
            return await super().fetch(query, *args, timeout=timeout, record_class=record_class)
        finally:
            self.waiting_since = None

    async def fetchval(self, query: str, *args: Any, column: int = 0, timeout: float | None = None) -> Any:
        self._begin()
        try:
            return await super().fetchval(query, *args, column=column, timeout=timeout)
        finally:
            self.waiting_since = None

    async def fetchrow(
        self, query: str, *args: Any, timeout: float | None = None, record_class: Any = None
    ) -> Any:
        self._begin()
        try:
            return await super().fetchrow(query, *args, timeout=timeout, record_class=record_class)
        finally:
            self.waiting_since = None

    def _begin(self) -> None:
        self.waiting_since = self.asked_at = asyncio.get_running_loop().time()


def _count(session: Session, message: Any) -> None:
    if getattr(message, "severity_en", None) == "WARNING":
        session.warnings += 1


_PROOF = """
select case when current_setting('synchronous_standby_names') <> '' and current_setting('transaction_read_only') = 'off'
    then pg_logical_emit_message(true, 'skerry', '') end
"""
"""A commit of nothing, which waits for a standby like any other: what was committed before it is there by then."""


async def proven(session: Session) -> None:
    """Return when everything that can be read here is where commits have to be. A commit whose waiting was cut short
    (by an administrator, or by the end of the server) is seen by everybody, and may be on no standby. Raises
    Disconnected, or what the driver raises."""
    with committing(session):
        await session.execute(_PROOF)


@contextmanager
def committing(session: Session) -> Iterator[None]:
    """Around a commit, which is not cancelled. Raises Disconnected when the server warned: its standby may not have
    what it committed, and the commands are found there only once it has."""
    before, session.is_committing = session.warnings, True
    try:
        yield  # an error inside says more than a warning
    finally:
        session.is_committing = False
    if session.warnings != before:
        raise Disconnected("PostgreSQL committed with a warning: a standby has not confirmed it")
