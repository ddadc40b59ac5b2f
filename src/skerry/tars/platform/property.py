"""Properties for `tars.tarsproperty.PropertyObj`: numbers that a server tells of itself, added up between two reports.

`Properties.property("orders").sum(1)` counts something of one's own, in any thread. `gauge` has a function asked every
two seconds: memory, CPU and the loop's lag are there from the start, `watch` adds the adapters of a server.

Source: TarsCpp `PropertyReport` (policies and their texts, version 2); the names of Tars.js's node-agent for what
concerns the process.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from skerry.errors import SettingsError
from skerry.tars.listener import ListenerState
from skerry.tars.platform.identity import Identity
from skerry.tars.platform.interfaces import interfaces
from skerry.tars.platform.reporting import LAST_SECONDS, Reporting, ReportSettings

log = logging.getLogger("skerry.tars.platform")

PROPERTY: Any = interfaces("PropertyF")
REPORT_VERSION = 2
SAMPLE_SECONDS = 2.0
ENTRY_BYTES = 50
MOST_PROPERTIES = 1000
GAUGE_POLICIES = ("Avg", "Max", "Min")

Gauge = Callable[[], float | None]


class Property:
    """One property. Each method has its policy reported from its first use on; `report` counts for all of them."""

    def __init__(self, policies: Sequence[str] = ()) -> None:
        self._lock = threading.Lock()
        self._policies = dict.fromkeys(policies)
        self._bounds: tuple[float, ...] = ()
        self._reset()

    def sum(self, value: float = 1) -> None:
        """Add to the sum of the interval."""
        self._take("Sum", value)

    def avg(self, value: float) -> None:
        """A value of which the average is told."""
        self._take("Avg", value)

    def max(self, value: float) -> None:
        """A value of which the largest is told."""
        self._take("Max", value)

    def min(self, value: float) -> None:
        """A value of which the smallest is told."""
        self._take("Min", value)

    def count(self) -> None:
        """Count one."""
        self._take("Count", 0)

    def distribution(self, value: float, bounds: Sequence[float]) -> None:
        """Count the value in the first of the ascending `bounds` that it does not pass; beyond all, in the last."""
        if not self._bounds:
            if not bounds or list(bounds) != sorted(bounds):
                raise SettingsError("bounds of a property", f"must ascend, at least one: {list(bounds)}")
            self._bounds = tuple(bounds)
            self._hits = [0] * len(bounds)
        self._take("Distr", value)

    def report(self, value: float) -> None:
        """A value that counts for every policy that this property has."""
        self._take("", value)

    def _reset(self) -> None:
        self._numbers = dict.fromkeys(("Sum", "Avg", "Max", "Min", "Count"), (0.0, 0))
        self._hits = [0] * len(self._bounds)
        self._touched = False

    def _take(self, policy: str, value: float) -> None:
        with self._lock:
            self._touched = True
            if policy:
                self._policies.setdefault(policy)
            for each in (policy,) if policy else self._policies:
                if each == "Distr":
                    self._hits[min(bisect_left(self._bounds, value), len(self._hits) - 1)] += 1
                    continue
                number, times = self._numbers[each]
                match each:
                    case "Max":
                        number = value if not times else max(number, value)
                    case "Min":
                        number = value if not times else min(number, value)
                    case _:
                        number += value
                self._numbers[each] = (number, times + 1)

    def take(self) -> list[tuple[str, str]]:
        """Policies and values since the last time, which begin anew; nothing when there was nothing."""
        with self._lock:
            if not self._touched:
                return []
            found = []
            for policy in self._policies:
                if policy == "Distr":
                    parts = zip(self._bounds, self._hits, strict=True)
                    found.append((policy, ",".join(f"{_text(bound)}|{hits}" for bound, hits in parts)))
                    continue
                number, times = self._numbers[policy]
                match policy:
                    case "Count":
                        found.append((policy, str(times)))
                    case "Avg":
                        found.append((policy, _text(number / times if times else 0)))
                    case "Max" | "Min" if not times:
                        continue
                    case _:
                        found.append((policy, _text(number)))
            self._reset()
            return found


class Properties:
    """The properties of this process. `proxy` is one of PropertyF, over a communicator that is not observed.
    `of_process`: whether it tells of the process itself, too."""

    def __init__(
        self,
        identity: Identity,
        proxy: Any,
        settings: ReportSettings | None = None,
        *,
        of_process: bool = True,
    ) -> None:
        self._of_process = of_process
        self._identity, self._proxy, self._settings = identity, proxy, settings or ReportSettings()
        self._properties: dict[str, Property] = {}
        self._gauges: dict[str, Gauge] = {}
        self._broken: set[str] = set()
        self._watched: list[Callable[[], Sequence[ListenerState]]] = []
        self._sampler: asyncio.TimerHandle | None = None
        self._late: dict[str, int] = {}
        self._due = 0.0
        self._cpu = (time.monotonic(), time.process_time())
        if of_process:
            self.gauge("memoryUsage", resident_bytes)
            self.gauge("cpuUsage", self._cpu_percent)
            self.gauge("threads", threading.active_count)
        self.reporting = Reporting("property", self.report, self._settings.interval_seconds)

    def property(self, name: str, policies: Sequence[str] = ()) -> Property:
        """The property of that name, made when it is new. `policies`: what `report` counts for, of Sum, Avg, Max, Min,
        Count. SettingsError beyond 1,000 names."""
        found = self._properties.get(name)
        if found is None:
            if len(self._properties) >= MOST_PROPERTIES:
                raise SettingsError(
                    "properties",
                    f"{name!r} would be more than {MOST_PROPERTIES}: do not make names of values",
                )
            found = self._properties.setdefault(name, Property(policies))
        return found

    def adopt(self, declared: dict[str, Property]) -> None:
        """Tell of these properties, too, and of those that are put into `declared` later."""
        for name, found in self._properties.items():
            declared.setdefault(name, found)
        self._properties = declared

    def gauge(self, name: str, ask: Gauge) -> None:
        """Ask this function every two seconds, in the loop; average, largest and smallest answer are told. None: there
        is nothing to tell now."""
        self._gauges[name] = ask

    def watch(self, states: Callable[[], Sequence[ListenerState]]) -> None:
        """Tell of the adapters of a server (`Server.states`): queue, connections, running functions, time-outs."""
        self._watched.append(states)

    def start(self) -> None:
        """Begin to sample and to report, in the running loop."""
        if self._sampler is None:
            loop = asyncio.get_running_loop()
            self._due = loop.time() + SAMPLE_SECONDS
            self._sampler = loop.call_at(self._due, self._sample, loop)
            self.reporting.start()

    async def stop(self, seconds: float = LAST_SECONDS) -> None:
        """Report once more, for so long at most, and end."""
        if self._sampler is not None:
            self._sampler.cancel()
            self._sampler = None
            self.sample()
        await self.reporting.stop(seconds)

    def sample(self) -> None:
        """Ask the gauges now."""
        for name, ask in list(self._gauges.items()):
            try:
                value = ask()
            except Exception as error:
                if name not in self._broken:
                    self._broken.add(name)
                    log.warning("the gauge %s is not asked any more: %s", name, error, exc_info=error)
                    del self._gauges[name]
                continue
            if value is not None:
                self.property(name, GAUGE_POLICIES).report(value)
        for states in self._watched:
            for state in states():
                self._adapter(state)

    async def report(self) -> None:
        """Send what there is and begin anew. Raises CallError; what was not sent is lost then."""
        for batch in self._batches():
            await self._proxy.reportPropMsg(batch)

    def _sample(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        if self._of_process:
            self.property("eventloopLag", GAUGE_POLICIES).report(1000 * (now - self._due))
        self.sample()
        self._due = loop.time() + SAMPLE_SECONDS
        self._sampler = loop.call_at(self._due, self._sample, loop)

    def _adapter(self, state: ListenerState) -> None:
        name = f"{state.object_name}Adapter"
        self.property(f"{name}.queue", GAUGE_POLICIES).report(state.queued)
        self.property(f"{name}.running", GAUGE_POLICIES).report(state.running)
        self.property(f"{name}.connections", GAUGE_POLICIES).report(state.connections)
        if state.most_connections:
            rate = 1000 * state.connections / state.most_connections
            self.property(f"{name}.connectRate", ("Avg",)).report(rate)
        late = state.counters.queue_timeouts
        self.property(f"{name}.timeoutNum").sum(late - self._late.get(name, 0))
        self._late[name] = late

    def _cpu_percent(self) -> float | None:
        then, used = self._cpu
        self._cpu = now, using = time.monotonic(), time.process_time()
        return 100 * (using - used) / (now - then) if now > then else None

    def _batches(self) -> Iterator[dict[Any, Any]]:
        batch: dict[Any, Any] = {}
        size = 0
        for name, found in list(self._properties.items()):
            values = found.take()
            if not values:
                continue
            length = ENTRY_BYTES + len(name) + sum(len(policy) + len(text) for policy, text in values)
            if batch and size + length > self._settings.batch_bytes:
                yield batch
                batch, size = {}, 0
            batch[self._head(name)] = PROPERTY.StatPropMsgBody(
                vInfo=[PROPERTY.StatPropInfo(policy=policy, value=text) for policy, text in values]
            )
            size += length
        if batch:
            yield batch

    def _head(self, name: str) -> Any:
        set_name, area, group = self._identity.set_parts
        return PROPERTY.StatPropMsgHead(
            moduleName=self._identity.reported_module,
            ip=self._identity.node,
            propertyName=name,
            setName=set_name,
            setArea=area,
            setID=group,
            sContainer="",
            iPropertyVer=REPORT_VERSION,
        )


def resident_bytes() -> float | None:
    """The memory that this process has; None where the system does not tell."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None


def _text(number: float) -> str:
    """Decimal, without exponent, three places at most."""
    return f"{number:.3f}".rstrip("0").rstrip(".")
