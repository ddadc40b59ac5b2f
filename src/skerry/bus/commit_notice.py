"""What a consumer says after a commit: its events as a hint, and an answer to everybody who asked.

Pure: it makes values of what was written. Saying them is the consumer's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from skerry.journal.epochs import Epochs
from skerry.journal.hints import Hint
from skerry.journal.journal import NewEvent, NewOutcome, Outcome, Record, Status, Writes
from skerry.messages.envelope import Envelope


@dataclass(slots=True)
class CommitNotice:
    """`hint`: None without events. `answers`: by the process that asked. `hooks`: what handlers asked to be run."""

    hint: Hint | None = None
    answers: dict[str, list[Outcome]] = field(default_factory=dict)
    hooks: list[Callable[[], None]] = field(default_factory=list)


def hint_of(events: Sequence[NewEvent], epoch: str, base: int, before: str = "") -> Hint | None:
    """Events that were committed after the offset `base`, with their records; None when there are none. `before`: whose
    event stands at `base`, if that is known."""
    if not events:
        return None
    records = [
        Record(
            base + n,
            e.command_id,
            e.key,
            e.name,
            e.version,
            e.at,
            e.more,
            msgspec.Raw(e.data),
            e.who,
            e.trace,
        )
        for n, e in enumerate(events, 1)
    ]
    return Hint(epoch, base + 1, base + len(records), records, before)


def answers_to(
    envelopes: Sequence[Envelope], known: Mapping[str, Outcome], writes: Writes, base: int, epochs: Epochs
) -> dict[str, list[Outcome]]:
    """Outcomes of these commands by sender. `known`: of those that were decided before; `writes`: of this commit,
    after the offset `base`. A plain success is not answered: its event, which everybody hears, is the answer."""
    fresh = {new.command_id: new for new in writes.outcomes}
    decided = dict(known)
    answers: dict[str, list[Outcome]] = {}
    for envelope in envelopes:
        new = fresh.pop(envelope.id, None)
        if new is not None:
            decided[envelope.id] = _outcome(new, base, epochs)
            if new.events and new.result is None and not new.request_hash:
                continue
        outcome = decided.get(envelope.id)  # none yet for one that waits
        if envelope.sender and outcome is not None:
            asked, stored = envelope.request_hash, outcome.request_hash
            if asked and stored and asked != stored:
                outcome = msgspec.structs.replace(outcome, status=Status.REJECTED, kind="different_request")
            answers.setdefault(envelope.sender, []).append(outcome)
    return answers


def _outcome(new: NewOutcome, base: int, epochs: Epochs) -> Outcome:
    result = msgspec.Raw(new.result) if new.result is not None else None
    offset, status = base + new.events_before, new.status
    return Outcome(
        new.command_id, status, offset, new.events, new.reason, new.kind, result, new.request_hash,
        epoch=epochs.named(offset).epoch,
    )  # fmt: skip
