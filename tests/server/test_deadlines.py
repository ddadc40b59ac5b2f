"""What takes too long, decided without a clock."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from skerry.http.problems import Problem
from skerry.server.deadlines import BODY, HEAD, IDLE, LINGERING, End, overdue, stalled, unreachable
from skerry.server.settings import ServerSettings

SETTINGS = ServerSettings(
    head_seconds=10, body_seconds=20, body_bytes_per_second=1000, keep_alive_seconds=60, stall_seconds=30,
    linger_seconds=2, patience_seconds=1,
)  # fmt: skip


def verdict(
    phase: int,
    elapsed: float,
    size: int = 0,
    requests: int = 1,
    *,
    draining: bool = False,
    answering: bool = False,
) -> Any:
    """What becomes of a client: a status, an end, or None."""
    progress: Any = SimpleNamespace(phase=phase, size=size, requests=requests)
    found = overdue(progress, SETTINGS, elapsed, draining=draining, answering=answering)
    return found.status if isinstance(found, Problem) else found


@pytest.mark.parametrize(
    ("phase", "size", "requests", "limit", "end"),
    [
        (HEAD, 0, 1, 10, 408),
        (IDLE, 0, 1, 60, End.CLOSE),
        (IDLE, 0, 0, 10, End.CLOSE),
        (BODY, 0, 1, 20, 408),
        (BODY, 5000, 1, 25, 408),
        (LINGERING, 0, 1, 2, End.CUT),
    ],
)
def test_every_phase_has_its_limit(phase: int, size: int, requests: int, limit: float, end: object) -> None:
    """A client gets its time and no more; a body gets the more of it the more has arrived."""
    assert verdict(phase, limit - 0.1, size, requests) is None
    assert verdict(phase, limit, size, requests) == end


@pytest.mark.parametrize(("phase", "end"), [(HEAD, 503), (BODY, 503), (LINGERING, End.CUT)])
def test_a_draining_server_is_less_patient(phase: int, end: object) -> None:
    """Who keeps a server from ending with half a request gets a second, and is told to come again."""
    assert verdict(phase, 0.9, draining=True) is None
    assert verdict(phase, 1.0, draining=True) == end


def test_who_waits_for_an_answer_owes_nothing_but_its_body() -> None:
    """Slow answers are not the client's fault; a body that is still due is."""
    assert verdict(IDLE, 1000, answering=True) is None
    assert verdict(HEAD, 1000, answering=True) is None
    assert verdict(BODY, 1000, answering=True) == 408


def test_a_client_that_takes_nothing_of_its_answer() -> None:
    """It is given up after a while, sooner when the server ends."""
    assert not stalled(SETTINGS, 29.9, draining=False)
    assert stalled(SETTINGS, 30, draining=False)
    assert not stalled(SETTINGS, 0.9, draining=True)
    assert stalled(SETTINGS, 1, draining=True)


def test_a_client_that_says_no_more_gets_its_answer_for_a_while() -> None:
    """Half a minute, or as long as a server that ends has patience."""
    assert not unreachable(SETTINGS, 29.9, draining=False)
    assert unreachable(SETTINGS, 30, draining=False)
    assert unreachable(SETTINGS, 1, draining=True)
