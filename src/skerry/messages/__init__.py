"""What is said: commands, queries and events, their envelopes and their bytes.

Names are loaded when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from skerry.faces import lazily

if TYPE_CHECKING:
    from skerry.messages.message import Command as Command
    from skerry.messages.message import Event as Event
    from skerry.messages.message import Message as Message
    from skerry.messages.message import MessageTypes as MessageTypes
    from skerry.messages.message import Query as Query
    from skerry.messages.serializer import Serializer as Serializer

_HOME = {
    "Command": "skerry.messages.message",
    "Event": "skerry.messages.message",
    "Message": "skerry.messages.message",
    "MessageTypes": "skerry.messages.message",
    "Query": "skerry.messages.message",
    "Serializer": "skerry.messages.serializer",
}

__all__ = sorted(_HOME)
__getattr__ = lazily(__name__, _HOME)
