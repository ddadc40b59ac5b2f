"""Faults of fan-out, by seed: hints that are dropped, doubled, swapped or late.

    faults = HintFaults(seed=7, drop=0.1, double=0.1, swap=0.1, delay=0.1)
    transport = FaultyTransport(hub.endpoint("server"), faults)

Only hints suffer, because only hints may: commands and their acknowledgements pass untouched. The same seed and the
same hints give the same faults, whatever the clock does: a late hint comes after some later ones. Not here: broken
wires (proxy.py), killed brokers (broker.py).
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from skerry.bus.transport import Announcement, Commands, Transport
from skerry.journal.hints import Hint
from skerry.journal.journal import Outcome
from skerry.messages.envelope import Envelope

MAX_LATE = 5
"""A late hint comes after at most so many later ones."""


@dataclass(slots=True)
class HintFaults:
    """Decides, hint by hint. Probabilities from 0 to 1 per hint; at most one fault befalls each. Pure but for its
    own random numbers. `seed` stands in every failure that a test prints."""

    seed: int
    drop: float = 0.0
    double: float = 0.0
    swap: float = 0.0
    delay: float = 0.0
    happened: dict[str, int] = field(default_factory=dict)
    _rng: random.Random = field(init=False, repr=False)
    _late: list[tuple[int, Hint]] = field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        chances = (self.drop, self.double, self.swap, self.delay)
        if min(chances) < 0 or sum(chances) > 1:
            raise ValueError(f"the probabilities must be positive and at most 1 together, not {chances}")
        self._rng = random.Random(self.seed)

    def feed(self, hint: Hint) -> list[Hint]:
        """The hints that arrive when `hint` is sent: none, it, it twice, and late ones whose turn has come."""
        now = self._decide(hint)
        self._late = [(turns - 1, late) for turns, late in self._late]
        due = [late for turns, late in self._late if turns < 0]
        self._late = [(turns, late) for turns, late in self._late if turns >= 0]
        if now is None:
            return due
        return now + due

    def flush(self) -> list[Hint]:
        """The hints that are still late, now."""
        late = [hint for _, hint in self._late]
        self._late.clear()
        return late

    def _decide(self, hint: Hint) -> list[Hint] | None:
        chance = self._rng.random()
        for name, probability in (("drop", self.drop), ("double", self.double), ("swap", self.swap)):
            if chance < probability:
                self._count(name)
                if name == "swap":
                    self._late.append((1, hint))
                    return None
                return [] if name == "drop" else [hint, hint]
            chance -= probability
        if chance < self.delay:
            self._count("delay")
            self._late.append((self._rng.randint(2, MAX_LATE), hint))
            return None
        return [hint]

    def _count(self, name: str) -> None:
        self.happened[name] = self.happened.get(name, 0) + 1


class FaultyTransport:
    """A transport whose subscribers hear through `faults`; everything else is the inner transport's."""

    def __init__(self, inner: Transport, faults: HintFaults) -> None:
        self.inner, self.faults = inner, faults
        self._listeners: dict[int, Callable[[Hint], None]] = {}
        self._numbers = 0
        self._end: Callable[[], None] | None = None

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def connected(self) -> bool:
        return self.inner.connected

    @property
    def trouble(self) -> str | None:
        return self.inner.trouble

    @property
    def accepts_early(self) -> bool:
        return self.inner.accepts_early

    async def start(self) -> None:
        await self.inner.start()

    async def stop(self) -> None:
        await self.inner.stop()

    def send(self, envelopes: list[Envelope], partition: int) -> Awaitable[None]:
        return self.inner.send(envelopes, partition)

    def commands(self, partition: int) -> Awaitable[Commands]:
        return self.inner.commands(partition)

    def publish(self, hint: Hint) -> None:
        self.inner.publish(hint)

    def subscribe(self, listener: Callable[[Hint], None]) -> Callable[[], None]:
        """All listeners of this transport suffer the same faults."""
        if self._end is None:
            self._end = self.inner.subscribe(self._hear)
        self._numbers += 1
        key = self._numbers
        self._listeners[key] = listener

        def end() -> None:
            self._listeners.pop(key, None)

        return end

    def answer(self, sender: str, outcomes: list[Outcome], epoch: str) -> None:
        self.inner.answer(sender, outcomes, epoch)

    def answers(self, listener: Callable[[list[Outcome], str], None]) -> Callable[[], None]:
        return self.inner.answers(listener)

    def announce(self, announcement: Announcement) -> None:
        self.inner.announce(announcement)

    def announcements(self, listener: Callable[[Announcement], None]) -> Callable[[], None]:
        return self.inner.announcements(listener)

    def flush(self) -> None:
        """Let everything late be heard now."""
        self._tell(self.faults.flush())

    def _hear(self, hint: Hint) -> None:
        self._tell(self.faults.feed(hint))

    def _tell(self, hints: list[Hint]) -> None:
        for hint in hints:
            for listener in list(self._listeners.values()):
                listener(hint)
