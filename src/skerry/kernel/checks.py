"""When is a process ready: its memory follows the journal, and its runtime does not mend anything.

A broker or database that is away does not make a server unready: it answers reads from memory and says how old
that is, and writes say 503 by themselves. Only who asks for writes is told that it is not ready for them. A projection
that has stopped is not ready, but its process goes on getting connections: the others of its kind stopped at the same
event.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from skerry.http.health import READY, Finding, Health, Purpose
from skerry.journal.projector import Phase
from skerry.kernel.kernel import Kernel

FRESH_SECONDS = 3.0


def reading_checks(kernel: Kernel, reasons: Callable[[], tuple[str, ...]]) -> Health:
    """The checks of a process that reads along. `reasons`: why its runtime is not ready."""
    health = Health()
    health.add("memory", lambda: _memory(kernel))
    health.add("events", lambda: _events(kernel))
    health.add("reactors", lambda: _reactors(kernel))
    health.add("commands", lambda: _commands(kernel))
    health.add("intake", lambda: _intake(kernel))
    health.add("runtime", lambda: Finding(not (found := reasons()), "; ".join(found)))
    return health


def findings(health: Health) -> dict[str, list[str]]:
    """Why a process is not ready, by what readiness is asked for."""
    return {purpose.value: health.reasons(purpose) for purpose in Purpose}


def process_checks(
    kernel: Kernel,
    reasons: Callable[[], tuple[str, ...]],
    *,
    reads: bool,
    troubles: Callable[[], Iterable[str]] | None = None,
) -> Health:
    """The checks of any process. `reads`: it reads along; `troubles`, of one that decides: what keeps it from that just
    now. Commands wait meanwhile, which is the question of writes."""
    health = reading_checks(kernel, reasons) if reads else Health()
    if troubles is not None:
        health.add("deciding", lambda: _deciding(kernel, list(troubles())))
        health.add("reactors", lambda: _reactors(kernel))
        health.add("runtime", lambda: Finding(not (found := reasons()), "; ".join(found)))
    return health


def _deciding(kernel: Kernel, troubles: list[str]) -> Finding:
    if not kernel.transport.connected:
        troubles.insert(0, "the command queue is away")
    return Finding(True, "; ".join(troubles), writes=False) if troubles else READY


def _memory(kernel: Kernel) -> Finding:
    projector = kernel.projector
    if projector.stopped:
        told = "; ".join(f"{name} stopped at {why}" for name, why in projector.stopped.items())
        return Finding(False, told, projector.behind, traffic=True, writes=True)
    stale = projector.stale_seconds
    if projector.phase is not Phase.LIVE:
        if projector.position.epoch:
            age = "long" if stale == float("inf") else f"{stale:.0f} s"
            return Finding(
                True, f"from the local copy, not compared with the journal for {age}", projector.behind
            )
        return Finding(False, f"memory is {projector.phase.value}", projector.behind)
    if stale > FRESH_SECONDS:
        return Finding(True, f"not compared with the journal for {stale:.0f} s", projector.behind)
    return Finding(True, lag=projector.behind)


def _events(kernel: Kernel) -> Finding:
    losses = kernel.losses
    unknown = f"nothing here declares: {', '.join(losses.told())}" if losses.unknown else ""
    if not losses.found:
        return Finding(True, unknown) if unknown else READY
    told = [*map(str, losses.found.values()), unknown]
    return Finding(False, "; ".join(filter(None, told)), traffic=True, writes=True)


def _reactors(kernel: Kernel) -> Finding:
    """What fails outside does not make this process less ready: it is told, and tried again."""
    told = [line for run in kernel.reactors for line in run.told()]
    behind = max((run.behind for run in kernel.reactors if run.at_work), default=None)
    return Finding(True, "; ".join(told), behind)


def _intake(kernel: Kernel) -> Finding:
    trouble = kernel.intake.trouble if kernel.intake is not None else ""
    return Finding(False, trouble, traffic=True, writes=True) if trouble else READY


def _commands(kernel: Kernel) -> Finding:
    trouble = kernel.writable.trouble
    return Finding(True, trouble, writes=False) if trouble else READY
