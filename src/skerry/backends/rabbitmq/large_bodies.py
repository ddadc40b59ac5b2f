"""Large commands: their bodies are stored, and what travels names them.

A broker is slow with large messages and a quorum queue keeps each in memory, so a body above `stored_above_bytes`
goes into a `BodyStore` (the journal's database) before its command is sent, and is fetched before it is handed to the
consumer. It is stored under the command's id and a digest of its bytes: a client that uses one id for two different
bodies gets its answer from the journal, and never the one body in the place of the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import Protocol

from skerry.messages.envelope import Envelope, encode_body

STORED = "skerry-stored-body"
"""The header of an envelope whose body is stored; its value is the key in the store."""

GONE = b'"the stored body of this command is gone"'
"""What stands for a body that is not there any more: no command, so the decider says so, unless its id was decided
before (then the journal's outcome is the answer)."""


class BodyStore(Protocol):
    """Keeps bytes by key: a command's id, a point, a digest. All calls may raise `Unavailable`."""

    async def put(self, key: str, body: bytes) -> None:
        """Keep durably, until the command was decided."""
        ...

    async def get(self, key: str) -> bytes | None:
        """What was put; None when there is none (any more)."""
        ...

    async def remove(self, keys: Sequence[str]) -> None:
        """Their commands are decided. Nothing happens for what is not there."""
        ...


async def stored(envelope: Envelope, store: BodyStore) -> Envelope:
    """`envelope` with its body in the store and a reference in its place."""
    body = encode_body(envelope)
    key = f"{envelope.id}.{blake2b(body, digest_size=12).hexdigest()}"
    await store.put(key, body)
    return replace(envelope, headers={**envelope.headers, STORED: key}, body=b"null", command=None)


def is_stored(envelope: Envelope) -> bool:
    return STORED in envelope.headers


def stored_keys(envelopes: Iterable[Envelope]) -> tuple[str, ...]:
    """The keys of those bodies that are stored."""
    return tuple(envelope.headers[STORED] for envelope in envelopes if STORED in envelope.headers)


async def fetched(envelope: Envelope, store: BodyStore) -> Envelope:
    """The reverse of `stored`; with the body GONE when the store does not have it."""
    body = await store.get(envelope.headers[STORED])
    headers = {name: value for name, value in envelope.headers.items() if name != STORED}
    return replace(envelope, headers=headers, body=GONE if body is None else body)
