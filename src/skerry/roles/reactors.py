"""The reactors of a process that decides: how each is run, and what the log says of it.

Not here: when and how often a reactor is called (`skerry.journal.reactor`).
"""

from __future__ import annotations

import logging

from skerry.emitter import EventEmitter
from skerry.journal.journal import JournalWriter, Record
from skerry.journal.reactor import ReactorRun
from skerry.kernel.kernel import Kernel
from skerry.position import Position

logger = logging.getLogger("skerry.consumer")


def reactor_runs(
    kernel: Kernel, writer: JournalWriter, owner: str, shared: bool, told: EventEmitter
) -> list[ReactorRun]:
    """One for each declared reactor, to be run as tasks. `told`: hears what all of them tell."""
    runs: list[ReactorRun] = []
    for reactor in kernel.declaration.reactors:
        react = kernel.reaction(reactor)
        emitter = EventEmitter()
        emitter.on("retrying", _log_retrying)
        emitter.on("gave_up", _log_given_up)
        emitter.on("lost", _log_lost)
        emitter.on("replaying", _log_replaying)
        emitter.forward_events(told)
        runs.append(
            ReactorRun(
                reactor, react, writer, kernel.transport, kernel.serializer, owner,
                shared=shared, clock=kernel.clock, emitter=emitter,
            )
        )  # fmt: skip
    return runs


def state_of(run: ReactorRun) -> str:
    """For `skerry ps`."""
    return f"{run.reactor.name}: {run.behind} behind, {len(run.parked)} keys parked"


def _log_retrying(name: str, record: Record, error: Exception, pause: float) -> None:
    logger.warning("reactor %s: event %d again in %.1f s: %s", name, record.offset, pause, error)


def _log_lost(name: str, position: Position, number: int) -> None:
    logger.error(
        "reactor %s was at %s; the last %d events that it had seen are not in the journal any more. It goes on after "
        "what is left, and sees what took their place", name, position, number,
    )  # fmt: skip


def _log_replaying(name: str, position: Position) -> None:
    logger.info("reactor %s goes back to %s, as an operator wants", name, position)


def _log_given_up(name: str, record: Record, error: Exception) -> None:
    logger.error(
        "reactor %s gave up on event %d, it is a dead letter now", name, record.offset, exc_info=error
    )
