"""What takes too long on a connection. Pure: it is told for how long, and ends nothing itself.

Every connection is looked at about once a second, so no request pays for a timer of its own.
"""

from __future__ import annotations

from enum import Enum
from typing import Protocol

from skerry.http.problems import Problem
from skerry.server.settings import ServerSettings

IDLE, HEAD, BODY, LINGERING = range(4)
"""Where a connection stands in what its client says: between requests, in a head, in a body, after our last answer
while the client still sends."""


class Progress(Protocol):
    """How far a client has come. `size`: bytes of the present body; `requests`: how many were complete."""

    @property
    def phase(self) -> int: ...

    @property
    def size(self) -> int: ...

    @property
    def requests(self) -> int: ...


class End(Enum):
    """How a connection ends that gets no answer: after what was written, or at once."""

    CLOSE = "close"
    CUT = "cut"


def overdue(
    progress: Progress, settings: ServerSettings, elapsed: float, *, draining: bool, answering: bool
) -> Problem | End | None:
    """What becomes of a client that has been in the present phase of a request for `elapsed` seconds: the answer it
    gets before the connection ends, how it ends without one, or None while there is time.

    `answering`: an answer runs or waits, so the client owes nothing but the rest of a body.
    """
    impatient = draining and elapsed >= settings.patience_seconds
    phase = progress.phase
    if phase == LINGERING:
        return End.CUT if impatient or (not draining and elapsed >= settings.linger_seconds) else None
    if phase == BODY:
        if impatient:
            return _ending()
        limit = settings.body_seconds + progress.size / settings.body_bytes_per_second
        return Problem(408, "the body took too long") if elapsed >= limit else None
    if answering:
        return None
    if phase == HEAD:
        if impatient:
            return _ending()
        return Problem(408, "the head took too long") if elapsed >= settings.head_seconds else None
    limit = settings.keep_alive_seconds if progress.requests else settings.head_seconds
    return End.CLOSE if elapsed >= limit else None


def stalled(settings: ServerSettings, elapsed: float, *, draining: bool) -> bool:
    """Whether a client that took nothing of its answer for `elapsed` seconds is given up."""
    return elapsed >= (settings.patience_seconds if draining else settings.stall_seconds)


def unreachable(settings: ServerSettings, elapsed: float, *, draining: bool) -> bool:
    """Whether a client that has said for `elapsed` seconds that it says no more gets no answer any more."""
    return elapsed >= (settings.patience_seconds if draining else settings.gone_seconds)


def _ending() -> Problem:
    return Problem(503, "this server is ending", headers={"Retry-After": "1"})
