"""What takes too long on a connection. Pure: it is told for how long, and ends nothing itself.

Every connection is looked at about once a second, so no request pays for a timer of its own.
"""

from __future__ import annotations

from enum import Enum

from skerry.http.problems import Problem
from skerry.server.intake import BODY, HEAD, LINGERING, Intake
from skerry.server.settings import ServerSettings


class End(Enum):
    """How a connection ends that gets no answer: after what was written, or at once."""

    CLOSE = "close"
    CUT = "cut"


def overdue(
    intake: Intake, settings: ServerSettings, elapsed: float, *, draining: bool, answering: bool
) -> Problem | End | None:
    """What becomes of a client that has been in the present phase of a request for `elapsed` seconds: the answer it
    gets before the connection ends, how it ends without one, or None while there is time.

    `answering`: an answer runs or waits, so the client owes nothing but the rest of a body.
    """
    impatient = draining and elapsed >= settings.patience_seconds
    if intake.phase == LINGERING:
        return End.CUT if impatient or (not draining and elapsed >= settings.linger_seconds) else None
    if intake.phase == BODY:
        if impatient:
            return _ending()
        limit = settings.body_seconds + intake.size / settings.body_bytes_per_second
        return Problem(408, "the body took too long") if elapsed >= limit else None
    if answering:
        return None
    if intake.phase == HEAD:
        if impatient:
            return _ending()
        return Problem(408, "the head took too long") if elapsed >= settings.head_seconds else None
    limit = settings.keep_alive_seconds if intake.requests else settings.head_seconds
    return End.CLOSE if elapsed >= limit else None


def stalled(settings: ServerSettings, elapsed: float, *, draining: bool) -> bool:
    """Whether a client that took nothing of its answer for `elapsed` seconds is given up."""
    return elapsed >= (settings.patience_seconds if draining else settings.stall_seconds)


def _ending() -> Problem:
    return Problem(503, "this server is ending", headers={"Retry-After": "1"})
