"""RabbitMQ: commands in quorum queues, events as hints through one exclusive queue per process (extra `rabbitmq`).

Names are loaded when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from skerry.faces import lazily

if TYPE_CHECKING:
    from skerry.backends.rabbitmq.settings import RabbitSettings as RabbitSettings
    from skerry.backends.rabbitmq.topology import Topology as Topology

_HOME = {
    "RabbitSettings": "skerry.backends.rabbitmq.settings",
    "Topology": "skerry.backends.rabbitmq.topology",
}

__all__ = sorted(_HOME)
__getattr__ = lazily(__name__, _HOME)
