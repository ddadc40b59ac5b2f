"""Events on their way out of a channel, and how a turn's frames are cut into writes. Pure."""

from __future__ import annotations

from typing import NamedTuple

from skerry.http.feed import FeedEvent
from skerry.position import Position


class Item(NamedTuple):
    """One event on its way out. `key` None: not folded; `fold` under what it is held for the slow."""

    payload: bytes
    position: Position | None
    key: str | None
    fold: object


def passes(item: Item, prefix: str) -> bool:
    """Whether an event is for a listener of that prefix. Announcements are for everybody."""
    return not prefix or item.position is None or (item.key is not None and item.key.startswith(prefix))


def concerns(event: FeedEvent, prefix: str) -> bool:
    """Whether a listener of that prefix is told this event of the history."""
    return not prefix or (event.key is not None and event.key.startswith(prefix))


def segments(pairs: list[tuple[Item, bytes]], limit_bytes: int) -> list[list[tuple[Item, bytes]]]:
    """Cut a turn's frames into runs of at most `limit_bytes` each, one frame at least."""
    runs: list[list[tuple[Item, bytes]]] = [[]]
    size = 0
    for pair in pairs:
        if runs[-1] and size + len(pair[1]) > limit_bytes:
            runs.append([])
            size = 0
        runs[-1].append(pair)
        size += len(pair[1])
    return runs
