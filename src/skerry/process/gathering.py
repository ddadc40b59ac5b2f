"""Asks all children for their metrics, for one of them or for a scrape, and puts the answers together.

A process that is silent for too long, or ends meanwhile, is left out: the numbers of the others are worth having.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from skerry.process.child import Child
from skerry.process.control_messages import Collect
from skerry.process.metrics import merged


@dataclass(slots=True)
class _Round:
    tell: Callable[[str], None]
    asking: Child | None
    missing: set[Child]
    texts: dict[str, str] = field(default_factory=dict)


class Gathering:
    """`own()` is the runner's own exposition, put at the end."""

    def __init__(self, own: Callable[[], str], seconds: float = 1.0) -> None:
        self._own, self._seconds = own, seconds
        self._serials = itertools.count(1)
        self._rounds: dict[int, _Round] = {}

    def begin(
        self, tell: Callable[[str], None], children: Iterable[Child], asking: Child | None = None
    ) -> None:
        """`tell` wants the numbers of `children`, on behalf of a child that may end meanwhile."""
        serial = next(self._serials)
        missing = set(children)
        self._rounds[serial] = _Round(tell, asking, set(missing))
        for child in missing:
            child.say(Collect(serial))
        if missing:
            asyncio.get_running_loop().call_later(self._seconds, self._finish, serial)
        else:
            self._finish(serial)

    def take(self, child: Child, serial: int, text: str) -> None:
        """A child's numbers came."""
        found = self._rounds.get(serial)
        if found is not None and child in found.missing:
            found.missing.discard(child)
            found.texts[child.spec.name] = text
            if not found.missing:
                self._finish(serial)

    def forget(self, child: Child) -> None:
        """It ended."""
        for serial, found in list(self._rounds.items()):
            found.missing.discard(child)
            if found.asking is child:
                del self._rounds[serial]
            elif not found.missing:
                self._finish(serial)

    def _finish(self, serial: int) -> None:
        found = self._rounds.pop(serial, None)
        if found is not None:
            found.tell(merged(found.texts) + self._own())
