"""The life of a server under the platform, in order.

Source: TarsCpp `Application::main` and `waitForShutdown`. Reading `--config` comes before it; what each step
does is the business of `process/tars.py`.
"""

from __future__ import annotations

from typing import Protocol


class Living(Protocol):
    """A service's parent process, step by step."""

    def bind_admin(self) -> None:
        """Listen on the admin port. Raises SettingsError when it cannot be had."""
        ...

    def start_processes(self) -> None:
        """Start the processes; each fetches its configuration, initialises, and listens on its adapters. They take
        their time, so they begin before anything else is done."""
        ...

    async def say_activating(self) -> None:
        """Tell the node that the server starts, every 5 s from now on."""
        ...

    async def answer_admin(self) -> None:
        """Answer as AdminObj: from here on the node can end the server."""
        ...

    async def until_serving(self) -> bool:
        """Wait until all adapters are served. False when the processes have ended, or are to end, before."""
        ...

    async def say_serving(self) -> None:
        """Tell the node the version and that every adapter lives, every 10 s from now on; report `restart`."""
        ...

    async def until_the_end(self) -> None:
        """Wait until somebody wants the end, or the processes have ended."""
        ...

    async def say_stopping(self) -> None:
        """Report `stop`; no keep-alives from now on."""
        ...

    async def end_processes(self) -> int:
        """Finish what is under way within the grace. Returns the exit code."""
        ...

    async def close(self) -> None:
        """Close what is left: AdminObj, the thread that reports."""
        ...


async def live(server: Living) -> int:
    """From start to end. Returns the exit code. Raises SettingsError when the admin port cannot be had."""
    try:
        server.bind_admin()
        server.start_processes()
        await server.say_activating()
        await server.answer_admin()
        if await server.until_serving():
            await server.say_serving()
            await server.until_the_end()
        await server.say_stopping()
        return await server.end_processes()
    finally:
        await server.close()
