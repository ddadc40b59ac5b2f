"""Which of several equals gets the next piece of work.

Pure: a balancer knows nodes and numbers, it opens no connection and reads no clock. `tars` asks it for an
endpoint, the process balancer for a worker. Health is not decided here: the caller passes `usable`, and a
node that is not usable now is passed over without being forgotten.

Nodes are any hashable values. All balancers share one shape: `pick(key=None, usable=None)` gives a node or
None when there is none, `replace(nodes)` changes the set. A key is an integer (see `hash_code` for text);
balancers that do not route by key ignore it.

Sources: the Tars client rules (round robin, static weight, tars_hash, tars_consistent_hash); ketama as
TarsCpp draws it.
"""

from __future__ import annotations

import bisect
import hashlib
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Generic, Protocol, TypeVar

N = TypeVar("N", bound=Hashable)
Usable = Callable[[N], bool]

_UINT32 = 0xFFFF_FFFF
_UINT64 = 0xFFFF_FFFF_FFFF_FFFF


class Balancer(Protocol[N]):
    """What every balancer here does; write your own with these two methods."""

    def pick(self, key: int | None = None, usable: Usable[N] | None = None) -> N | None:
        """The node for the next piece of work, None when no node is usable."""
        ...

    def replace(self, nodes: Iterable[N]) -> None:
        """From now on these are the nodes. A node that stays keeps what is known about it."""
        ...


def hash_code(value: int | str | bytes) -> int:
    """A routing key as an integer: an int is its own code, text and bytes give 64 bits of their MD5.

    Stable between processes and machines, which `hash()` is not.
    """
    if isinstance(value, int):
        return value
    raw = value.encode("utf-8") if isinstance(value, str) else value
    return int.from_bytes(hashlib.md5(raw, usedforsecurity=False).digest()[:8], "big")


class RoundRobin(Generic[N]):
    """One after the other. `start` is the index of the first (a client gives a random one, so that many
    clients that start together do not all begin with the same node)."""

    def __init__(self, nodes: Iterable[N] = (), start: int = 0) -> None:
        self._nodes: tuple[N, ...] = tuple(nodes)
        self._next = start

    def replace(self, nodes: Iterable[N]) -> None:
        self._nodes = tuple(nodes)

    def pick(self, key: int | None = None, usable: Usable[N] | None = None) -> N | None:
        nodes = self._nodes
        count = len(nodes)
        for _ in range(count):
            index = self._next % count
            self._next = index + 1
            node = nodes[index]
            if usable is None or usable(node):
                return node
        return None


class LeastBusy(Generic[N]):
    """The node with the least work under way, as `busy(node)` tells; equals take turns."""

    def __init__(self, busy: Callable[[N], int], nodes: Iterable[N] = ()) -> None:
        self._busy = busy
        self._nodes: tuple[N, ...] = tuple(nodes)
        self._next = 0

    def replace(self, nodes: Iterable[N]) -> None:
        self._nodes = tuple(nodes)

    def pick(self, key: int | None = None, usable: Usable[N] | None = None) -> N | None:
        nodes = self._nodes
        count = len(nodes)
        best: N | None = None
        least = found_at = 0
        for step in range(count):
            index = (self._next + step) % count
            node = nodes[index]
            if usable is not None and not usable(node):
                continue
            work = self._busy(node)
            if best is None or work < least:
                best, least, found_at = node, work, index
        if best is not None:
            self._next = found_at + 1
        return best


class Weighted(Generic[N]):
    """Turns in proportion to the weights, spread evenly (smooth weighted round robin).

    Of nodes with weights 5, 1 and 1 seven picks give a a b a c a a, never five times a in a row. A weight
    of 0 or less never gets a turn. A node that is not usable gathers no credit meanwhile, so it is not
    flooded when it comes back.
    """

    def __init__(self, weight: Callable[[N], int], nodes: Iterable[N] = ()) -> None:
        self._weight = weight
        self._credit: dict[N, int] = {}
        self.replace(nodes)

    def replace(self, nodes: Iterable[N]) -> None:
        old = self._credit
        self._credit = {node: old.get(node, 0) for node in nodes if self._weight(node) > 0}

    def pick(self, key: int | None = None, usable: Usable[N] | None = None) -> N | None:
        credit = self._credit
        total = 0
        best: N | None = None
        for node in credit:
            if usable is not None and not usable(node):
                continue
            weight = self._weight(node)
            total += weight
            credit[node] += weight
            if best is None or credit[node] > credit[best]:
                best = node
        if best is not None:
            credit[best] -= total
        return best


class HashModulo(Generic[N]):
    """`tars_hash`: node number `key mod N`, as an unsigned 64-bit number, in the given (sorted) order.

    A node that is not usable is replaced by `key mod M` over the rest, each failing one dropped in turn, so a
    sick node moves its own keys only. Without a key it takes turns.
    """

    def __init__(self, nodes: Iterable[N] = ()) -> None:
        self._nodes: tuple[N, ...] = ()
        self._turns: RoundRobin[N] = RoundRobin()
        self.replace(nodes)

    def replace(self, nodes: Iterable[N]) -> None:
        self._nodes = tuple(nodes)
        self._turns.replace(self._nodes)

    def pick(self, key: int | None = None, usable: Usable[N] | None = None) -> N | None:
        if key is None:
            return self._turns.pick(None, usable)
        left: Sequence[N] = self._nodes
        code = key & _UINT64
        while left:
            node = left[code % len(left)]
            if usable is None or usable(node):
                return node
            left = [other for other in left if other is not node]
        return None


class ConsistentHash(Generic[N]):
    """A ketama ring, drawn exactly as TarsCpp draws it, so that both send a key to the same host.

    Per label `weight / 4` virtual nodes (at least one; weight 100 when none is given), named `label_j`; the
    MD5 of that name gives four points, little-endian uint32 each. A key goes to the first point at or after
    its low 32 bits, around the end to the first. TarsCpp's label is the host alone, and of two nodes on one
    host it forgets one: here nodes that share a label share its points, and the key picks among them.
    A node that is not usable hands its keys to the next point on the ring; the others keep theirs.
    """

    def __init__(
        self,
        nodes: Iterable[N] = (),
        label: Callable[[N], str] = str,
        weight: Callable[[N], int] = lambda _node: 100,
    ) -> None:
        self._label, self._weight = label, weight
        self._points: list[int] = []
        self._owners: list[tuple[N, ...]] = []
        self._turns: RoundRobin[N] = RoundRobin()
        self.replace(nodes)

    def replace(self, nodes: Iterable[N]) -> None:
        listed = tuple(nodes)
        self._turns.replace(listed)
        shared: dict[str, list[N]] = {}
        for node in listed:
            shared.setdefault(self._label(node), []).append(node)
        ring: dict[int, tuple[N, ...]] = {}
        for label, owners in shared.items():
            group = tuple(owners)
            for point in ring_points(label, max(self._weight(node) for node in owners)):
                ring[point] = group
        self._points = sorted(ring)
        self._owners = [ring[point] for point in self._points]

    def pick(self, key: int | None = None, usable: Usable[N] | None = None) -> N | None:
        if key is None:
            return self._turns.pick(None, usable)
        points, owners = self._points, self._owners
        count = len(points)
        start = bisect.bisect_left(points, key & _UINT32)
        refused: set[int] = set()
        for step in range(count):
            group = owners[(start + step) % count]
            if id(group) in refused:
                continue
            left = group
            while left:
                node = left[((key & _UINT64) >> 32 ^ key & _UINT32) % len(left)]
                if usable is None or usable(node):
                    return node
                left = tuple(other for other in left if other is not node)
            refused.add(id(group))
        return None


def ring_points(label: str, weight: int) -> list[int]:
    """The points of one label on the ketama ring (TarsCpp `TC_ConsistentHashNew`, ketama mode)."""
    points: list[int] = []
    for number in range(max(1, weight // 4)):
        digest = hashlib.md5(f"{label}_{number}".encode(), usedforsecurity=False).digest()
        points.extend(int.from_bytes(digest[at : at + 4], "little") for at in (0, 4, 8, 12))
    return points
