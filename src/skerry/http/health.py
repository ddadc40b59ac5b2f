"""Health and numbers over HTTP: `/health/live`, `/health/ready` with reasons, `/metrics` for Prometheus.

Readiness has three questions. `/health/ready`: does everything that was declared work (a deployment stops there when
it does not)? `?for=traffic`: should this process get connections (a balancer asks it)? `?for=writes`: can commands be
sent and will they be decided? What makes a process ready is told by the checks that are given: plain callables that
look at memory and return. The numbers are plain `Metric` values from wherever they are collected; here they only
become text.
"""

from __future__ import annotations

import enum
import inspect
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import Metric as PrometheusMetric

from skerry.http.application import Application
from skerry.http.problems import Problem
from skerry.http.reply import Response
from skerry.http.request import Request
from skerry.telemetry import Metric

OWN_PAGES = "/-/skerry"
"""Where every process has its own pages, whatever else it serves."""
MetricSource = Callable[[], Iterable[Metric]] | Callable[[], Awaitable[Iterable[Metric]]]


class Purpose(enum.Enum):
    """What readiness is asked for; the value is what follows `?for=`."""

    EVERYTHING = ""
    TRAFFIC = "traffic"
    WRITES = "writes"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found. `reason` for people when not ready; `lag` in positions, None where there is none.
    `traffic` and `writes`: where the answer for connections or for writes is another one than `ready`."""

    ready: bool
    reason: str = ""
    lag: int | None = None
    traffic: bool | None = None
    writes: bool | None = None

    def suits(self, purpose: Purpose) -> bool:
        """Whether this process is ready for that, as far as this check goes."""
        match purpose:
            case Purpose.TRAFFIC if self.traffic is not None:
                return self.traffic
            case Purpose.WRITES if self.writes is not None:
                return self.writes
        return self.ready


READY = Finding(True)
Check = Callable[[], Finding]


class Health:
    """Named checks of one process. It is ready when all are; live as long as it answers."""

    def __init__(self) -> None:
        self._checks: dict[str, Check] = {}

    def reasons(self, purpose: Purpose) -> list[str]:
        """Why it is not ready for that; nothing when it is."""
        _, told = self.report(purpose)
        return [
            f"{name}: {each.get('reason', 'not ready')}"
            for name, each in told["checks"].items()
            if not each["ready"]
        ]

    def add(self, name: str, check: Check) -> None:
        """Add or replace a check. It must not wait; an exception in it counts as not ready."""
        self._checks[name] = check

    def remove(self, name: str) -> None:
        self._checks.pop(name, None)

    def report(self, purpose: Purpose = Purpose.EVERYTHING) -> tuple[bool, dict[str, Any]]:
        """Whether all are ready for that purpose, and each check's finding as plain data."""
        ready, checks = True, {}
        for name, check in self._checks.items():
            try:
                finding = check()
            except Exception as error:
                finding = Finding(False, f"the check failed: {type(error).__name__}")
            suits = finding.suits(purpose)
            ready = ready and suits
            shown: dict[str, Any] = {"ready": suits}
            if finding.reason:
                shown["reason"] = finding.reason
            if finding.lag is not None:
                shown["lag"] = finding.lag
            checks[name] = shown
        return ready, {"status": "ready" if ready else "not ready", "checks": checks}

    def install(self, application: Application, prefix: str = "/health") -> None:
        """Declare `PREFIX/live` and `PREFIX/ready`, open to everybody: an orchestrator has no token."""
        install_health(application, self.report, prefix)


Report = Callable[[Purpose], tuple[bool, dict[str, Any]]]
"""Whether something is ready for a purpose, and what was found, as plain data."""


def install_health(application: Application, report: Report, prefix: str = "/health") -> None:
    """What `Health.install` declares, of any report."""

    @application.get(f"{prefix}/live", rights=None, documented=False)
    def live() -> Response:
        """The process answers."""
        return Response.json({"status": "live"}, headers={"Cache-Control": "no-store"})

    @application.get(f"{prefix}/ready", rights=None, documented=False)
    def ready(request: Request) -> Response:
        """The process can do its work (`?for=traffic`, `?for=writes`: that work); 503 with reasons when not."""
        well, found = report(_purpose(request))
        return Response.json(found, 200 if well else 503, headers={"Cache-Control": "no-store"})


def _purpose(request: Request) -> Purpose:
    """What readiness is asked for. Raises Problem 400 for what it cannot be asked for."""
    asked = request.query.get("for")
    if asked is None:
        return Purpose.EVERYTHING
    if asked not in (Purpose.TRAFFIC.value, Purpose.WRITES.value):
        raise Problem(400, "for: traffic or writes")
    return Purpose(asked)


def install_metrics(
    application: Application,
    source: MetricSource,
    path: str = "/metrics",
    *,
    everybody: Callable[[], Awaitable[str]] | None = None,
) -> None:
    """Declare the metrics page. `source` collects (perhaps from other processes, then it is an async function).
    `everybody`: the text of all processes together; `source` where that cannot be had."""
    if everybody is not None:

        @application.get(path, rights="read", documented=False)
        async def metrics_together() -> Response:
            """Numbers for Prometheus, of all processes together."""
            try:
                text = await everybody()
            except (TimeoutError, ConnectionError):
                return _page(source())  # type: ignore[arg-type]  # not a coroutine function where this is given
            return Response(text, media_type=CONTENT_TYPE_LATEST, headers={"Cache-Control": "no-store"})

    elif inspect.iscoroutinefunction(source):

        @application.get(path, rights="read", documented=False)
        async def metrics_of_all() -> Response:
            """Numbers for Prometheus."""
            return _page(await source())
    else:

        @application.get(path, rights="read", documented=False)
        def metrics() -> Response:
            """Numbers for Prometheus."""
            return _page(source())  # type: ignore[arg-type]  # not the coroutine function, which was asked above


def _page(metrics: Iterable[Metric]) -> Response:
    return Response(
        exposition(metrics), media_type=CONTENT_TYPE_LATEST, headers={"Cache-Control": "no-store"}
    )


def exposition(metrics: Iterable[Metric]) -> bytes:
    """The numbers in Prometheus' text format; metrics of one name (from several processes) become one family."""
    families: dict[str, PrometheusMetric] = {}
    for metric in metrics:
        name = metric.name.removesuffix("_total") if metric.kind == "counter" else metric.name
        family = families.get(metric.name)
        if family is None:
            family = families[metric.name] = PrometheusMetric(name, metric.help, metric.kind)
        for sample in metric.samples:
            full = sample.name
            if metric.kind == "counter" and not full.endswith("_total"):
                full += "_total"
            family.add_sample(full, dict(sample.labels), sample.value)
    return generate_latest(_Families(families))


class _Families:
    def __init__(self, families: dict[str, PrometheusMetric]) -> None:
        self._families = families

    def collect(self) -> Iterator[PrometheusMetric]:
        return iter(self._families.values())
