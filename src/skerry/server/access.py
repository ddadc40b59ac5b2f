"""The access log: one line for one answer, whichever side gave it."""

from __future__ import annotations

import logging
from typing import Any

from skerry.exchange import Fields, Head
from skerry.http.identity import Identity

access = logging.getLogger("skerry.access")


def log_access(scope: Any, status: int, seconds: float, who: Identity | None) -> None:
    """One line for one answer; the fields are in `extra` for JSON logs."""
    path = scope["raw_path"].decode("ascii")
    _log(scope["method"], path, scope.get("client"), scope["headers"], status, seconds, who)


def log_answer(head: Head, status: int, seconds: float) -> None:
    """The same for an answer that was given through an exchange."""
    path = head.target.partition(b"?")[0].decode("latin-1")
    _log(head.method, path, head.client, head.fields, status, seconds)


def _log(
    method: str, path: str, client: tuple[str, int] | None, fields: Fields, status: int, seconds: float,
    who: Identity | None = None,
) -> None:  # fmt: skip
    given = next((value for name, value in fields if name == b"x-request-id"), b"")
    access.info(
        "%s %s %d %.1f ms",
        method,
        path,
        status,
        seconds * 1000,
        extra={
            "method": method,
            "path": path,
            "status": status,
            "seconds": seconds,
            "client": client[0] if client else None,
            "who": who.subject if who is not None else None,
            "request_id": given.decode("latin-1") or None,
        },
    )
