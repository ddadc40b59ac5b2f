"""A channel whose deliveries, confirms and returns are plain calls, in the order of the wire.

aiormq gives each delivery a task and each confirm a future; here they are handed on at once. This file knows the inside
of aiormq's Channel (7.x). Not here: the connection (link.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aiormq.channel import Channel
from pamqp import commands as spec
from pamqp.header import ContentHeader

NO_HEADERS: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Incoming:
    """One message as delivered. `tag` is of its channel; `kind` and `headers` are AMQP properties."""

    tag: int
    redelivered: bool
    kind: str
    body: bytes
    headers: Mapping[str, Any]


class LinkChannel(Channel):
    """A channel whose deliveries, confirms and returns are plain calls. Set the handlers before they can come."""

    on_delivery: Callable[[Incoming], None] | None = None
    on_confirm: Callable[[int, bool, bool], None] | None = None
    """(tag, all up to it, whether the broker took it)"""
    on_return: Callable[[str], None] | None = None

    async def _on_deliver_frame(self, frame: spec.Basic.Deliver) -> None:
        header, body = await self._content()
        if self.on_delivery is not None:
            properties = header.properties
            kind, headers = properties.message_type or "", properties.headers or NO_HEADERS
            self.on_delivery(Incoming(frame.delivery_tag or 0, bool(frame.redelivered), kind, body, headers))

    async def _on_return_frame(self, frame: spec.Basic.Return) -> None:
        await self._content()
        if self.on_return is not None:
            self.on_return(f"{frame.reply_text} for '{frame.routing_key}' at exchange '{frame.exchange}'")

    async def _on_confirm_frame(self, frame: spec.Basic.Ack | spec.Basic.Nack | spec.Basic.Reject) -> None:
        if self.on_confirm is not None:
            self.on_confirm(
                frame.delivery_tag or 0,
                bool(getattr(frame, "multiple", False)),
                isinstance(frame, spec.Basic.Ack),
            )

    async def _content(self) -> tuple[ContentHeader, bytes]:
        header: Any = await self._get_frame()
        parts: list[bytes] = []
        size = 0
        while size < header.body_size:
            part: Any = await self._get_frame()
            parts.append(part.value)
            size += len(part.value)
        return header, parts[0] if len(parts) == 1 else b"".join(parts)
