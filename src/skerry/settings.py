"""The records of settings, each of one part: what `App(settings=...)` takes, and `settings.of(...)` gives.

    app = App("shop", settings=[HubSettings(replay_events=50_000), PostgresSettings(connections=20)])

Names are loaded when they are first used. Not here: their options, which stand with each part.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from skerry.faces import lazily

if TYPE_CHECKING:
    from skerry.backends.local.peer import PeerSettings as PeerSettings
    from skerry.backends.postgres.queue.settings import QueueSettings as QueueSettings
    from skerry.backends.postgres.settings import PostgresSettings as PostgresSettings
    from skerry.backends.rabbitmq.settings import RabbitSettings as RabbitSettings
    from skerry.backends.sqlite.settings import SqliteSettings as SqliteSettings
    from skerry.bus.consumer import ConsumerSettings as ConsumerSettings
    from skerry.hosting.settings import HostSettings as HostSettings
    from skerry.http.limits import HubSettings as HubSettings
    from skerry.journal.projector import ProjectorSettings as ProjectorSettings
    from skerry.kernel.settings import Settings as Settings
    from skerry.options import option as option
    from skerry.roles.balancer import BalancerSettings as BalancerSettings
    from skerry.roles.housekeeping import HousekeepingSettings as HousekeepingSettings
    from skerry.roles.proxy import ProxySettings as ProxySettings
    from skerry.server.settings import ServerSettings as ServerSettings
    from skerry.server.websocket import WebSocketSettings as WebSocketSettings

_HOME = {
    "BalancerSettings": "skerry.roles.balancer",
    "ConsumerSettings": "skerry.bus.consumer",
    "HostSettings": "skerry.hosting.settings",
    "HousekeepingSettings": "skerry.roles.housekeeping",
    "HubSettings": "skerry.http.limits",
    "PeerSettings": "skerry.backends.local.peer",
    "PostgresSettings": "skerry.backends.postgres.settings",
    "ProjectorSettings": "skerry.journal.projector",
    "ProxySettings": "skerry.roles.proxy",
    "QueueSettings": "skerry.backends.postgres.queue.settings",
    "RabbitSettings": "skerry.backends.rabbitmq.settings",
    "ServerSettings": "skerry.server.settings",
    "Settings": "skerry.kernel.settings",
    "SqliteSettings": "skerry.backends.sqlite.settings",
    "WebSocketSettings": "skerry.server.websocket",
    "option": "skerry.options",
}

__all__ = sorted(_HOME)
__getattr__ = lazily(__name__, _HOME)
