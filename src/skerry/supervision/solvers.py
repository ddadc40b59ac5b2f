"""What can be done about a failure. A solver is a callable, sync or async: `solver(failure, hands)`.

    supervisor.rule(ConnectionError, log, retry(attempts=5))
    supervisor.rule(Exception, log, restart)

`hands` is the supervisor, seen as what a solver may do with it (`Hands`); `failure.component` says with whom. A
solver that returns has solved its part and the next of the chain follows; one that raises, or takes longer than
the supervisor's deadline, ends the chain, and the failure goes to the parent.

Not here: choosing between them (policy), running them (supervisor).
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from skerry.clock import Backoff, Clock
from skerry.supervision.failure import Failure

logger = logging.getLogger("skerry.supervision")


class Hands(Protocol):
    """The operations that a solver may use. `child` is the name of a supervised child."""

    @property
    def clock(self) -> Clock:
        """The time that waits of a solver go by."""
        ...

    def has(self, child: str) -> bool:
        """Whether there is a supervised child of that name."""
        ...

    async def restart(self, failure: Failure) -> None:
        """Stop and start what the strategy says, after the back-off; raises IntensityExceeded."""
        ...

    async def recreate(self, failure: Failure) -> None:
        """Like restart, with a new object from the child's `make`."""
        ...

    async def start(self, child: str) -> None:
        """Start it, whatever its budget; not when it runs."""
        ...

    async def stop_child(self, child: str) -> None:
        """Stop it, and keep it."""
        ...

    async def destroy(self, child: str) -> None:
        """Stop it and forget it."""
        ...

    async def resume(self, failure: Failure) -> None:
        """Resume held work: the child's `resume`, then the runtime's."""
        ...

    def escalate(self, failure: Failure) -> None:
        """Hand it to the parent; a root has its last resort."""
        ...


Solver = Callable[[Failure, Hands], Awaitable[object] | object]


def do_nothing(failure: Failure, hands: Hands) -> None:
    """Let it be: the failure is counted and told, nothing more."""


def log(failure: Failure, hands: Hands) -> None:
    """An error in the log, with the whole traceback."""
    logger.error("%s\n%s", failure, failure.traceback)


async def restart(failure: Failure, hands: Hands) -> None:
    """Start the child that failed again, with those its supervisor's strategy adds."""
    await hands.restart(failure)


async def recreate(failure: Failure, hands: Hands) -> None:
    """Make the child anew and start it."""
    await hands.recreate(failure)


async def start(failure: Failure, hands: Hands) -> None:
    """Start the child, without stopping it first and without counting."""
    await hands.start(failure.component)


async def stop(failure: Failure, hands: Hands) -> None:
    """Stop the child; it stays known and can be started again."""
    await hands.stop_child(failure.component)


async def destroy(failure: Failure, hands: Hands) -> None:
    """Stop the child for good."""
    await hands.destroy(failure.component)


def escalate(failure: Failure, hands: Hands) -> None:
    """Let the parent decide."""
    hands.escalate(failure)


async def resume(failure: Failure, hands: Hands) -> None:
    """Let what was held for this failure go on."""
    await hands.resume(failure)


async def mend(failure: Failure, hands: Hands) -> None:
    """The default: restart supervised children. For anything else (a listener, a timer) do nothing: the next call may
    succeed."""
    if hands.has(failure.component):
        await hands.restart(failure)


def retry(attempts: int = 5, *, backoff: Callable[[], Backoff] = Backoff) -> Solver:
    """Repeat the failed operation up to `attempts` times, with growing pauses and jitter before each.

    The operation is `failure.operation`; for a child without one, starting it. When the last attempt fails too, its
    error goes to the parent.
    """
    if attempts < 1:
        raise ValueError(f"one attempt or more, not {attempts}")

    async def retrying(failure: Failure, hands: Hands) -> None:
        pauses = backoff()
        for attempt in range(1, attempts + 1):
            await hands.clock.sleep(pauses.next())
            try:
                if failure.operation is None:
                    await hands.start(failure.component)
                else:
                    result = failure.operation()
                    if inspect.isawaitable(result):
                        await result
            except Exception as error:
                logger.warning("%s: attempt %d of %d failed: %s", failure.component, attempt, attempts, error)
                if attempt == attempts:
                    raise
            else:
                return

    return retrying
