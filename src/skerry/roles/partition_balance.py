"""How consumers divide the partitions among themselves: which leaves a free one to others, and which releases some.

Each tells the others, some times in a lease, how many partitions it works on. That is advice only: what is not heard
costs balance, never order, as the leases alone decide who may write. Pure: it is told what was heard, and the time.
Not here: leases, and when something is told (consumer.py).
"""

from __future__ import annotations

import msgspec

from skerry.clock import Clock

SHARING = "skerry.sharing"
"""Topic of announcements: how many partitions a consumer works on, or that it goes."""
LEFT_TO_OTHERS = 4
"""So many times in a row a consumer leaves a free partition to those with fewer, then tries to get it all the same."""
_SILENT_LEASES = 1.0
"""After so many silent leases a consumer is taken for gone: its own may be had then."""
_CALM_LEASES = 4.0
"""How long there has to be balance before giving up partitions starts with a short pause again."""
_LONGEST_PAUSE = 60.0


class ConsumerStatus(msgspec.Struct, frozen=True, array_like=True):
    """What a consumer says of itself. `held`: partitions it works on; -1: it goes. `freed`: given back just now.
    `wants`: commands that wait at it, as it does not know them ("NAME VERSION"). `knows`: of those another wants."""

    owner: str
    generation: int
    held: int
    freed: list[int] = []
    wants: list[str] = []
    knows: list[str] = []


encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(ConsumerStatus).decode


class PartitionBalance:
    """One consumer's view of all of them."""

    def __init__(self, owner: str, lease_seconds: float, clock: Clock) -> None:
        self._owner, self._lease, self._clock = owner, lease_seconds, clock
        self._others: dict[str, tuple[int, float]] = {}
        self._left: dict[int, int] = {}
        self._pause = lease_seconds
        self._next = 0.0
        self._gave_up_at = 0.0

    def heard(self, told: ConsumerStatus) -> None:
        """A consumer told of itself; one's own words are passed over."""
        if told.owner == self._owner:
            return
        if told.held < 0:
            self._others.pop(told.owner, None)
        else:
            self._others[told.owner] = told.held, self._clock.monotonic()

    @property
    def others(self) -> dict[str, int]:
        """How many partitions the others work on, of those that were heard lately."""
        since = self._clock.monotonic() - _SILENT_LEASES * self._lease
        self._others = {owner: each for owner, each in self._others.items() if each[1] >= since}
        return {owner: held for owner, (held, _) in self._others.items()}

    def may_take(self, partition: int, held: int) -> bool:
        """Whether to try for this partition now, with `held` already: those with fewer come first, for a while."""
        if held > min(self.others.values(), default=held) and self._left.get(partition, 0) < LEFT_TO_OTHERS:
            self._left[partition] = self._left.get(partition, 0) + 1
            return False
        self._left.pop(partition, None)
        return True

    def gives_up(self, held: int) -> int:
        """How many partitions to give up now, so that all have as many, or one more. One consumer at a time does, the
        one with most; with growing pauses, if it does not lead to balance (a partition rests while it moves)."""
        others, now = self.others, self._clock.monotonic()
        if held < min(others.values(), default=held) + 2:
            if now - self._gave_up_at > _CALM_LEASES * self._lease:
                self._pause = self._lease
            return 0
        most = max((count, owner) for owner, count in others.items())
        if (held, self._owner) < most or now < self._next:
            return 0
        self._gave_up_at, self._next = now, now + self._pause
        self._pause = min(self._pause * 2, _LONGEST_PAUSE)
        fair = -(-(held + sum(others.values())) // (len(others) + 1))
        return max(1, held - fair)
