"""Numbers are cheap to raise, plain to read, and bounded."""

from __future__ import annotations

import msgspec
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric as PrometheusMetric

from skerry.errors import SettingsError
from skerry.telemetry import Metric, Registry


def test_the_same_name_and_labels_are_the_same_instrument() -> None:
    """Two parts that ask for one counter raise one number; other labels are another number."""
    registry = Registry()
    first = registry.counter("hits_total", "Hits.", route="/a", method="GET")
    assert registry.counter("hits_total", "Hits.", method="GET", route="/a") is first
    first.value += 1
    first.inc(2)
    registry.counter("hits_total", "Hits.", route="/b", method="GET").inc()
    (metric,) = registry.collect()
    assert (metric.name, metric.kind, metric.help) == ("hits_total", "counter", "Hits.")
    assert [(s.labels, s.value) for s in metric.samples] == [
        ((("method", "GET"), ("route", "/a")), 3.0),
        ((("method", "GET"), ("route", "/b")), 1.0),
    ]
    with pytest.raises(ValueError, match="only grows"):
        first.inc(-1)


def test_gauges_may_be_read_when_collected() -> None:
    """A gauge with `read` shows the value of that moment; one without shows what was set."""
    registry, queue = Registry(), list[int]()
    registry.gauge("queue_length", "Waiting.", read=lambda: len(queue))
    registry.gauge("up", "Up.").value = 1
    queue.extend([1, 2])
    assert {m.name: m.samples[0].value for m in registry.collect()} == {"queue_length": 2.0, "up": 1.0}


def test_histograms_are_cumulative() -> None:
    """A value on a bound counts below it; +Inf counts all; bounds must rise."""
    registry = Registry()
    seconds = registry.histogram("took_seconds", "Took.", bounds=(0.1, 1))
    for value in (0.05, 0.1, 0.5, 7.0):
        seconds.observe(value)
    (metric,) = registry.collect()
    assert [(s.name, dict(s.labels).get("le"), s.value) for s in metric.samples] == [
        ("took_seconds_bucket", "0.1", 2.0),
        ("took_seconds_bucket", "1", 3.0),
        ("took_seconds_bucket", "+Inf", 4.0),
        ("took_seconds_sum", None, 7.65),
        ("took_seconds_count", None, 4.0),
    ]
    with pytest.raises(ValueError, match="rise"):
        Registry().histogram("x", "X.", bounds=(1, 1))


def test_labels_from_outside_cannot_fill_the_memory() -> None:
    """Beyond the limit every new combination counts as `other`."""
    family = Registry().counters("paths_total", "Paths.", "path")
    family._limit = 3
    for number in range(10):
        family.labels(str(number)).inc()
    assert {values[0]: child.value for values, child in family.children.items()} == {
        "0": 1, "1": 1, "2": 1, "other": 7,
    }  # fmt: skip
    family.remove("0")
    assert len(family.children) == 3
    with pytest.raises(ValueError, match="labels are"):
        family.labels("a", "b")


def test_a_name_has_one_meaning() -> None:
    """The same name with another kind or other labels, or a name nobody can scrape, is refused."""
    registry = Registry()
    registry.counter("x_total", "X.")
    with pytest.raises(SettingsError, match="counter"):
        registry.gauge("x_total", "X.")
    with pytest.raises(SettingsError, match="labels"):
        registry.counters("x_total", "X.", "a")
    with pytest.raises(SettingsError, match="letters"):
        registry.counter("x-total", "X.")


def test_what_is_collected_travels_and_prometheus_takes_it() -> None:
    """Samples cross a process border as JSON and feed prometheus-client's own exposition."""
    registry = Registry()
    registry.counter("hits_total", "Hits.", route='/"a"').inc(2)
    registry.histogram("took_seconds", "Took.").observe(0.2)
    arrived = msgspec.json.decode(msgspec.json.encode(list(registry.collect())), type=list[Metric])
    assert arrived == list(registry.collect())

    class Collector:
        def collect(self) -> list[PrometheusMetric]:
            made = []
            for metric in arrived:
                family = PrometheusMetric(metric.name, metric.help, metric.kind)
                for sample in metric.samples:
                    family.add_sample(sample.name, dict(sample.labels), sample.value)
                made.append(family)
            return made

    target = CollectorRegistry()
    target.register(Collector())
    text = generate_latest(target).decode()
    assert 'hits_total{route="/\\"a\\""} 2.0' in text
    assert 'took_seconds_bucket{le="0.25"} 1.0' in text
