"""Recycling: replaces a server or host before it has grown too old or too large, its successor first, one at a time.

An application that leaks loses no request by it: the successor is ready before the old process drains. Only the hard
limit of memory ends a process at once, as it protects the others of the machine. `decide` is what is decided,
`Recycler` waits.
Not here: how a process is replaced (runner.py).
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from skerry.errors import SettingsError
from skerry.hosting.settings import HostSettings
from skerry.kernel.settings import Settings, byte_count
from skerry.process.child import Child
from skerry.process.control import memory_bytes
from skerry.process.runner import Runner
from skerry.process.slot import Slot
from skerry.process.tree import duration, size

RECYCLED_ROLES = ("server", "gateway", "host", "tars")
EXHAUSTED = "exhausted"
"""The gauge by which a process says why it cannot go on for long."""
LOOK_SECONDS = 1.0
JITTER = 0.1
"""Limits of requests and lifetime are longer by up to so much, so that processes which began together do not end
together."""
AGAIN_SECONDS = 30.0
"""After how long a replacement that failed is tried again."""
YOUNG_SECONDS = 10.0
"""A process that is due so soon after its start may have a limit that is too little for any."""
LONGEST_PAUSE = 60.0
"""Between two replacements of young ones, at most; from one second on it doubles."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one process; 0 is no limit. `rss_soft`, `rss_hard`: bytes of resident memory. `names`: the settings that they
    come from, where those have names of their own."""

    requests: int = 0
    rss_soft: int = 0
    rss_hard: int = 0
    lifetime_seconds: float = 0.0
    names: Mapping[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.requests or self.rss_soft or self.rss_hard or self.lifetime_seconds)

    def name(self, setting: str) -> str:
        return self.names.get(setting, setting)


def limits_of(settings: Settings) -> Limits:
    """What one server or gateway may use. Raises SettingsError."""
    soft = byte_count(settings.max_rss_soft, "max_rss_soft")
    hard = byte_count(settings.max_rss_hard, "max_rss_hard")
    return Limits(settings.max_requests, soft, hard, settings.max_lifetime)


def limits_of_host(settings: Settings) -> Limits:
    """What one process of `skerry host` may use: what is set for hosts, else what is set for all. Raises
    SettingsError."""
    own, common = settings.of(HostSettings), limits_of(settings)
    soft = byte_count(own.max_rss, "host.max_rss")
    if soft and common.rss_hard and soft >= common.rss_hard:
        raise SettingsError(
            "host.max_rss", f"{own.max_rss} is not less than max_rss_hard, {settings.max_rss_hard}"
        )
    given = {"max_requests": own.max_requests, "max_rss_soft": soft, "max_lifetime": own.lifetime}
    called = {
        "max_requests": "host.max_requests",
        "max_rss_soft": "host.max_rss",
        "max_lifetime": "host.lifetime",
    }
    return Limits(
        own.max_requests or common.requests,
        soft or common.rss_soft,
        common.rss_hard,
        own.lifetime or common.lifetime_seconds,
        {setting: called[setting] for setting, value in given.items() if value},
    )


@dataclass(frozen=True, slots=True)
class Replace:
    """Verdict: a successor, and then its end in order."""

    reason: str


@dataclass(frozen=True, slots=True)
class End:
    """Verdict: its end at once."""

    reason: str


@dataclass(frozen=True, slots=True)
class Use:
    """What a process has used so far. `jitter`: 0 to 1, its own. `exhausted`: why it says it cannot go on."""

    requests: int
    rss_bytes: int
    lived_seconds: float
    jitter: float
    exhausted: str = ""


def decide(limits: Limits, use: Use) -> Replace | End | None:
    """What is to be done with a process, if anything."""
    later = 1.0 + JITTER * use.jitter
    if limits.rss_hard and use.rss_bytes > limits.rss_hard:
        return End(f"{size(use.rss_bytes)} of memory, more than {size(limits.rss_hard)} (max_rss_hard)")
    if use.exhausted:
        return Replace(use.exhausted)
    if limits.rss_soft and use.rss_bytes > limits.rss_soft:
        what = f"{size(use.rss_bytes)} of memory, more than {size(limits.rss_soft)}"
        return Replace(f"{what} ({limits.name('max_rss_soft')})")
    if limits.requests and use.requests >= limits.requests * later:
        return Replace(f"{use.requests} requests ({limits.name('max_requests')})")
    if limits.lifetime_seconds and use.lived_seconds >= limits.lifetime_seconds * later:
        return Replace(f"{duration(use.lived_seconds)} old ({limits.name('max_lifetime')})")
    return None


@dataclass(slots=True)
class _Place:
    """What is remembered of a slot: when its process may be replaced next, and how long to wait if that is young."""

    not_before: float = 0.0
    pause: float = 0.0


class Recycler:
    """Looks at the children of a runner. `of_hosts`: the limits of those with that role. `rss(pid)` gives a process's
    resident memory in bytes."""

    def __init__(
        self,
        runner: Runner,
        limits: Limits,
        rss: Callable[[int], int] = memory_bytes,
        *,
        of_hosts: Limits | None = None,
    ) -> None:
        self._runner, self._limits, self._rss = runner, limits, rss
        self._of_hosts = limits if of_hosts is None else of_hosts
        self._jitter: WeakKeyDictionary[Child, float] = WeakKeyDictionary()
        self._places: dict[str, _Place] = {}

    async def run(self) -> None:
        """Until it is cancelled. Replacements take their time, one after the other; the hard limit is looked at
        meanwhile."""
        async with asyncio.TaskGroup() as group:
            replacing: asyncio.Task[None] | None = None
            while True:
                await asyncio.sleep(LOOK_SECONDS)
                self._end_excessive()
                if replacing is None or replacing.done():
                    replacing = group.create_task(self._replace_due())

    def _end_excessive(self) -> None:
        """Of all that live: those that start, and those that drain, too."""
        for child in self._runner.slots.children():
            if child.spec.role in RECYCLED_ROLES and child.exit_code is None:
                verdict = self._verdict(child)
                if isinstance(verdict, End):
                    child.end_for(verdict.reason)

    async def _replace_due(self) -> None:
        for slot in list(self._runner.slots):
            child = slot.child
            if slot.spec.role not in RECYCLED_ROLES or child is None or child.asked_to_stop:
                continue
            if child.exit_code is None and child.state in ("ready", "not ready"):
                verdict = self._verdict(child)
                if isinstance(verdict, Replace):
                    await self._replace(slot, child, verdict.reason)

    def _verdict(self, child: Child) -> Replace | End | None:
        limits = self._of_hosts if child.spec.role in ("host", "tars") else self._limits
        return decide(limits, self._use(child, limits))

    async def _replace(self, slot: Slot, child: Child, reason: str) -> None:
        place = self._places.setdefault(slot.name, _Place())
        if time.monotonic() < place.not_before:
            return
        lived = child.lived_seconds
        if not await self._runner.rollout.recycle(slot, child, reason):
            place.not_before = time.monotonic() + AGAIN_SECONDS
        elif lived >= YOUNG_SECONDS:
            place.pause = 0.0
        else:
            if not place.pause:
                self._runner.say(
                    f"{slot.name} had lived for {lived:.0f} s only: is the limit too little?", "warning"
                )
            place.pause = min(max(1.0, 2 * place.pause), LONGEST_PAUSE)
            place.not_before = time.monotonic() + place.pause

    def _use(self, child: Child, limits: Limits) -> Use:
        requests = child.gauges.get("requests", 0)
        return Use(
            int(requests) if isinstance(requests, int | float) else 0,
            self._rss(child.pid) if limits.rss_soft or limits.rss_hard else 0,
            child.lived_seconds,
            self._jitter.setdefault(child, random.random()),
            str(child.gauges.get(EXHAUSTED, "")),
        )
