"""A timing wheel for pings: one timer for all connections instead of one each. Pure: it is told each tick.

Which member is due is decided here; what a ping is and what happens to those who are silent is the caller's.
"""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")


class Wheel(Generic[T]):
    """Members, each due once per turn of `slots` ticks, spread evenly; `grace` ticks after that they are checked.

    A member belongs to one slot until it is removed. `tick` returns (who is due now, who was due `grace` ticks ago).
    """

    def __init__(self, slots: int = 25, grace: int = 8) -> None:
        if not 0 < grace < slots:
            raise ValueError(f"grace must lie between 0 and {slots} ticks, not {grace}")
        self._slots: list[set[T]] = [set() for _ in range(slots)]
        self._grace = grace
        self._hand = 0
        self._next = 0

    def add(self, member: T) -> int:
        """Take in a member, due after half a turn at the earliest; returns its slot, which `remove` wants."""
        # Going around the far half evenly keeps a crowd that arrived in one moment from being due in one moment.
        half = len(self._slots) // 2
        self._next = (self._next + 1) % (len(self._slots) - half)
        slot = (self._hand + half + self._next) % len(self._slots)
        self._slots[slot].add(member)
        return slot

    def remove(self, member: T, slot: int) -> None:
        self._slots[slot].discard(member)

    def tick(self) -> tuple[list[T], list[T]]:
        """Advance by one tick."""
        self._hand = (self._hand + 1) % len(self._slots)
        return list(self._slots[self._hand]), list(self._slots[(self._hand - self._grace) % len(self._slots)])

    def __len__(self) -> int:
        return sum(map(len, self._slots))
