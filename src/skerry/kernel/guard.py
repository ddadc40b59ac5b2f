"""The supervisor above the roles': whatever reaches it is the failed state, and only in that state does it act."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from skerry.supervision.failure import Failure
from skerry.supervision.supervisor import Supervisor


class Guard(Supervisor):
    """Gives failures to `failing` instead of handling them; `mend` applies its rules to one."""

    def __init__(self, failing: Callable[[Failure], None], name: str, **settings: Any) -> None:
        super().__init__(name, **settings)
        self._failing = failing

    def accept(self, failure: Failure) -> None:
        self._failing(failure)

    async def mend(self, failure: Failure) -> None:
        """Do what the rules say; returns when that is done, failures that come of it included."""
        super().accept(failure)
        await self.settled()
