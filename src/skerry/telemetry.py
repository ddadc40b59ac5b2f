"""Numbers about what happens: counters, gauges and histograms. Free when nobody reads.

    registry = Registry()
    hits = registry.counter("skerry_lane_hits_total", "Answers from the lane.", route="/values/{key}")
    hits.value += 1                       # the hot path: one slot, no lock, no call

    answers = registry.counters("skerry_answers_total", "Answers by status.", "status")
    answers.labels("200").inc()           # a child for each combination of values, made at first use

    for metric in registry.collect():     # plain frozen values: metric.name, .kind, .help, .samples
        for sample in metric.samples:     # sample.name, .labels (sorted pairs), .value
            ...

There is no global registry: one is passed to the parts when they are made. Names follow Prometheus: `_total` for
counters, `_seconds` and `_bytes` for units. What is collected can be sent to another process as it is.

Not here: exposition over HTTP (`skerry.http.health` gives samples to prometheus-client), spans (`skerry.tracing`), a
clock, locks. Numbers belong to the thread of the loop; under the GIL another thread may read them at any time.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from skerry.errors import SettingsError

Kind = Literal["counter", "gauge", "histogram"]
Labels = tuple[tuple[str, str], ...]

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of buckets for durations, in seconds."""
BYTES = (64.0, 256.0, 1024.0, 4096.0, 16384.0, 65536.0, 262144.0, 1048576.0)
"""Upper bounds of buckets for sizes, in bytes."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One number. `name` is the metric's, for histograms with `_bucket`, `_sum` or `_count` appended."""

    name: str
    labels: Labels
    value: float


@dataclass(frozen=True, slots=True)
class Metric:
    """Everything known under one name at one moment."""

    name: str
    kind: Kind
    help: str
    samples: tuple[Sample, ...]


class Counter:
    """A number that only grows: `counter.value += 1`, or `inc`. With `read` set, it is asked when collected."""

    __slots__ = ("read", "value")
    kind: Kind = "counter"

    def __init__(self) -> None:
        self.value = 0.0
        self.read: Callable[[], float] | None = None

    def inc(self, amount: float = 1.0) -> None:
        """Add `amount`. ValueError below zero."""
        if amount < 0:
            raise ValueError("a counter only grows; a gauge may fall")
        self.value += amount

    def samples(self, name: str, labels: Labels) -> Iterable[Sample]:
        return (Sample(name, labels, self.value if self.read is None else float(self.read())),)


class Gauge:
    """A number that rises and falls: `gauge.value = n`. With `read` set, it is asked when collected."""

    __slots__ = ("read", "value")
    kind: Kind = "gauge"

    def __init__(self) -> None:
        self.value = 0.0
        self.read: Callable[[], float] | None = None

    def samples(self, name: str, labels: Labels) -> Iterable[Sample]:
        return (Sample(name, labels, self.value if self.read is None else float(self.read())),)


class Histogram:
    """How often values fell below each of some fixed bounds; `observe(value)` counts one."""

    __slots__ = ("bounds", "counts", "total")
    kind: Kind = "histogram"

    def __init__(self, bounds: Sequence[float] = SECONDS) -> None:
        self.bounds = tuple(float(bound) for bound in bounds)
        if not self.bounds or list(self.bounds) != sorted(set(self.bounds)):
            raise ValueError(f"bucket bounds must rise: {self.bounds}")
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count `value` in the first bucket whose bound it does not pass."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def samples(self, name: str, labels: Labels) -> Iterable[Sample]:
        """Cumulative buckets, as Prometheus has them, then sum and count."""
        below = 0
        for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
            below += count
            edge = "+Inf" if bound == float("inf") else f"{bound:g}"
            yield Sample(f"{name}_bucket", (*labels, ("le", edge)), float(below))
        yield Sample(f"{name}_sum", labels, self.total)
        yield Sample(f"{name}_count", labels, float(below))


Instrument = TypeVar("Instrument", bound=Counter | Gauge | Histogram)


class Family(Generic[Instrument]):
    """Instruments of one name that differ by the values of their labels.

    At most `limit` combinations are kept: every further one counts under the value `other`, so that a value
    from outside (a path, a user) cannot fill the memory.
    """

    def __init__(self, make: Callable[[], Instrument], names: tuple[str, ...], limit: int = 1000) -> None:
        self._make = make
        self._names, self._limit = names, limit
        self.children: dict[tuple[str, ...], Instrument] = {}

    def labels(self, *values: str) -> Instrument:
        """The instrument for these label values, in the order of the names. Keep it where it is hot."""
        found = self.children.get(values)
        if found is not None:
            return found
        if len(values) != len(self._names):
            raise ValueError(f"labels are {self._names}, got {values}")
        if len(self.children) >= self._limit:
            values = ("other",) * len(values)
            if values in self.children:
                return self.children[values]
        made = self.children[values] = self._make()
        return made

    def remove(self, *values: str) -> None:
        """Forget one combination, as when what it counted is gone for good."""
        self.children.pop(values, None)

    def samples(self, name: str) -> Iterator[Sample]:
        for values, child in list(self.children.items()):
            yield from child.samples(name, tuple(sorted(zip(self._names, values, strict=True))))


@dataclass(frozen=True, slots=True)
class _Entry:
    kind: Kind
    help: str
    names: tuple[str, ...]
    family: Family[Any]


class Registry:
    """The instruments of one process or of one part of it, by name."""

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}

    def counter(
        self, name: str, help: str, *, read: Callable[[], float] | None = None, **labels: str
    ) -> Counter:
        """The counter of this name and these fixed labels; made at the first call, the same one afterwards. With `read`
        what counts already is asked at every `collect`."""
        names, values = _split(labels)
        found = self.counters(name, help, *names).labels(*values)
        found.read = read or found.read
        return found

    def gauge(self, name: str, help: str, *, read: Callable[[], float] | None = None, **labels: str) -> Gauge:
        """A gauge; with `read` its value is asked for at every `collect`."""
        names, values = _split(labels)
        found = self.gauges(name, help, *names).labels(*values)
        found.read = read or found.read
        return found

    def histogram(
        self, name: str, help: str, *, bounds: Sequence[float] = SECONDS, **labels: str
    ) -> Histogram:
        """A histogram with fixed buckets (`SECONDS`, `BYTES` or your own)."""
        names, values = _split(labels)
        return self.histograms(name, help, *names, bounds=bounds).labels(*values)

    def counters(self, name: str, help: str, *labels: str) -> Family[Counter]:
        """Counters that differ by labels."""
        return self._family(name, help, labels, "counter", Family(Counter, labels))

    def gauges(self, name: str, help: str, *labels: str) -> Family[Gauge]:
        """Gauges that differ by labels."""
        return self._family(name, help, labels, "gauge", Family(Gauge, labels))

    def histograms(
        self, name: str, help: str, *labels: str, bounds: Sequence[float] = SECONDS
    ) -> Family[Histogram]:
        """Histograms that differ by labels."""
        return self._family(name, help, labels, "histogram", Family(lambda: Histogram(bounds), labels))

    def _family(
        self, name: str, help: str, names: tuple[str, ...], kind: Kind, made: Family[Instrument]
    ) -> Family[Instrument]:
        found = self._entries.get(name)
        if found is None:
            if not name.replace("_", "a").isalnum() or name[0].isdigit() or not name.isascii():
                raise SettingsError(name, "a metric's name has letters, digits and underscores")
            self._entries[name] = _Entry(kind, help, names, made)
            return made
        if (found.kind, found.names) != (kind, names):
            raise SettingsError(name, f"is a {found.kind} with labels {found.names} already")
        return found.family

    def collect(self) -> Iterator[Metric]:
        """What is known now, by name, as plain values."""
        for name, entry in sorted(self._entries.items()):
            yield Metric(name, entry.kind, entry.help, tuple(entry.family.samples(name)))


def _split(labels: dict[str, str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    pairs = sorted(labels.items())
    return tuple(k for k, _ in pairs), tuple(v for _, v in pairs)
