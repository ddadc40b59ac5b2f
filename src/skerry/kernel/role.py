"""The contract of a role: something that a process does, that can be started, held and stopped; and what some roles
can do besides. How a role is made known: roles/kind.py."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol, runtime_checkable

from skerry.http.health import Check
from skerry.telemetry import Metric


class Role(Protocol):
    """A role of a process. All calls come from the runtime, one at a time."""

    @property
    def name(self) -> str: ...

    async def start(self) -> None:
        """Return when the role works. If it raises or is cancelled, `stop` is called."""
        ...

    async def hold(self) -> None:
        """The process failed and is being repaired: accept no new connection or command, keep the existing
        ones."""
        ...

    async def resume(self) -> None:
        """The reverse of `hold`."""
        ...

    async def stop(self) -> None:
        """Finish what is in progress within the drain time, and release everything. Never raises for being late."""
        ...


class Listening(Protocol):
    """A role that connections come to, as its kind says (`RoleKind.listens`). Before it starts it is given `sockets` to
    accept on, or `join`, which makes a link to the balancer that hands connections in."""

    sockets: list[socket.socket]
    join: Callable[[], socket.socket] | None

    @property
    def joined(self) -> bool:
        """Whether connections come in: always where no balancer hands them over."""
        ...

    @property
    def addresses(self) -> list[str]:
        """Where it listens, as URLs."""
        ...


@runtime_checkable
class Draining(Protocol):
    """A role that lets work under way end when it stops, for `drain` seconds at most."""

    drain: float


@runtime_checkable
class Deciding(Protocol):
    """A role that decides commands."""

    @property
    def troubles(self) -> list[str]:
        """What keeps it from its work just now, for readiness."""
        ...


@runtime_checkable
class Reporting(Protocol):
    """A role with something to tell of itself."""

    def gauges(self) -> dict[str, float | str]:
        """For `skerry ps`."""
        ...

    def collect(self) -> Iterable[Metric]:
        """Its numbers, beside those that it has registered."""
        ...


@runtime_checkable
class Checking(Protocol):
    """A role that knows of something else that makes its process ready, or not."""

    def checks(self) -> Mapping[str, Check]:
        """By their names."""
        ...
