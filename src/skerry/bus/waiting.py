"""Commands that wait: of a type (or a newer version) that this consumer does not know, and whatever comes behind them
with the same key.

In a rolling upgrade a sender may be a release ahead of the consumer. Its command is kept as a letter that waits, in
the journal, so that the queue goes on; the key waits with it, and order holds. A consumer that knows the type decides
what waits, in order; after some minutes nobody knows it, and it is a dead letter. A letter of a handler that holds
keeps its key in the same way, until somebody retries or drops it. Pure: it tells which command has to wait behind
which letter. Reading and writing letters is the consumer's.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from skerry.bus.decider import letter_of
from skerry.errors import MessageError
from skerry.journal.journal import WAITS, DeadLetter, LetterHead
from skerry.messages.envelope import PLACE, Envelope

_SENDER = "skerry-sender"
_HASH = "skerry-hash"
_OURS = frozenset((WAITS, _SENDER, _HASH))
_LAST = 2**63


@dataclass(slots=True)
class Line:
    """Which letter stands first at each key: `failed`, one of any kind, and `waiting`. As of the journal, and as this
    batch goes on. The number is its place."""

    failed: dict[str, tuple[int, str]] = field(default_factory=dict)
    waiting: dict[str, tuple[int, str]] = field(default_factory=dict)

    @classmethod
    def of(cls, heads: Iterable[LetterHead]) -> Line:
        line = cls()
        for head in sorted(heads, key=lambda head: head.number):
            kind = line.waiting if WAITS in head.headers else line.failed
            kind.setdefault(head.key, (head.number, head.command_id))
        return line

    def waits_behind(self, envelope: Envelope) -> str:
        """The id of a waiting letter that this command may not overtake; "" for none."""
        return _before(self.waiting.get(envelope.key), envelope)

    def held_behind(self, envelope: Envelope) -> str:
        """The id of a failed one; what that means is the handler's `hold`."""
        return _before(self.failed.get(envelope.key), envelope)

    def add(self, letter: DeadLetter) -> None:
        """A letter of this batch: behind all that are stored, unless it had a place."""
        kind = self.waiting if WAITS in letter.headers else self.failed
        kind.setdefault(letter.key, (letter.number or _LAST - 1, letter.command_id))


def _before(first: tuple[int, str] | None, envelope: Envelope) -> str:
    if first is None or first[1] == envelope.id or first[0] >= place_of(envelope):
        return ""
    return first[1]


def place_of(envelope: Envelope) -> int:
    """The number that this command had as a letter; beyond all others for one that was no letter."""
    place = envelope.headers.get(PLACE, "")
    return int(place) if place.isdecimal() else _LAST


def letter_that_waits(envelope: Envelope, error: MessageError, at: float, seconds: float) -> DeadLetter:
    """The letter that it becomes. It keeps what has to be known when it is decided."""
    more = {WAITS: f"{at + seconds:.3f}", _SENDER: envelope.sender, _HASH: envelope.request_hash}
    kept = Envelope(
        envelope.id,
        envelope.name,
        envelope.version,
        envelope.key,
        headers={**envelope.headers, **{name: value for name, value in more.items() if value}},
        command=envelope.command,
        body=envelope.body,
    )
    return letter_of(kept, f"waits: {error}", "", at)


def envelope_of(letter: DeadLetter) -> Envelope:
    """The command of a letter, as it was sent, with its place."""
    headers = {name: value for name, value in letter.headers.items() if name not in _OURS}
    if letter.number:
        headers[PLACE] = str(letter.number)
    return Envelope(
        letter.command_id,
        letter.name,
        letter.version,
        letter.key,
        sender=letter.headers.get(_SENDER, ""),
        request_hash=letter.headers.get(_HASH, ""),
        headers=headers,
        body=letter.body,
    )
