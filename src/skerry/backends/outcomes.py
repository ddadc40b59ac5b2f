"""Outcomes as they travel. msgspec cannot read `Raw | None` back, so the result goes as bytes.

Pure.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from skerry.journal.journal import Outcome, Status


class WireOutcome(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An outcome with its result's JSON as bytes."""

    command_id: str
    status: Status
    offset: int
    events: int
    reason: str
    kind: str
    result: bytes | None
    request_hash: str
    at: float
    epoch: str = ""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[WireOutcome])


def to_wire(outcomes: Sequence[Outcome]) -> list[WireOutcome]:
    return [
        WireOutcome(
            o.command_id, o.status, o.offset, o.events, o.reason, o.kind,
            None if o.result is None else bytes(o.result), o.request_hash, o.at, o.epoch,
        )
        for o in outcomes
    ]  # fmt: skip


def from_wire(wired: Sequence[WireOutcome]) -> list[Outcome]:
    return [
        Outcome(
            w.command_id, w.status, w.offset, w.events, w.reason, w.kind,
            None if w.result is None else msgspec.Raw(w.result), w.request_hash, w.at, w.epoch,
        )
        for w in wired
    ]  # fmt: skip


def encode_outcomes(outcomes: Sequence[Outcome]) -> bytes:
    return _encoder.encode(to_wire(outcomes))


def outcomes_of(data: bytes) -> list[Outcome]:
    """The reverse of `encode_outcomes`. Raises msgspec.DecodeError for anything else."""
    return from_wire(_decoder.decode(data))
