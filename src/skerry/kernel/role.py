"""The contract of a role: something that a process does, that can be started, held and stopped."""

from __future__ import annotations

from typing import Protocol


class Role(Protocol):
    """A role of a process. All calls come from the runtime, one at a time."""

    @property
    def name(self) -> str: ...

    async def start(self) -> None:
        """Return when it works. Raises what keeps it from working."""
        ...

    async def hold(self) -> None:
        """The process failed and is being mended: take nothing new (no connection, no command); keep what is there."""
        ...

    async def resume(self) -> None:
        """The reverse of `hold`."""
        ...

    async def stop(self) -> None:
        """Finish what is in progress within the drain time, and let go of everything. Never raises for being late."""
        ...
