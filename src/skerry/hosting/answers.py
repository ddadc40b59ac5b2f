"""How many answers a hosted application has given, by route and status, and how long they took."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Any

from skerry.telemetry import Labels, Metric, Sample

MOST = 1_000
"""Routes with a status of their own; further ones count under the place of the application."""


class Answers:
    """`place`: the path where the application lies, which stands for a route that nobody knows."""

    def __init__(self, place: str) -> None:
        self.place = place
        self._counts: dict[tuple[str, int], list[float]] = {}

    def note(self, route: str, status: int, seconds: float) -> None:
        """One more; `route` may be empty, `status` is 0 for one that was broken off."""
        key = (route or self.place, status)
        counted = self._counts.get(key)
        if counted is None:
            if len(self._counts) >= MOST:
                key = (self.place, status)
            counted = self._counts.setdefault(key, [0, 0.0])
        counted[0] += 1
        counted[1] += seconds

    @property
    def total(self) -> int:
        return int(sum(number for number, _ in self._counts.values()))

    def by_route(self) -> dict[str, int]:
        """How many each route has given."""
        found: dict[str, int] = {}
        for (route, _), (number, _) in self._counts.items():
            found[route] = found.get(route, 0) + int(number)
        return found

    def collect(self, label: Labels) -> Iterator[Metric]:
        counted = sorted(self._counts.items())
        for name, text, which in (
            ("skerry_host_answers_total", "Answers by route and status; status 0: broken off.", 0),
            ("skerry_host_seconds_total", "Seconds that the application took for these answers.", 1),
        ):
            yield Metric(name, "counter", text, tuple(
                Sample(name, (*label, ("route", route), ("status", str(status))), numbers[which])
                for (route, status), numbers in counted
            ))  # fmt: skip


def template_of(scope: MutableMapping[str, Any]) -> str:
    """The template of the route of FastAPI or Starlette that has answered; empty when there is none."""
    route = scope.get("route")
    path = getattr(route, "path", None)
    if not isinstance(path, str):
        return ""
    outside = scope.get("app_root_path")
    if outside is None:
        return path
    inner: str = scope["root_path"][len(outside) :]  # of what is mounted within the application
    return inner if hasattr(route, "routes") else inner + path
