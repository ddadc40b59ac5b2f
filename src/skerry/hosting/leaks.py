"""Leaks of one route: it is asked again and again, and what the process holds is counted in between.

After a warm-up come rounds of requests; after each of them garbage is collected and counted. What grows with
significance (trend.py) in one series of rounds has to grow in a second one too, so that a cache that was just being
filled, or a module that was loaded late, is not taken for a leak. Then a few more requests show which lines allocate
what stays.

Not here: how a request is made (`ask`), and which application is served; `skerry leaks` does that.
"""

from __future__ import annotations

import asyncio
import gc
import json
import linecache
import os
import sys
import threading
import tracemalloc
from array import array
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

from skerry.errors import SettingsError
from skerry.hosting.trend import LEAST_VALUES, grows, slope_of
from skerry.loop.stacks import is_application

FRAMES = 12
"""Of the stack of an allocation, when it is looked for."""
FEWEST = {"bytes": 20.0, "blocks": 0.2}
FEWEST_OTHERS = 0.02
"""For each request: less is no growth."""
FEWEST_A_ROUND = {"bytes": 512.0, "blocks": 10.0}
"""The interpreter fills free lists and the like slowly, without any leak."""
LASTING = 0.5
"""How much of its slope a leak has in the second series, at least: what fills itself up becomes slower."""
LOOKS = 20
LOOK_SECONDS = 0.005
"""How often, and in what distance, the process is looked at until what the last request began has ended."""
ORDER = ("descriptors", "threads", "tasks", "objects", "blocks", "bytes")
MOST_LOOKED_AT = 20
OFTEN = 0.5
"""When it is looked for where growth comes from: requests, and what comes with every other one of them at least."""
SHOWN = 5
COLLECTIONS = 3
DESCRIPTORS = next((path for path in ("/proc/self/fd", "/dev/fd") if os.path.isdir(path)), "")
TASKS_OF_SYSTEM = "/proc/self/task"

Line = tuple[str, int]
Kind = tuple[str, str]
"""What is counted, and of which type: ("objects", "shop.Order"), ("threads", "")."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is asked. Raises SettingsError for rounds that cannot show anything."""

    warm_up: int = 100
    rounds: int = 12
    requests: int = 50
    """In each round."""

    def __post_init__(self) -> None:
        if self.rounds < LEAST_VALUES:
            raise SettingsError("rounds", f"{self.rounds} show no trend: {LEAST_VALUES} or more")
        if self.requests < 1 or self.warm_up < 0:
            raise SettingsError("requests", "at least 1 in a round, and no fewer than 0 to warm up")


@dataclass(frozen=True, slots=True)
class Growth:
    """Something of which there is more after each request. `what`: objects, blocks, bytes, descriptors, threads or
    tasks; `name`: the type, for objects."""

    what: str
    name: str
    per_request: float


@dataclass(frozen=True, slots=True)
class Place:
    """Where something that stays comes from. `what`: how much of it for each request, and which."""

    where: str
    what: str


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found of a route after so many requests; no `growths`: it does not leak."""

    requests: int
    growths: tuple[Growth, ...] = ()
    places: tuple[Place, ...] = ()


class Probe:
    """Looks for leaks of one route.

    `ask(n)` makes the n-th request and waits for its answer; what it raises ends the probe. `idle` says whether nothing
    of a request is under way any more, in threads say. `say` is told how far it is. Start `tracemalloc` before the
    application is imported: bytes are counted by it.
    """

    def __init__(
        self,
        ask: Callable[[int], Awaitable[None]],
        plan: Plan,
        *,
        idle: Callable[[], bool] = lambda: True,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._ask, self._plan, self._idle, self._say = ask, plan, idle, say
        self._asked = 0

    async def run(self) -> Finding:
        plan = self._plan
        if not tracemalloc.is_tracing():
            tracemalloc.start()
        self._say(f"warm-up, {plan.warm_up} requests")
        await self._requests(plan.warm_up)
        suspects = await self._series("round")
        if not suspects:
            return Finding(self._asked)
        again = await self._series("growth: does it go on? round")
        growths = [
            Growth(*kind, slope)
            for kind, slope in again.items()
            if kind in suspects and slope >= LASTING * suspects[kind]
        ]
        if not growths:
            return Finding(self._asked)
        self._say("looking for where it comes from")
        types, places = await self._origin({growth.what for growth in growths})
        named = {growth.name for growth in growths}
        growths += [growth for growth in types if growth.name not in named]
        return Finding(self._asked, tuple(sorted(growths, key=_rank)), tuple(places))

    async def _requests(self, count: int) -> None:
        for _ in range(count):
            self._asked += 1
            await self._ask(self._asked)

    async def _series(self, title: str) -> dict[Kind, float]:
        """What grows in a series of rounds, and by how much each round."""
        plan = self._plan
        kept = _Kept(plan.rounds + 1)  # the first makes the room for what is kept
        kept.add(await self._count())
        for number in range(1, plan.rounds + 1):
            self._say(f"{title} {number} of {plan.rounds}")
            await self._requests(plan.requests)
            kept.add(await self._count())
        found = {}
        for kind, values in kept.all():
            slope = slope_of(values[1:])
            fewest = FEWEST.get(kind[0], FEWEST_OTHERS) * plan.requests
            if slope >= max(fewest, FEWEST_A_ROUND.get(kind[0], 0.0)) and grows(values[1:]):
                found[kind] = slope / plan.requests
        return found

    async def _count(self) -> dict[Kind, int]:
        await self._settle()
        found: dict[Kind, int] = {
            ("bytes", ""): tracemalloc.get_traced_memory()[0],
            ("blocks", ""): sys.getallocatedblocks(),
            ("threads", ""): _threads(),
            ("tasks", ""): len(asyncio.all_tasks()),
        }
        if DESCRIPTORS:
            found["descriptors", ""] = len(os.listdir(DESCRIPTORS))
        for kind, count in Counter(map(type, gc.get_objects())).items():
            key = "objects", _name_of(kind)
            found[key] = found.get(key, 0) + count
        return found

    async def _settle(self) -> None:
        """Wait, for a while, until what the last request began has ended, and collect what it left."""
        before = (-1, -1)
        for _ in range(LOOKS):
            now = _threads(), len(asyncio.all_tasks())
            if now == before and self._idle():
                break
            before = now
            await asyncio.sleep(LOOK_SECONDS)
        for _ in range(COLLECTIONS):  # finalizers leave something themselves
            if not gc.collect():
                break

    async def _origin(self, what: set[str]) -> tuple[list[Growth], list[Place]]:
        """Types that grow and that the garbage collector does not know, and where all of it comes from: what some more
        requests leave behind tells."""
        count = min(self._plan.requests, MOST_LOOKED_AT)
        before = json.dumps(_plain_types())  # one object
        stood = _Standing()
        await self._requests(count)
        await self._settle()
        types = _plain_types() - Counter(json.loads(before))
        growths = [
            Growth("objects", name, number / count)
            for name, number in types.items()
            if number >= count * OFTEN
        ]
        places = [
            Place(name, f"{number / count:.3g} {kind}")
            for kind, names in _Standing().beyond(stood).items()
            if kind in what
            for name, number in names.most_common(SHOWN)
        ]
        tracemalloc.stop()
        tracemalloc.start(FRAMES)
        try:
            await self._requests(count)  # which fills what is filled by turns
            await self._settle()
            earlier = _by_line(tracemalloc.take_snapshot())
            await self._requests(count)
            await self._settle()
            now = _by_line(tracemalloc.take_snapshot())
        finally:
            tracemalloc.stop()
            tracemalloc.start()
        return growths, [*places, *_lines(now, earlier, count)]


class _Standing:
    """The threads, tasks and descriptors of this process now."""

    def __init__(self) -> None:
        self.threads = Counter(_target_of(thread) for thread in threading.enumerate())
        self.tasks = Counter(
            getattr(task.get_coro(), "__qualname__", task.get_name()) for task in asyncio.all_tasks()
        )
        self.descriptors = _descriptors()

    def beyond(self, other: _Standing) -> dict[str, Counter[str]]:
        """What was not there, by name."""
        had = other.descriptors
        opened = Counter(name for number, name in self.descriptors.items() if had.get(number) != name)
        return {
            "threads": self.threads - other.threads,
            "tasks": self.tasks - other.tasks,
            "descriptors": opened,
        }


class _Kept:
    """The counts of a series. Room for them is made once, so that keeping them is no growth."""

    def __init__(self, length: int) -> None:
        self._length, self._taken = length, 0
        self._values: dict[Kind, array[int]] = {}

    def add(self, counts: dict[Kind, int]) -> None:
        for kind, count in counts.items():
            values = self._values.get(kind)
            if values is None:
                values = self._values[kind] = array("q", [0] * self._length)
            values[self._taken] = count
        self._taken += 1

    def all(self) -> Iterator[tuple[Kind, list[int]]]:
        for kind, values in self._values.items():
            yield kind, values.tolist()


def _rank(growth: Growth) -> tuple[int, bool, float]:
    """What a type says more than a number of bytes; classes say more than built-in types."""
    return ORDER.index(growth.what), "." not in growth.name, -growth.per_request


def _plain_types() -> Counter[str]:
    """The types of what the garbage collector does not know: strings, numbers, dicts and tuples of such only."""
    seen: set[int] = set()
    found = gc.get_objects()
    counted: Counter[type] = Counter()
    while found:
        further = []
        for referent in gc.get_referents(*found):
            if not gc.is_tracked(referent) and id(referent) not in seen:
                seen.add(id(referent))
                further.append(referent)  # a dict or tuple that has strings and numbers only
        counted.update(map(type, further))
        found = further
    del seen, further
    named: Counter[str] = Counter()
    for kind, count in counted.items():
        named[_name_of(kind)] += count
    return named


def _name_of(kind: type) -> str:
    module, name = str(kind.__module__), str(kind.__qualname__)
    return name if module == "builtins" else f"{module}.{name}"


def _threads() -> int:
    try:
        return len(os.listdir(TASKS_OF_SYSTEM))
    except OSError:
        return threading.active_count()


def _target_of(thread: threading.Thread) -> str:
    target = getattr(thread, "_target", None)
    named = getattr(target, "__qualname__", "")
    module = getattr(target, "__module__", "")
    return f"{module}.{named}" if named else f"{type(thread).__qualname__} {thread.name}"


def _descriptors() -> dict[str, str]:
    found = {}
    for number in os.listdir(DESCRIPTORS) if DESCRIPTORS else ():
        try:
            found[number] = _kind_of(os.readlink(os.path.join(DESCRIPTORS, number)))
        except OSError:
            continue  # closed by now, or this system does not tell
    return found


def _kind_of(path: str) -> str:
    """`socket`, of `socket:[4711]`; of a file its path."""
    return path.partition(":[")[0]


def _by_line(snapshot: tracemalloc.Snapshot) -> dict[Line, tuple[int, int]]:
    """Blocks and bytes by the line that allocated them: the innermost of the application, else the innermost."""
    main = getattr(sys.modules.get("__main__"), "__file__", None)
    found: dict[Line, tuple[int, int]] = {}
    for trace in snapshot.traces:
        frames = [(frame.filename, frame.lineno) for frame in reversed(trace.traceback)]
        own = (each for each in frames if each[0] != main and is_application(each[0]))
        line = next(own, frames[0])
        blocks, size = found.get(line, (0, 0))
        found[line] = blocks + 1, size + trace.size
    return found


def _lines(
    now: dict[Line, tuple[int, int]], before: dict[Line, tuple[int, int]], requests: int
) -> list[Place]:
    """The lines whose allocations stay; those of the application, if there are any."""
    grown = []
    for line, (blocks, size) in now.items():
        had, had_size = before.get(line, (0, 0))
        if blocks - had >= requests * OFTEN and line[0] != __file__:
            grown.append((size - had_size, blocks - had, line))
    own = [each for each in grown if is_application(each[2][0])]
    here = os.path.join(os.getcwd(), "")
    return [
        Place(
            f"{file.removeprefix(here)}:{number}",
            f"{blocks / requests:.3g} blocks, {size / requests:.0f} bytes: {linecache.getline(file, number).strip()}",
        )
        for size, blocks, (file, number) in sorted(own or grown, reverse=True)[:SHOWN]
    ]
