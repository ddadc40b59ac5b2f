"""Metrics of several processes as one exposition."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from skerry.process.metrics import exposition, gauge, merged
from skerry.telemetry import Registry

ONE = """# HELP requests_total Requests.
# TYPE requests_total counter
requests_total{route="/a b",status="200"} 3
# HELP took_seconds Time.
# TYPE took_seconds histogram
took_seconds_bucket{le="0.1"} 1
took_seconds_bucket{le="+Inf"} 2
took_seconds_sum 0.5
took_seconds_count 2
"""
TWO = """# HELP requests_total Requests.
# TYPE requests_total counter
requests_total{route="/a b",status="200"} 4
# TYPE other gauge
other 1.5 1700000000000
nonsense here
"""


def test_samples_of_one_metric_stand_together_with_their_process() -> None:
    """Every sample has its process, under one HELP and TYPE; a strict reader takes it."""
    text = merged({"server-1": ONE, 'odd"name\\': TWO})
    assert text.count("# TYPE requests_total counter") == 1
    assert "nonsense" not in text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    requests = {sample.labels["process"]: sample.value for sample in families["requests"].samples}
    assert requests == {"server-1": 3.0, 'odd"name\\': 4.0}
    assert families["requests"].samples[0].labels["route"] == "/a b"
    assert len(families["took_seconds"].samples) == 4
    assert merged({}) == ""


def test_gauge_and_exposition_are_read_back() -> None:
    """What the runner says itself, and a registry, as text."""
    registry = Registry()
    registry.counter("hits_total", "Hits.", route="x").inc(2)
    text = exposition(registry.collect()) + gauge("up", "Up.", [("a", 1.0)])
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert families["hits"].samples[0].value == 2.0
    assert families["up"].samples[0].labels == {"process": "a"}
