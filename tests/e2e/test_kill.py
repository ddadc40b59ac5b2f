"""Every child of `skerry up` is killed with -9 again and again while clients write: what was answered 200 stays.

`make soak` (SKERRY_SOAK=1) kills for a minute, as the promise says; SKERRY_KILL_SECONDS is another time. The seed is
fixed (SKERRY_KILL_SEED) and printed.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from trafficworld import Traffic, alive_in, embedded_journal  # type: ignore[import-not-found]
from upworld import Up, up  # type: ignore[import-not-found]

SEED = int(os.environ.get("SKERRY_KILL_SEED", "20261120"))
SOAK = os.environ.get("SKERRY_SOAK") == "1"
"""Whether the seconds of the promise are asked for: not on any machine, however busy."""
SECONDS = float(os.environ.get("SKERRY_KILL_SECONDS", "60" if SOAK else "8"))
pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="kills and pidfds as on Linux"),
    pytest.mark.timeout(SECONDS * 2 + 600),
]


async def test_nothing_answered_is_lost(tmp_path: Path) -> None:
    """No write answered 200 is missing, each took effect once, the journal verifies, all servers and a resuming
    listener end equal to the database, and service comes back quickly after each kill."""
    # A minute of kills is far more than is taken for a crash loop.
    async with up(tmp_path, "--intensity", "1000/60") as world:
        traffic = Traffic(world, SEED)
        async with traffic.running():
            kills = await kill(world, SECONDS)
        async with embedded_journal(tmp_path) as journal:
            await traffic.verdict(journal)
        history = traffic.history
        silences, excess = late(kills, history.moments)
        print(
            f"seed {SEED}: {len(kills)} kills in {SECONDS:g} s, {len(history.answered)} writes, trouble "
            f"{dict(history.trouble)}, listener connected {traffic.listener.connections} times, longest silence: "
            + ", ".join(f"{role} {seconds:.2f} s" for role, seconds in sorted(silences.items()))
        )
        assert excess < slack() or not SOAK
    assert alive_in(tmp_path) == []


async def kill(world: Up, seconds: float) -> list[tuple[float, str]]:
    """About once a second one child, the next one in a shuffled round, until the time is over."""
    rng = random.Random(SEED)
    kills: list[tuple[float, str]] = []
    end = time.monotonic() + seconds
    names: list[str] = []
    while time.monotonic() < end:
        if not names:
            names = [p.name for p in world.processes()]
            rng.shuffle(names)
        name = names.pop()
        [victim] = [p for p in world.processes() if p.name == name]
        if victim.pid:
            os.kill(victim.pid, signal.SIGKILL)
            kills.append((time.monotonic(), name))
        await asyncio.sleep(rng.uniform(0.8, 1.2))
    return kills


ALLOWED = {"server": 1.0, "balancer": 2.0, "consumer": 2.0}
"""Seconds from a kill until writes are answered again."""


def late(kills: list[tuple[float, str]], moments: list[float]) -> tuple[dict[str, float], float]:
    """By role the longest silence that a kill began, and how much longer than promised any silence was.

    A silence in which several were killed may last as long as the last of them allows.
    """
    silences: dict[str, float] = {}
    excess = -max(ALLOWED.values())
    for begin, end in pairwise(moments):
        inside = [(at, name.partition("-")[0]) for at, name in kills if begin - 0.05 <= at < end]
        if inside:
            first, role = inside[0]
            silences[role] = max(silences.get(role, 0.0), end - max(first, begin))
            # Somebody who was killed shortly before may still be on the way back.
            recent = [(at, name.partition("-")[0]) for at, name in kills if begin - 2.0 <= at < end]
            excess = max(excess, end - max(at + ALLOWED[role] for at, role in recent))
    return silences, excess


def slack() -> float:
    """Seconds more than promised that a test machine may take: it may have less to give than a server has."""
    return 0.5 * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
