"""Frees large things a little at a time.

The last reference to a dictionary of a million rows frees them all at once, and nobody is served meanwhile. So what is
large and nobody else's is emptied first, in slices. What somebody else still holds is theirs: it is left as it is.
Plain: it waits for nothing, the caller does, between slices.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator
from typing import Any

FREED = 200
"""Things that are freed in one slice, at most."""
_SMALL = 64
_DEPTH = 2


def emptied(state: dict[str, Any]) -> Iterator[None]:
    """Empty `state` and what it has; yields after each slice. The caller keeps nothing of it."""
    waiting: list[Any] = [state]
    while waiting:
        holder = waiting.pop()
        while holder:
            taken = _take(holder)
            for value, is_ours in zip(taken, _are_ours(taken), strict=True):
                if is_ours and (inner := _inner(value)) is not None:
                    waiting.append(inner)
            value = inner = None
            taken.clear()
            yield
        del holder


def _take(holder: Any) -> list[Any]:
    """Some of it, taken out."""
    if isinstance(holder, dict):
        return [holder.popitem()[1] for _ in range(min(FREED, len(holder)))]
    return [holder.pop() for _ in range(min(FREED, len(holder)))]


def _are_ours(values: list[Any]) -> list[bool]:
    """Of each, whether nothing but this list holds it. What one reference counts as differs between versions of Python,
    so it is measured with something that is known to be ours."""
    values.append([])
    counts = []
    for value in values:
        counts.append(sys.getrefcount(value))  # noqa: PERF401 - a comprehension counts otherwise
    values.pop()
    mine = counts.pop()
    return [count <= mine for count in counts]


def _inner(value: Any, depth: int = _DEPTH) -> Any:
    """What is to be emptied of it; None for what is small, as far as one looks."""
    found: Any = value
    if not isinstance(value, (dict, list, set, deque)):
        found = getattr(value, "__dict__", None)
        if not isinstance(found, dict) or isinstance(value, type):
            return None
    if len(found) > _SMALL:
        return found
    parts = found.values() if isinstance(found, dict) else found
    is_large = depth > 0 and any(_inner(each, depth - 1) is not None for each in parts)
    return found if is_large else None
