"""The access log: one line for one answer, whichever side gave it."""

from __future__ import annotations

import logging
from typing import Any

access = logging.getLogger("skerry.access")


def log_access(scope: Any, status: int, seconds: float) -> None:
    """One line for one answer; the fields are in `extra` for JSON logs."""
    path = scope["raw_path"].decode("ascii")
    client = scope.get("client")
    given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
    access.info(
        "%s %s %d %.1f ms",
        scope["method"],
        path,
        status,
        seconds * 1000,
        extra={
            "method": scope["method"],
            "path": path,
            "status": status,
            "seconds": seconds,
            "client": client[0] if client else None,
            "request_id": given.decode("latin-1") or None,
        },
    )
