"""Whether all processes of a runner together are ready, for which purpose, and why not. Pure.

Each child tells what it finds of itself; this puts it together. Traffic goes to any server that works: one is enough;
a deployment goes on only when everything works. Not here: the pages that answer with it (`skerry.kernel.admin`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from skerry.http.health import Purpose
from skerry.process.slot import Slot

SERVES = ("server", "gateway", "host", "tars")
"""Roles that get connections."""


def report_of(
    slots: Sequence[Slot], covered: Callable[[Slot], bool], purpose: Purpose, trouble: str = ""
) -> tuple[bool, dict[str, Any]]:
    """Whether the processes in `slots` are ready for that, and what was found of each. `covered`: whether another
    process does the work of a slot; `trouble`: what is wrong with the whole, if anything."""
    found = {slot.name: _reasons(slot, covered, purpose) for slot in slots}
    checks = {
        name: {"ready": not reasons} | ({"reason": "; ".join(reasons)} if reasons else {})
        for name, reasons in found.items()
    }
    for slot in slots:
        if slot.is_stopped and slot.child is None:
            checks[slot.name]["reason"] = "stopped by order"
    if trouble:
        checks["up"] = {"ready": False, "reason": trouble}
    if purpose is Purpose.EVERYTHING:
        ready = not trouble and not any(found.values())
    else:
        ready = _takes_work(slots, found, covered, purpose)
    return ready, {"status": "ready" if ready else "not ready", "checks": checks}


def _takes_work(
    slots: Sequence[Slot], found: dict[str, list[str]], covered: Callable[[Slot], bool], purpose: Purpose
) -> bool:
    """Of those that get connections at least one can; a write may come to any of them."""
    if any(found[slot.name] for slot in slots if slot.spec.role == "balancer"):
        return False
    open_ones = [
        slot
        for slot in slots
        if slot.spec.role in SERVES and not slot.is_stopped and not _reasons(slot, covered, Purpose.TRAFFIC)
    ]
    if purpose is Purpose.TRAFFIC:
        return bool(open_ones)
    if not open_ones or any(found[slot.name] for slot in open_ones):
        return False
    # Who is just being restarted is no answer; servers tell when it lasts.
    deciding = [slot for slot in slots if slot.spec.role == "consumer" and slot.state == "ready"]
    return not deciding or not all(found[slot.name] for slot in deciding)


def _reasons(slot: Slot, covered: Callable[[Slot], bool], purpose: Purpose) -> list[str]:
    """Why the process is not ready for that; nothing where an operator wants none."""
    child = slot.child
    if slot.is_stopped or covered(slot):
        return []
    if child is None or child.state not in ("ready", "not ready"):
        return [slot.state]
    told = child.found.get(purpose.value)
    if told is None:
        return [] if child.state == "ready" else child.reasons or [child.state]
    if purpose is Purpose.EVERYTHING and child.state == "not ready" and not told:
        return child.reasons or [child.state]
    return told
