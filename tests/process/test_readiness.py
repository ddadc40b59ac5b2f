"""All processes of a runner together: a deployment waits for each, traffic needs one server, writes need its word."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from skerry.http.health import Purpose
from skerry.process.readiness import report_of

TROUBLE = {"": [], "traffic": [], "writes": ["commands: the queue is away"]}
STOPPED = {"": ["memory: it stopped"], "traffic": [], "writes": []}


def slot(name: str, state: str = "ready", found: dict[str, list[str]] | None = None, **more: Any) -> Any:
    child = (
        None
        if state in ("stopped", "waiting to restart")
        else SimpleNamespace(state=state, found=found or {}, reasons=[])
    )
    role = name.partition("-")[0]
    return SimpleNamespace(
        name=name,
        state=state,
        child=child,
        is_stopped=state == "stopped",
        spec=SimpleNamespace(role=role),
        **more,
    )


BALANCER, CONSUMER = slot("balancer"), slot("consumer-1")


@pytest.mark.parametrize(
    ("slots", "everything", "traffic", "writes"),
    [
        ([slot("server-1"), slot("server-2")], True, True, True),
        ([slot("server-1"), slot("server-2", "waiting to restart")], False, True, True),
        ([slot("server-1", "starting"), slot("server-2", "stopping")], False, False, False),
        ([slot("server-1", "not ready", STOPPED), slot("server-2", "not ready", STOPPED)], False, True, True),
        ([slot("server-1", found=TROUBLE), slot("server-2")], True, True, False),
        ([slot("server-1", "stopped"), slot("server-2")], True, True, True),
        ([slot("server-1", "not ready", TROUBLE), slot("server-2")], False, True, False),
    ],
)
def test_three_questions(slots: list[Any], everything: bool, traffic: bool, writes: bool) -> None:
    """As the processes find of themselves and the runner knows of them."""
    answers = [report_of([BALANCER, *slots, CONSUMER], lambda slot: False, purpose)[0] for purpose in Purpose]
    assert answers == [everything, traffic, writes]


def test_without_a_balancer_nothing_comes_in() -> None:
    """And a consumer that stands by for another one is as it should be."""
    away = [slot("balancer", "waiting to restart"), slot("server-1"), slot("consumer-1", "standby")]
    assert not report_of(away, lambda slot: False, Purpose.TRAFFIC)[0]
    well = [BALANCER, slot("server-1"), slot("consumer-1", "standby")]
    assert not report_of(well, lambda slot: False, Purpose.EVERYTHING)[0]
    ready, told = report_of(well, lambda slot: slot.state == "standby", Purpose.EVERYTHING)
    assert (ready, told["status"]) == (True, "ready")


def test_writes_need_a_consumer_that_can_decide() -> None:
    """With a full disk, say, none can; one that is just being restarted says nothing."""
    full = {"": [], "traffic": [], "writes": ["deciding: the disk is full"]}
    one, other = slot("consumer-1", found=full), slot("consumer-2")
    for consumers, writes in (([one], False), ([one, other], True), ([slot("consumer-1", "starting")], True)):
        slots = [BALANCER, slot("server-1"), *consumers]
        assert report_of(slots, lambda slot: False, Purpose.WRITES)[0] is writes


def test_what_is_wrong_is_named() -> None:
    """Each process with its reason, and what is wrong with the whole."""
    slots = [BALANCER, slot("server-1", "not ready", STOPPED), slot("consumer-1", "stopped")]
    ready, told = report_of(slots, lambda slot: False, Purpose.EVERYTHING, "the replacement stopped halfway")
    assert not ready
    assert told == {
        "status": "not ready",
        "checks": {
            "balancer": {"ready": True},
            "server-1": {"ready": False, "reason": "memory: it stopped"},
            "consumer-1": {"ready": True, "reason": "stopped by order"},
            "up": {"ready": False, "reason": "the replacement stopped halfway"},
        },
    }
