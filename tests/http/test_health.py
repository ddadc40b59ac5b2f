"""Liveness, readiness with reasons, and numbers as Prometheus reads them."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.parser import text_string_to_metric_families

from skerry.http.application import Application
from skerry.http.health import READY, Finding, Health, exposition, install_metrics
from skerry.telemetry import Metric, Registry
from skerry.testing.client import Client


async def test_readiness_says_why_not() -> None:
    """One check that is not ready makes 503, with its reason and lag; a check that breaks counts as not ready."""
    health, app = Health(), Application()
    state = {"memory": Finding(False, "catching up", lag=7)}
    health.add("memory", lambda: state["memory"])
    health.add("journal", lambda: READY)
    health.install(app)
    async with Client(app) as client:
        assert (await client.get("/health/live")).json() == {"status": "live"}
        found = await client.get("/health/ready")
        assert found.status == 503
        assert found.json()["checks"]["memory"] == {"ready": False, "reason": "catching up", "lag": 7}
        state["memory"] = Finding(True, lag=0)
        found = await client.get("/health/ready")
        assert (found.status, found.json()["status"]) == (200, "ready")

        def broken() -> Finding:
            raise RuntimeError("secret")

        health.add("broken", broken)
        found = await client.get("/health/ready")
        assert found.status == 503
        assert "secret" not in found.text
        health.remove("broken")
        assert (await client.get("/health/ready")).status == 200


async def test_readiness_is_asked_for_a_purpose() -> None:
    """`?for=traffic` and `?for=writes` may be answered otherwise than the whole, each with its own status and findings;
    what else may stand there is a client's mistake."""
    health, app = Health(), Application()
    health.add("memory", lambda: Finding(False, "Prices stopped", traffic=True, writes=True))
    health.add("commands", lambda: Finding(True, "no broker", writes=False))
    health.install(app)
    async with Client(app) as client:
        whole = await client.get("/health/ready")
        traffic = await client.get("/health/ready?for=traffic")
        writes = await client.get("/health/ready?for=writes")
        assert [one.status for one in (whole, traffic, writes)] == [503, 200, 503]
        ready = [
            {name: check["ready"] for name, check in one.json()["checks"].items()}
            for one in (whole, traffic, writes)
        ]
        assert ready == [
            {"memory": False, "commands": True},
            {"memory": True, "commands": True},
            {"memory": True, "commands": False},
        ]
        assert writes.json()["checks"]["commands"]["reason"] == "no broker"
        assert writes.headers["cache-control"] == "no-store"
        for wrong in ("reads", "", "Traffic", "writes%20"):
            assert (await client.get(f"/health/ready?for={wrong}")).status == 400, wrong


def numbers() -> Registry:
    registry = Registry()
    registry.counter("skerry_events_total", "Events.", process="one").inc(3)
    registry.gauge("skerry_lag", "Lag.", process='q"uo\nte').value = 2.5
    registry.histogram("skerry_wait_seconds", "Waits.", bounds=(0.1, 1.0)).observe(0.5)
    return registry


def test_the_text_is_prometheus() -> None:
    """What is written is read back by Prometheus' own parser: counters, gauges, histograms, odd labels."""
    text = exposition(numbers().collect()).decode()
    found = {
        s.name + str(sorted(s.labels.items())): s.value
        for f in text_string_to_metric_families(text)
        for s in f.samples
    }
    assert found["skerry_events_total[('process', 'one')]"] == 3
    assert found["""skerry_lag[('process', 'q"uo\\nte')]"""] == 2.5
    assert found["skerry_wait_seconds_bucket[('le', '0.1')]"] == 0
    assert found["skerry_wait_seconds_bucket[('le', '+Inf')]"] == 1
    assert found["skerry_wait_seconds_count[]"] == 1


def test_processes_share_a_family() -> None:
    """Metrics of one name from two collections have one HELP line."""
    text = exposition([*numbers().collect(), *numbers().collect()]).decode()
    assert text.count("# HELP skerry_events_total ") == 1


async def test_the_page() -> None:
    """`/metrics` is served from a plain or an async source, and is no part of the description."""

    async def gathered() -> Iterable[Metric]:
        return numbers().collect()

    app = Application()
    install_metrics(app, lambda: numbers().collect())
    install_metrics(app, gathered, "/all")
    async with Client(app) as client:
        for path in ("/metrics", "/all"):
            found = await client.get(path)
            assert found.headers["content-type"].startswith("text/plain; version=")
            assert "skerry_events_total" in found.text
        assert "/metrics" not in (await client.get("/openapi.json")).json()["paths"]
