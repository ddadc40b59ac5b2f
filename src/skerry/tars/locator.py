"""Where objects are, for addresses without endpoints: a small contract, and a table.

The registry of the platform implements `Locator` by asking `tars.tarsregistry.QueryObj`; tests and small set-ups
use `StaticLocator`. When and how often it is asked is decided in `client`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from skerry.tars.endpoint import Endpoint, parse_endpoints


@dataclass(frozen=True, slots=True)
class Located:
    """The endpoints of an object: those that take calls, and those that are registered and down (they keep
    their place in the order that `hash` counts on). `again_seconds`: the answer is an old one, ask again after that
    time."""

    active: tuple[Endpoint, ...]
    inactive: tuple[Endpoint, ...] = ()
    again_seconds: float | None = None


class Locator(Protocol):
    """Finds the endpoints of an object."""

    async def find(self, name: str) -> Located:
        """The endpoints of `App.Server.Obj`; any exception means that the registry cannot be asked now."""
        ...


class StaticLocator:
    """A table of names and endpoint strings; may be changed while it is in use."""

    def __init__(self, table: Mapping[str, str] | None = None) -> None:
        self._table: dict[str, Located] = {}
        for name, endpoints in (table or {}).items():
            self.put(name, endpoints)

    def put(self, name: str, endpoints: str, inactive: str = "") -> None:
        """Set the endpoints of `name`. An empty text: it has none."""
        self._table[name] = Located(
            parse_endpoints(endpoints) if endpoints else (), parse_endpoints(inactive) if inactive else ()
        )

    async def find(self, name: str) -> Located:
        return self._table.get(name, Located(()))
