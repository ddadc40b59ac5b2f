"""What errors of asyncpg and PostgreSQL mean here, told once.

Away, shutting down, full, read-only after a failover, or too slow: `Disconnected`, the same again may work.
Deadlocks and lost races: `Conflict`. Damage: `Corrupt`. Anything else is a refusal: `JournalError`.
"""

from __future__ import annotations

import asyncpg

from skerry.errors import Conflict, Corrupt, Disconnected, JournalError, SettingsError, SkerryError

Foreign = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)
"""What the driver raises."""

_AWAY = {
    "25006": "it is read-only (a standby?)",
    "25P03": "a transaction was idle for too long",
    "3D000": "there is no such database",
    "42P01": "the journal is not there yet: prepare it (start a consumer, or skerry infra create)",
    "55P03": "a lock was not to be had in time",
    "57014": "a statement took too long",
}
_AWAY_CLASSES = {
    "08": "the connection was lost",
    "28": "it does not let us in",
    "53": "it has run out of something (disk, memory, connections)",
    "57": "it is shutting down or starting",
    "58": "its system failed",
}


def translated(error: BaseException) -> SkerryError:
    """Ours for theirs; raise it `from` theirs."""
    state = getattr(error, "sqlstate", None) or ""
    if isinstance(error, SkerryError):
        return error
    if state in ("40001", "40P01"):
        return Conflict(f"PostgreSQL: {error}")
    if state in ("XX001", "XX002"):
        return Corrupt(f"PostgreSQL reports damage: {error}")
    meaning = _AWAY.get(state) or _AWAY_CLASSES.get(state[:2])
    if meaning:
        return Disconnected(f"PostgreSQL: {meaning} ({error})")
    if isinstance(error, asyncpg.InvalidCachedStatementError):
        return Disconnected(f"PostgreSQL: its tables changed meanwhile ({error})")
    if isinstance(error, asyncpg.PostgresError):
        return JournalError(f"PostgreSQL: {error}")
    if isinstance(error, TimeoutError):
        return Disconnected("PostgreSQL did not answer in time")
    if isinstance(error, asyncpg.InterfaceError) and not _is_lost(error):
        return JournalError(f"PostgreSQL: {error}")
    return Disconnected(f"PostgreSQL cannot be reached ({str(error) or type(error).__name__})")


def _is_lost(error: asyncpg.InterfaceError) -> bool:
    """asyncpg says several things about a dead connection by its general error."""
    return "closed" in str(error) or "terminat" in str(error) or "another operation" in str(error)


def refuses_us(error: BaseException) -> SettingsError | None:
    """A mistake in the DSN that waiting will not mend, found when opening."""
    state = getattr(error, "sqlstate", None) or ""
    if (
        state[:2] == "28"
        or state == "3D000"
        or isinstance(error, (asyncpg.ClientConfigurationError, ValueError))
    ):
        return SettingsError("SKERRY_JOURNAL", f"PostgreSQL refuses it: {error}")
    return None
