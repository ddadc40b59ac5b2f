"""What travels with a command: who, when, which one, and where the answer goes.

A command is carried as object and as bytes: the bus makes both, since what is encoded is decoded to prove its type.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from skerry.messages.message import Command
from skerry.messages.typed import typed
from skerry.provenance import TRACE as TRACE
from skerry.provenance import WHO as WHO

NO_HEADERS: Mapping[str, str] = {}
PLACE = "skerry-place"
"""The header of a command that was a dead letter: its number, which it keeps when it becomes one again."""


class WireEnvelope(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An envelope as it stands in a packed message: a JSON array in this order of fields."""

    id: str
    name: str
    version: int
    key: str
    body: msgspec.Raw
    sender: str = ""
    sent_at: float = 0.0
    request_hash: str = ""
    headers: dict[str, str] = {}


@dataclass(slots=True)
class Envelope:
    """One command on its way.

    `id`: UUID as 32 hex digits, the idempotency key of its effect. `sender`: the process that waits for the
    outcome ("" = nobody). `request_hash`: of the request that made it, so that one id is not used for two.
    `command`: the object, when sender and receiver share a process. `body`: the JSON bytes, when they do not.
    """

    id: str
    name: str
    version: int
    key: str
    sender: str = ""
    sent_at: float = 0.0
    request_hash: str = ""
    headers: Mapping[str, str] = field(default_factory=lambda: NO_HEADERS)
    command: Command[Any] | None = None
    body: bytes | None = None


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(list[WireEnvelope])


def encode_body(envelope: Envelope) -> bytes:
    """The command's JSON, made once and kept."""
    if envelope.body is None:
        assert envelope.command is not None
        envelope.body = typed(type(envelope.command)).encode(envelope.command)[0]
    return envelope.body


def pack(envelopes: list[Envelope]) -> bytes:
    """Several envelopes as one message body."""
    return _encoder.encode(
        [
            WireEnvelope(
                e.id, e.name, e.version, e.key, msgspec.Raw(encode_body(e)), e.sender, e.sent_at, e.request_hash,
                dict(e.headers),
            )
            for e in envelopes
        ]
    )  # fmt: skip


def unpack(data: bytes) -> list[Envelope]:
    """The reverse of `pack`. Raises msgspec.DecodeError for anything else; bodies stay undecoded."""
    return [
        Envelope(
            w.id,
            w.name,
            w.version,
            w.key,
            w.sender,
            w.sent_at,
            w.request_hash,
            w.headers,
            None,
            bytes(w.body),
        )
        for w in _decoder.decode(data)
    ]
