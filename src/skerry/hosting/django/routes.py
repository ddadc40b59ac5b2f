"""The route of a request that Django answers under ASGI: put into its scope, as FastAPI and Starlette do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.core.handlers.asgi import ASGIHandler, ASGIRequest


@dataclass(frozen=True, slots=True)
class DjangoRoute:
    """What stands in the scope. `path`: the pattern that `urls.py` has."""

    path: str


class RoutedRequest(ASGIRequest):  # type: ignore[misc]
    """Django's request, whose scope has its route once it is known."""

    @property
    def resolver_match(self) -> Any:
        return self.__dict__.get("resolver_match")

    @resolver_match.setter
    def resolver_match(self, match: Any) -> None:
        self.__dict__["resolver_match"] = match
        if match is not None:
            self.scope["route"] = DjangoRoute(f"/{match.route}")


def tell_routes() -> None:
    """Have it in every scope from now on, unless the project has requests of its own."""
    if ASGIHandler.request_class is ASGIRequest:
        ASGIHandler.request_class = RoutedRequest
