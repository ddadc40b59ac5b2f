"""Random faults by seed on both pairs: slips of types, releases side by side, commands and events that one of them does
not know, wrong clocks, dead letters that operators retry and drop, held keys, kills and stops. Whatever happens in
whatever order, no answer is wrong.

A plain run has a fixed seed, SKERRY_SEED=123 another one; SKERRY_SOAK=1 takes seed after seed for SKERRY_SOAK_SECONDS
(600), SKERRY_SEEDS=20 so many.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "faults"))
from faultworld import (  # type: ignore[import-not-found]
    SEED,
    SOAK,
    Client,
    FaultWorld,
    OneFile,
    Servers,
    pair_of,
    until,
)

from skerry.testing.broker import PrivateBroker
from skerry.testing.program import Program
from skerry.testing.services import PrivatePostgres

SECONDS = float(os.environ.get("SKERRY_SOAK_SECONDS", "600")) if SOAK else 0.0
SEEDS = int(os.environ.get("SKERRY_SEEDS", "0"))
FAULTS = 10 if SOAK else 4 if SEEDS else 2
PATIENCE = 300.0
"""Seconds for what takes a few."""
HELD = "held"
HOUR = 3600.0
CLOCKS = (8 * 24 * HOUR, -8 * 24 * HOUR, 2 * HOUR, -2 * HOUR, 400 * 24 * HOUR)
pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="kills as on Linux"),
    pytest.mark.timeout(SECONDS + 900 + 300 * SEEDS),
]


class Holder(Client):  # type: ignore[misc]
    """Writes 1, 2, 3 ... to a key whose handler holds it when one failed. After some failures it waits until somebody
    has mended that: what it sent has to be in effect then, in the order in which it was sent."""

    place, is_plain = HELD, True

    def __init__(self, world: FaultWorld) -> None:
        super().__init__(world, HELD, random.Random(f"{world.seed}/held"), 1)
        self.failures = 0
        self.mended = asyncio.Event()

    async def run(self, over: asyncio.Event) -> None:
        try:
            while not over.is_set():
                self.mended.clear()
                await self._write("put", HELD)
                if self.failures >= 3:
                    await self.mended.wait()
                    self.failures = 0
                await asyncio.sleep(self.world.pause_seconds)
        finally:
            for connection in self._connections.values():
                connection.close()

    def _slipped(self, operation: Any) -> bool:
        """It failed, which stays unknown to the history: it takes effect when it is retried."""
        self.failures += 1
        return True


class Fate:
    """Does one thing after another to a world, chosen by its seed; undoes what it must."""

    def __init__(self, world: FaultWorld, holder: Holder) -> None:
        self.world, self.holder = world, holder
        self.rng = random.Random(f"truth {type(world.servers).__name__} {world.seed}")
        self.done: Counter[str] = Counter()
        self._deck: list[Any] = []

    async def strike(self) -> None:
        """One fault, and the recovery from it; each kind has its turn."""
        if not self._deck:
            self._deck = [
                self.end_consumer, self.end_server, self.change_release, self.change_events, self.turn_clock,
                self.turn_clock, self.see_to_letters, self.hold_key,
            ]  # fmt: skip
            self.rng.shuffle(self._deck)
        fault = self._deck.pop()
        self.done[fault.__name__] += 1
        await fault()

    async def _replace(self, program: Program, **environ: str) -> None:
        """End it, by a kill or in order, and start it again, with these variables."""
        if self.rng.random() < 0.5:
            await program.kill()
        else:
            code = await program.stop(signal.SIGTERM, PATIENCE)
            young = code == -signal.SIGTERM and " ends: " not in program.text  # it was still starting
            assert code == 0 or young, self.world.report(f"it ended with {code}:\n{program.text}")
        program.environ |= environ
        if program in self.world.web:
            await self.world.again(program)
        else:
            await program.start()

    async def end_consumer(self) -> None:
        await self._replace(self.rng.choice(self.world.consumers))

    async def end_server(self) -> None:
        await self._replace(self.rng.choice(self.world.web))

    async def turn_clock(self) -> None:
        """By days or hours, or right again."""
        wrong = self.rng.choice((0.0, *CLOCKS))
        await self._replace(
            self.rng.choice(2 * self.world.consumers + self.world.web), TRUTHFUL_CLOCK=str(wrong)
        )

    async def change_release(self) -> None:
        """A consumer goes back to release 1 and a server is of release 2: what it sends waits, where no consumer of
        release 2 is left, until there is one again."""
        await self._replace(self.rng.choice(self.world.consumers), TRUTHFUL_RELEASE="1")
        server = self.rng.choice(self.world.web)
        await self._replace(server, TRUTHFUL_RELEASE="2")
        if all(each.environ.get("TRUTHFUL_RELEASE") != "2" for each in self.world.consumers):
            await self._letters(lambda letters: len(letters) > 0, "no command waits", waiting=True)
            self.done["commands that wait"] += 1
        if self.rng.random() < 0.3:
            await self.turn_clock()
        await self._replace(self.rng.choice(self.world.consumers), TRUTHFUL_RELEASE="2")
        if self.rng.random() < 0.3:
            await self._replace(server, TRUTHFUL_RELEASE="1")

    async def change_events(self) -> None:
        """Every consumer writes events in version 2. A server of release 1, unless it was replaced in time, cannot read
        them: it says so, and shows nothing, until it is replaced. The step between, and the way back, which writes
        version 1 again, are safe in any order."""
        lagging = None
        for server in self.world.web:
            if lagging is None and self.rng.random() < 0.7:
                lagging = server
                await self._replace(server, TRUTHFUL_RELEASE="1")
            else:
                await self._replace(server, TRUTHFUL_RELEASE="2")
        await self._write_events("2")
        await self.world.more(20)
        if lagging is not None:
            await lagging.until(lambda: "upgrade this process" in lagging.text, PATIENCE)
            self.done["events of an unknown version"] += 1
            if self.rng.random() < 0.5:
                await self.rng.choice([self.turn_clock, self.end_consumer, self.see_to_letters])()
            await self._replace(lagging, TRUTHFUL_RELEASE="2")
        await self._write_events("1")
        for server in self.world.web:
            if self.rng.random() < 0.3:
                await self._replace(server, TRUTHFUL_RELEASE="1")

    async def end_old_releases(self) -> None:
        """A server of release 1 whose copy of memory is from before an event of version 2 stays stopped."""
        for server in self.world.web:
            if server.environ.get("TRUTHFUL_RELEASE") != "2":
                await self._replace(server, TRUTHFUL_RELEASE="2")

    async def _write_events(self, version: str) -> None:
        consumers = list(self.world.consumers)
        self.rng.shuffle(consumers)
        for consumer in consumers:
            await self._replace(consumer, TRUTHFUL_RELEASE="2", TRUTHFUL_WRITES=version)

    async def see_to_letters(self) -> None:
        """An operator drops one half of what failed and retries the rest."""
        listed = await self._operate("dead", "list", self.world.target)
        failed = [
            line.split()[0]
            for line in listed.splitlines()
            if (" put_value " in line or " set_value " in line) and "waits: " not in line
        ]
        dropped = failed[: len(failed) // 2]
        if dropped:
            await self._operate("dead", "drop", *dropped, "--target", self.world.target)
            self.done["letters dropped"] += len(dropped)
        await self._operate("dead", "retry", "--all", "--target", self.world.target)

    async def hold_key(self) -> None:
        """A handler breaks, what comes behind the first failure is held, the handler is mended, an operator retries."""
        mark = self.world.directory / "broken"
        mark.touch()
        await until(
            lambda: self.holder.failures >= 3, PATIENCE, lambda: self.world.report("the key is not held")
        )
        mark.unlink()
        if self.rng.random() < 0.5:
            await self.end_consumer()
        await self._operate("dead", "retry", "--all", "--target", self.world.target)
        await self._letters(
            lambda letters: all(each.key != HELD for each in letters), "the key is still held"
        )
        self.holder.mended.set()

    async def _operate(self, *arguments: str) -> str:
        """A command of an operator, again until the application is there for it."""
        deadline = time.monotonic() + PATIENCE
        while True:
            finished = await self.world.skerry(*arguments)
            if finished.code == 0:
                return str(finished.out)
            if arguments[1] == "drop" and "there is no dead letter" in finished.error:
                return ""
            if time.monotonic() > deadline:
                raise AssertionError(self.world.report(f"{arguments}: {finished}"))

    async def _letters(self, are: Any, why: str, *, waiting: bool = False) -> None:
        deadline = time.monotonic() + PATIENCE
        while not are(letters := await self.world.letters(waiting)):
            if time.monotonic() > deadline:
                raise AssertionError(self.world.report(f"{why}: {letters[:5]}"))
            await asyncio.sleep(0.05)


async def one_life(directory: Path, store: Servers | OneFile, seed: int) -> None:
    """A topology of its own through `FAULTS` faults."""
    is_file = isinstance(store, OneFile)
    async with FaultWorld(
        directory, store, target="truthful:app", seed=seed, slips=0.05, repeats=0.1
    ) as world:
        world.pause_seconds = 0.05
        world.consumer_options = ("--set", "housekeeping.every_seconds=0.2")
        world.partitions = 1 if is_file else random.Random(seed).choice((1, 2))
        holder = Holder(world)
        fate = Fate(world, holder)
        await world.start(consumers=1 if is_file else 2)
        over = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(holder.run(over))
            async with world.traffic(clients=5):
                await world.more(20)
                for _ in range(FAULTS):
                    await fate.strike()
                    await world.more(20)
            over.set()
        if fate.done["change_events"]:
            await fate.end_old_releases()
        await fate._letters(lambda letters: not letters, "commands still wait", waiting=True)
        await world.verdict()
        async with world.servers.journal(world.namespace) as journal:
            await in_order(journal, holder)
        print(f"  {world.partitions} partitions, {dict(fate.done)}")


async def in_order(journal: Any, holder: Holder) -> None:
    """What was sent to the held key is there, each once, in that order."""
    numbers: list[int] = []
    after = 0
    while page := await journal.read(after, 2000):
        after = page[-1].offset
        values = [value for key, value in map(pair_of, page) if key == HELD]
        numbers += [int(value.rpartition("-")[2]) for value in values if value]
    assert numbers == list(range(1, holder._writes + 1)), numbers


async def lives(directory: Path, store: Any) -> None:
    """Seed after seed, as many as were asked for. Those that failed are named together when a number was given."""
    began, seed, failed = time.monotonic(), SEED, list[str]()
    while True:
        place = directory / str(seed)
        place.mkdir()
        try:
            await one_life(place, store(place), seed)
        except Exception as error:
            if not SEEDS:
                raise
            failed.append(f"seed {seed}: {error!r}")
            print(f"seed {seed} FAILED: {error!r}", flush=True)
        seed += 1
        if seed - SEED >= SEEDS and time.monotonic() - began > SECONDS:
            break
    assert not failed, "\n".join(failed)


async def test_random_faults_on_a_file(tmp_path: Path) -> None:
    """sqlite: and local:, one consumer that owns the file."""
    await lives(tmp_path, OneFile)


async def test_random_faults_on_servers(
    tmp_path: Path, postgresql: PrivatePostgres, rabbitmq: PrivateBroker
) -> None:
    """postgresql: and amqp:, two consumers."""
    await lives(tmp_path, lambda place: Servers(postgresql, rabbitmq))
