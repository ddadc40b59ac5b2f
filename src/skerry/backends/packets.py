"""What travels between processes besides single envelopes, and how it is cut to size. Pure: bytes in, bytes out.

Bodies are JSON, so that any broker's console shows them. The names of their kinds travel beside them (RabbitMQ: the
property `type`).
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from skerry.backends.outcomes import WireOutcome, from_wire, to_wire
from skerry.bus.transport import MAX_HINT_BYTES, Announcement
from skerry.journal.hints import Hint
from skerry.journal.journal import Outcome, Record
from skerry.messages.envelope import Envelope, encode_body

COMMANDS = "skerry.commands.1"
HINT = "skerry.hint.1"
ANSWER = "skerry.answer.1"
ANNOUNCEMENT = "skerry.announcement.1"
BEAT = "skerry.beat.1"

ENVELOPE_BYTES = 256
"""About what an envelope adds to its body: an estimate for cutting, never a promise."""
_RECORD_BYTES = 128
_ANSWER_OUTCOMES = 500


class _Answer(msgspec.Struct, frozen=True, array_like=True, gc=False):
    epoch: str
    outcomes: list[WireOutcome]


class _Announcement(msgspec.Struct, frozen=True, array_like=True, gc=False):
    topic: str
    headers: dict[str, str]
    payload: bytes


_encode = msgspec.json.Encoder().encode
_hint = msgspec.json.Decoder(Hint)
_answer = msgspec.json.Decoder(_Answer)
_announcement = msgspec.json.Decoder(_Announcement)


def encode_hint(hint: Hint, most: int = MAX_HINT_BYTES) -> Iterator[bytes]:
    """The bodies that tell `hint`, each of `most` bytes: cut between records; a record above that goes as its
    position alone."""
    records = hint.records
    if not records:
        yield _encode(hint)
        return
    before = hint.before
    for part in _cut(records, most * 3 // 4):
        told = Hint(hint.epoch, part[0].offset, part[-1].offset, part, before)
        body = _encode(told)
        if len(body) > most:
            body = _encode(Hint(hint.epoch, told.first, told.last, None, before))
        yield body
        before = part[-1].command_id


def _cut(records: list[Record], most: int) -> Iterator[list[Record]]:
    part: list[Record] = []
    size = 0
    for record in records:
        needs = len(bytes(record.data)) + len(record.key) + len(record.name) + _RECORD_BYTES
        if part and size + needs > most:
            yield part
            part, size = [], 0
        part.append(record)
        size += needs
    if part:
        yield part


def decode_hint(body: bytes) -> Hint:
    return _hint.decode(body)


def encode_answer(outcomes: list[Outcome], epoch: str) -> Iterator[bytes]:
    """The bodies that tell these outcomes."""
    for start in range(0, len(outcomes), _ANSWER_OUTCOMES):
        yield _encode(_Answer(epoch, to_wire(outcomes[start : start + _ANSWER_OUTCOMES])))


def decode_answer(body: bytes) -> tuple[list[Outcome], str]:
    answer = _answer.decode(body)
    return from_wire(answer.outcomes), answer.epoch


def encode_announcement(announcement: Announcement) -> bytes:
    return _encode(_Announcement(announcement.topic, announcement.headers, announcement.payload))


def decode_announcement(body: bytes) -> Announcement:
    said = _announcement.decode(body)
    return Announcement(said.topic, said.payload, said.headers)


def cut_pack(envelopes: list[Envelope], max_commands: int, max_bytes: int) -> Iterator[list[Envelope]]:
    """The same envelopes in order, in groups of at most `max_commands` and about `max_bytes` (one at least)."""
    part: list[Envelope] = []
    size = 0
    for envelope in envelopes:
        needs = len(encode_body(envelope)) + len(envelope.key) + ENVELOPE_BYTES
        if part and (len(part) >= max_commands or size + needs > max_bytes):
            yield part
            part, size = [], 0
        part.append(envelope)
        size += needs
    if part:
        yield part
