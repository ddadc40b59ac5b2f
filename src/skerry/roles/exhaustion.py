"""Too many stuck threads in a process: what is done about it."""

from __future__ import annotations

from collections.abc import Callable

STUCK = "too many threads of a hosted application are stuck"
FURTHER_STUCK = 8
"""Threads that may get stuck besides while a successor gets ready."""


class Exhaustion:
    """What is done when too many threads of a process are stuck: where a runner is there (`supervised`) it hears of it
    and replaces the process, its successor first, else `end` ends it. It ends as well when no successor comes and many
    more get stuck. Called for each thread that is too many."""

    def __init__(
        self, end: Callable[[int, str], None] = lambda code, message: None, *, supervised: bool = False
    ) -> None:
        self._end, self._allowed = end, FURTHER_STUCK if supervised else 0
        self.stuck = 0
        """Threads that were too many."""

    def __call__(self) -> None:
        self.stuck += 1
        if self.stuck > self._allowed:
            self._end(1, STUCK)

    def gauges(self) -> dict[str, float | str]:
        """What the runner acts on."""
        return {"exhausted": STUCK} if self.stuck else {}
