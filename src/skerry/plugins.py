"""Plugins: what is found by name. Ours by the table below, those of other distributions by their entry points.

    [project.entry-points."skerry.backends"]        # in the pyproject.toml of a distribution
    mysql = "acme.mysql:BACKEND"

A name leads to an object that is imported when it is needed. Ours come first and need no installed metadata, so that a
process that uses nothing else does not look through what is installed.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from skerry.errors import SettingsError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

SETTINGS = "skerry.settings"
"""Records of settings, each under the name of its table in `skerry.toml`."""
ROLES = "skerry.roles"
"""What a process can do: each a `skerry.roles.kind.RoleKind`."""
BACKENDS = "skerry.backends"
"""Journals and transports by the scheme of their URLs: each a `skerry.bus.backend.Backend`."""

OURS: dict[str, dict[str, str]] = {
    SETTINGS: {
        "server": "skerry.server.settings:ServerSettings",
        "websocket": "skerry.server.websocket:WebSocketSettings",
        "hub": "skerry.http.limits:HubSettings",
        "projector": "skerry.journal.projector:ProjectorSettings",
        "consumer": "skerry.bus.consumer:ConsumerSettings",
        "housekeeping": "skerry.roles.housekeeping:HousekeepingSettings",
        "host": "skerry.hosting.settings:HostSettings",
        "balancer": "skerry.roles.balancer:BalancerSettings",
        "proxy": "skerry.roles.proxy:ProxySettings",
        "sqlite": "skerry.backends.sqlite.settings:SqliteSettings",
        "local": "skerry.backends.local.peer:PeerSettings",
        "postgresql": "skerry.backends.postgres.settings:PostgresSettings",
        "queue": "skerry.backends.postgres.queue.settings:QueueSettings",
        "amqp": "skerry.backends.rabbitmq.settings:RabbitSettings",
    },
    BACKENDS: {
        "memory": "skerry.backends.memory.backend:BACKEND",
        "sqlite": "skerry.backends.sqlite.backend:BACKEND",
        "postgresql": "skerry.backends.postgres.backend:BACKEND",
        "local": "skerry.backends.local.backend:BACKEND",
        "amqp": "skerry.backends.rabbitmq.backend:BACKEND",
    },
    ROLES: {
        "consumer": "skerry.roles.consumer:CONSUMER",
        "server": "skerry.roles.server:SERVER",
        "gateway": "skerry.roles.server:GATEWAY",
        "host": "skerry.roles.host:HOST",
        "hosted": "skerry.roles.hosted:HOSTED",
    },
}


def ours(group: str) -> Iterator[str]:
    """The names of ours, without loading any."""
    yield from OURS.get(group, ())


@cache
def others(group: str) -> dict[str, EntryPoint]:
    """What other distributions offer, without loading it."""
    from importlib.metadata import entry_points  # most processes need no more than ours

    return {each.name: each for each in entry_points(group=group) if each.name not in OURS.get(group, ())}


def find(group: str, name: str) -> Any:
    """What stands under that name. None when nothing does. Raises SettingsError for a plugin that cannot be loaded."""
    home = OURS.get(group, {}).get(name)
    if home is not None:
        module, _, attribute = home.partition(":")
        return getattr(import_module(module), attribute)
    entry = others(group).get(name)
    if entry is None:
        return None
    try:
        return entry.load()
    except Exception as error:
        where = f"{entry.value} of {entry.dist.name if entry.dist else 'an installed distribution'}"
        raise SettingsError(name, f"{where} cannot be loaded: {type(error).__name__}: {error}") from error


def name_of(group: str, kind: type) -> str | None:
    """The name under which that class stands; None for one that is no plugin. Ours are found without loading any."""
    home = f"{kind.__module__}:{kind.__qualname__}"
    for name, each in OURS.get(group, {}).items():
        if each == home:
            return name
    return next((name for name in others(group) if find(group, name) is kind), None)


def names(group: str) -> tuple[str, ...]:
    """All names, ours first."""
    return (*ours(group), *others(group))
