"""A server that has used up what it may is replaced, its successor first; only the hard limit ends one at once."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from skerry.errors import SettingsError
from skerry.hosting.settings import HostSettings
from skerry.kernel.settings import Settings, byte_count
from skerry.process import recycling
from skerry.process.child import Spec
from skerry.process.recycling import End, Limits, Recycler, Replace, Use, decide, limits_of_host

sys.path.insert(0, str(Path(__file__).parent))
from runnerworld import PROGRAM, World, gone, running  # type: ignore[import-not-found]

MIB = 1024 * 1024


@pytest.mark.parametrize(
    ("limits", "use", "verdict"),
    [
        (Limits(), Use(10**9, 10**12, 1e9, 0.5), None),
        (Limits(requests=1000), Use(1049, 0, 0, 0.5), None),
        (Limits(requests=1000), Use(1050, 0, 0, 0.5), Replace("1050 requests (max_requests)")),
        (Limits(lifetime_seconds=100), Use(0, 0, 109, 1.0), None),
        (Limits(lifetime_seconds=100), Use(0, 0, 111, 1.0), Replace("1m51s old (max_lifetime)")),
        (Limits(rss_soft=50 * MIB), Use(0, 50 * MIB, 0, 0.5), None),
        (
            Limits(rss_soft=50 * MIB),
            Use(0, 51 * MIB, 0, 0.5),
            Replace("51 MiB of memory, more than 50 MiB (max_rss_soft)"),
        ),
        (
            Limits(rss_soft=50 * MIB, rss_hard=80 * MIB),
            Use(0, 90 * MIB, 0, 0.5),
            End("90 MiB of memory, more than 80 MiB (max_rss_hard)"),
        ),
        (Limits(), Use(0, 0, 1, 0.5, "threads are stuck"), Replace("threads are stuck")),
        (
            limits_of_host(Settings(max_requests=10, sections=(HostSettings(max_requests=1000),))),
            Use(1050, 0, 0, 0.5),
            Replace("1050 requests (host.max_requests)"),
        ),
    ],
)
def test_what_is_done_with_a_process(limits: Limits, use: Use, verdict: Replace | End | None) -> None:
    """Jitter makes limits longer, never shorter; the hard limit comes first."""
    assert decide(limits, use) == verdict


def spec(name: str, kind: str = "ready") -> Spec:
    return Spec(name, name.partition("-")[0], [sys.executable, str(PROGRAM), kind])


async def recycled(world: World, rss: Callable[[int], int], limits: Limits, done: Callable[[], bool]) -> None:
    """Look at the world's children until that is so."""
    recycler = asyncio.create_task(Recycler(world.runner, limits, rss).run())
    try:
        await world.until(done)
    finally:
        recycler.cancel()
        await asyncio.wait({recycler})


async def test_one_at_a_time_and_the_successor_first() -> None:
    """Those that have too much are replaced, what is no server is not; it is said and counted, and is no restart."""
    world = World([spec("server-1"), spec("server-2")], [spec("consumer-1")])
    async with running(world):
        await world.until(lambda: world.count("all_ready") == 1)
        before = {name: world.pid(name) for name in ("server-1", "server-2", "consumer-1")}
        sizes = dict.fromkeys(before.values(), 10)
        limits = Limits(rss_soft=100 * MIB)

        def rss(pid: int) -> int:
            was = sizes.setdefault(pid, 10)
            sizes[pid] = 200 * MIB if pid in before.values() else was
            return was

        await recycled(world, rss, limits, lambda: world.count("recycled") == 2)
        assert gone(before["server-1"])
        assert world.pid("consumer-1") == before["consumer-1"]
        assert gone(before["server-2"])
        slots = {slot.name: slot for slot in world.runner.slots}
        assert [slots[name].restarts for name in before] == [0, 0, 0]
        assert world.count("ended") == 0
        assert 'skerry_process_recycled_total{process="server-1"} 1' in world.runner.metrics()
        assert slots["server-1"].recycled_for == "200 MiB of memory, more than 100 MiB (max_rss_soft)"
    assert "server-1 is replaced: 200 MiB of memory, more than 100 MiB (max_rss_soft)" in world.written()


async def test_beyond_the_hard_limit_it_is_ended_at_once() -> None:
    """And started again, with the reason in the log; its neighbour is left alone."""
    world = World([spec("server-1"), spec("server-2")])
    async with running(world):
        await world.until(lambda: world.count("all_ready") == 1)
        greedy, large = world.pid("server-1"), world.pid("server-2")
        sizes = {greedy: 900 * MIB, large: 400 * MIB}
        await recycled(
            world,
            lambda pid: sizes.get(pid, 10),
            Limits(rss_hard=500 * MIB),
            lambda: world.count("started", "server-1") == 2,
        )
        assert gone(greedy)
        assert world.pid("server-2") == large
    assert (
        "server-1 was ended at once: 900 MiB of memory, more than 500 MiB (max_rss_hard)" in world.written()
    )


async def test_the_hard_limit_holds_while_another_is_replaced() -> None:
    """A replacement may take a minute, a process that grows does not wait for it: its neighbour is ended at once, and
    so is a successor that has too much before it is ready."""
    world = World([spec("server-1"), spec("server-2")])
    async with running(world):
        await world.until(lambda: world.count("all_ready") == 1)
        due, greedy = world.pid("server-1"), world.pid("server-2")
        for slot in world.runner.slots:
            slot.spec = replace(slot.spec, command=[*slot.spec.command[:-1], "never"])
        sizes = {due: 200 * MIB, greedy: 10}

        def rss(pid: int) -> int:
            successor = [child for child in world.runner.slots.children() if child.pid not in (due, greedy)]
            if successor and pid == greedy:
                return 900 * MIB
            return sizes.get(pid, 10 if world.count("ended", "server-2") == 0 else 900 * MIB)

        limits = Limits(rss_soft=100 * MIB, rss_hard=500 * MIB)
        said: list[str] = []
        world.runner.events.on("said", said.append)
        world.runner.events.on("said", lambda text: world.note("said", text))
        await recycled(world, rss, limits, lambda: any("server-1 stays as it is" in text for text in said))
        assert gone(greedy)
        assert world.pid("server-1") == due
    assert "server-2 was ended at once: 900 MiB of memory" in world.written()
    assert "server-1 stays as it is: its successor was ended at once: 900 MiB" in world.written()


async def test_a_limit_that_is_too_little_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is due when it has just started is replaced, but not again and again without a pause."""
    monkeypatch.setattr(recycling, "YOUNG_SECONDS", 3600.0)
    world = World([spec("server-1")])
    async with running(world):
        await world.until(lambda: world.count("all_ready") == 1)
        limits = Limits(rss_soft=100 * MIB)
        await recycled(world, lambda pid: 200 * MIB, limits, lambda: world.count("recycled") == 2)
    text = world.written()
    assert text.count("is the limit too little?") == 1
    assert text.count("is replaced: 200 MiB of memory") == 2


async def test_a_successor_that_does_not_work_costs_nothing(tmp_path: Path) -> None:
    """The old process stays, and it is not tried again at once."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.read_text())
    world = World([Spec("server-1", "server", [sys.executable, str(program), "ready"])])
    async with running(world):
        await world.until(lambda: world.count("all_ready") == 1)
        program.write_text("raise SystemExit(1)\n")
        pid = world.pid("server-1")
        said: list[str] = []
        world.runner.events.on("said", said.append)
        world.runner.events.on("said", lambda text: world.note("said", text))
        await recycled(
            world,
            lambda pid: 10,
            Limits(lifetime_seconds=0.001),
            lambda: any("stays as it is" in text for text in said),
        )
        assert world.pid("server-1") == pid
        os.kill(pid, 0)


def test_amounts_of_memory() -> None:
    """As people write them; the soft limit is below the hard one."""
    assert [byte_count(text, "x") for text in ("512MB", "1.5G", "300 KiB", "1000000", "2gb", "")] == [
        512 * MIB, 1536 * MIB, 300 * 1024, 1_000_000, 2048 * MIB, 0,
    ]  # fmt: skip
    for text in ("much", "5X", "-1MB", "MB"):
        with pytest.raises(SettingsError, match="is no amount of memory, as in 512MB"):
            byte_count(text, "x")
    with pytest.raises(SettingsError, match="max_rss_soft: 1GB is not less than max_rss_hard, 512MB"):
        Settings(max_rss_soft="1GB", max_rss_hard="512MB")


def test_hosts_have_limits_of_their_own() -> None:
    """What is set for hosts counts for them, what is not is as for servers; the hard limit is everybody's."""
    common = Settings(max_requests=10, max_rss_soft="100MB", max_rss_hard="200MB", max_lifetime=60.0)
    found = limits_of_host(common)
    assert (found.requests, found.rss_soft, found.rss_hard, found.lifetime_seconds) == (
        10, 100 * MIB, 200 * MIB, 60.0,
    )  # fmt: skip
    found = limits_of_host(replace(common, sections=(HostSettings(max_rss="150MB", lifetime=5.0),)))
    assert (found.requests, found.rss_soft, found.rss_hard, found.lifetime_seconds) == (
        10, 150 * MIB, 200 * MIB, 5.0,
    )  # fmt: skip
    with pytest.raises(SettingsError, match=r"host.max_rss: 1GB is not less than max_rss_hard, 200MB"):
        limits_of_host(replace(common, sections=(HostSettings(max_rss="1GB"),)))
    with pytest.raises(SettingsError, match=r"host.max_rss: 'much' is no amount of memory"):
        limits_of_host(Settings(sections=(HostSettings(max_rss="much"),)))
