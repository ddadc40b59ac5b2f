"""`emit`, `send` and `ask` in Django's transactions, on PostgreSQL."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest


@pytest.mark.service("postgresql")
async def test_django(dsn: str) -> None:
    """Events come with `atomic()` or not at all, savepoints included; commands may wait for the commit; what is asked
    is answered from memory; in a process without an App the settings of Django say where events are left."""
    program = Path(__file__).with_name("djangoshop.py")
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(program), dsn, stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(120):
        told, _ = await process.communicate()
    assert process.returncode == 0
    seen = json.loads(told)
    assert "outside of a transaction" in seen["outside"]
    assert "not committed" in seen["too early"]
    assert seen["first"] == "applied"
    assert seen["paid"] == [1, 4]
    assert seen["refund"] == 10
    assert seen["orders"] == [1]
    assert "follows no journal" in seen["shell"]
    assert sorted(seen["events"]) == [
        "order_paid order-1", "order_paid order-4", "order_paid order-6", "refunded ", "refunded ",
    ]  # fmt: skip
