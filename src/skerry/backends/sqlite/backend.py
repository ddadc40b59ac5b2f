"""`sqlite:`: a journal in a file that one process owns."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

from skerry.bus.backend import Access, Backend, Finding, JournalSide, Look, OpenableJournal, Place
from skerry.errors import SettingsError


def sqlite_path(url: str) -> Path:
    """The file of `sqlite:///PATH` (relative) or `sqlite:////PATH` (absolute). Raises SettingsError."""
    if not url.startswith("sqlite:///") or len(url) <= len("sqlite:///"):
        raise SettingsError("journal", f"{url!r} is not sqlite:///PATH")
    return Path(url.removeprefix("sqlite:///"))


def _check(url: str) -> None:
    sqlite_path(url)


def _journal(place: Place, access: Access, required: bool) -> OpenableJournal:
    from skerry.backends.sqlite.journal import SqliteJournal
    from skerry.backends.sqlite.settings import SqliteSettings

    return SqliteJournal(
        str(sqlite_path(place.journal_url)),
        place.namespace,
        settings=place.settings.of(SqliteSettings),
        read_only=access is Access.LOOKS,
    )


def _owner(file: Path) -> str:
    from skerry.backends.sqlite.ownership import owner_of

    return owner_of(str(file))


def _doctor(place: Place, look: Look | None) -> AsyncIterator[Finding]:
    from skerry.backends.sqlite.doctor import doctor

    return doctor(sqlite_path(place.journal_url), lambda: _journal(place, Access.LOOKS, True), look)


BACKEND = Backend(
    "sqlite",
    # It is always reachable by others: more servers, `skerry journal`, `skerry dead`.
    JournalSide(
        _journal, default_transport="local:", file=sqlite_path, owner=_owner, check=_check, doctor=_doctor
    ),
)
