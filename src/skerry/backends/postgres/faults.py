"""What errors of asyncpg and PostgreSQL mean here, told once.

Away, shutting down, full, read-only after a failover, or too slow: `Disconnected`, the same again may work.
Deadlocks and lost races: `Conflict`. Damage: `Corrupt`. Anything else is a refusal: `JournalError`.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence

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


_OVER = ("25006", "25P03", "57P01", "57P02", "57P03", "57P05")
"""After these the session is of no use, though the connection may be open: read-only, shutting down."""
_MISTAKES = ("22023", "3D000", "42501", "42602", "42704", "55P02")
"""What a server says to a database or a setting of the URL that will never do."""
_UNSUPPORTED = "unsupported startup parameter"
"""PgBouncer's, with the state of a lost connection."""


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


def is_over(error: BaseException) -> bool:
    """Whether the connection on which this was met is not to be used again. A server that became read-only keeps its
    connections, and everything on them fails from then on."""
    if isinstance(error, asyncpg.InterfaceError):
        return _is_lost(error)
    if not isinstance(error, asyncpg.PostgresError):
        return isinstance(error, Foreign)
    state = error.sqlstate or ""
    return state in _OVER or state[:2] in ("08", "58", "XX")


def is_mistake(error: BaseException) -> bool:
    """Whether a connection failed for something that waiting will not mend: a wrong password, a TLS setting that this
    server does not go with, a parameter that it does not know."""
    state = getattr(error, "sqlstate", None) or ""
    if isinstance(error, asyncpg.PostgresError):
        return state[:2] == "28" or state in _MISTAKES or _UNSUPPORTED in str(error)
    if isinstance(error, ConnectionError):
        return "rejected SSL upgrade" in str(
            error
        )  # asyncpg's words: the server speaks no TLS, and it is demanded
    return isinstance(error, (asyncpg.ClientConfigurationError, ValueError, ssl.SSLCertVerificationError))


def refusal(errors: Sequence[tuple[str, BaseException]]) -> SettingsError | None:
    """A mistake in the URL, found when opening: every host that is named refuses, none is merely away."""
    if not errors or not all(isinstance(error, SettingsError) or is_mistake(error) for _, error in errors):
        return None
    where, error = errors[0]
    if isinstance(error, SettingsError):
        return error
    hint = ""
    if isinstance(error, ConnectionError):
        hint = ": the server speaks no TLS; switch it on there, or leave sslmode out"
    elif _UNSUPPORTED in str(error):
        hint = ": a pooler takes no `options`; name the settings one by one, ?search_path=app"
    return SettingsError("SKERRY_JOURNAL", f"PostgreSQL at {where} refuses it: {error}{hint}")
