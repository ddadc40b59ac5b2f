"""Events that somebody here is declared to hear and could not: which listener, renderer or reactor, which event, why.

Each pair of consumer and event name is logged once, counted for `/metrics`, and told by readiness until the process is
replaced: what was not heard is lost to that consumer, and only the operator knows what that means. Names of events
that nothing here declares are counted beside it; they are no failure, but a journal full of them is another
application's. Not here: projections, which stop instead (`skerry.journal.memory`).
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from skerry.errors import MessageError
from skerry.journal.correcting import RESERVED, read_correction
from skerry.journal.journal import Record
from skerry.journal.memory import cure_of, reason_of
from skerry.messages.message import MessageTypes
from skerry.telemetry import Registry

logger = logging.getLogger("skerry.events")
MOST_NAMES = 100
"""So many unknown names are told apart; what comes beyond them is counted as `other`."""


@dataclass(frozen=True, slots=True)
class Loss:
    """The first event of that name which the consumer could not take, fit for everybody's eyes."""

    consumer: str
    event: str
    offset: int
    reason: str
    cure: str

    def __str__(self) -> str:
        return f"{self.consumer} did not get event {self.offset} ({self.event}): {self.reason}; {self.cure}"


class Losses:
    """What one process has lost since it started. `found`: those that count for readiness."""

    def __init__(self, types: MessageTypes, registry: Registry) -> None:
        self._types = types
        self.found: dict[tuple[str, str], Loss] = {}
        self.unknown: Counter[str] = Counter()
        self._lost = registry.counters(
            "skerry_events_lost_total", "Events that a consumer could not take.", "consumer", "event"
        )
        self._strange = registry.counters(
            "skerry_events_unknown_total", "Events of names that nothing here declares.", "event"
        )

    def note(self, consumers: Iterable[str], record: Record, error: Exception) -> None:
        """These could not take the event. What does not decode stays a matter for readiness; an exception of the
        consumer's own is counted, and reported by its caller."""
        for consumer in consumers:
            self._lost.labels(consumer, record.name).inc()
            place = (consumer, record.name)
            if isinstance(error, MessageError) and place not in self.found:
                loss = Loss(consumer, record.name, record.offset, reason_of(error), cure_of(error))
                self.found[place] = loss
                logger.error("%s (told once; /metrics counts)", loss)

    def look(self, records: Iterable[Record]) -> None:
        """These were read; count the ones that nobody here knows."""
        for record in records:
            if record.name.startswith(RESERVED):
                self._forget(record)
            elif record.name not in self._types:
                known = record.name in self.unknown or len(self.unknown) < MOST_NAMES
                name = record.name if known else "other"
                self.unknown[name] += 1
                self._strange.labels(name).inc()

    def _forget(self, record: Record) -> None:
        """An event that was corrected is not lost any more: an operator has corrected it."""
        corrected = read_correction(record)
        if corrected is not None and corrected.offset:
            for place in [at for at, loss in self.found.items() if loss.offset == corrected.offset]:
                del self.found[place]

    def told(self) -> Iterator[str]:
        """The unknown names with their numbers, the most frequent first."""
        for name, number in self.unknown.most_common(5):
            yield f"{name} ({number})"
