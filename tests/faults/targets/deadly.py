"""livekv with values that kill whoever decides them: "deadly" for ever, "slow" holds the batch up."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

from livekv.app import app
from livekv.messages import PutValue
from skerry import Unit


@app.middleware
async def trap(command: Any, unit: Unit, proceed: Any) -> Any:
    """As a segmentation fault in a library would: nothing is said."""
    if command.value.startswith("deadly"):
        os.kill(os.getpid(), signal.SIGKILL)
    if command.value.startswith("slow"):
        await asyncio.sleep(0.2)
    return await proceed(command, unit)


trap.only = (PutValue,)

__all__ = ["app"]
