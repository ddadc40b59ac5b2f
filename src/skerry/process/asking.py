"""Asks children for something and waits for their answers: one of them to carry out what the application knows, all of
them for their metrics.

A child that is silent for too long, or ends meanwhile, has no answer.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from skerry.process.child import Child
from skerry.process.control_messages import Ask, Collect
from skerry.process.metrics import merged


class Asking:
    """The questions that are open."""

    def __init__(self) -> None:
        self._serials = itertools.count(1)
        self._open: dict[tuple[Child, int], asyncio.Future[str | None]] = {}

    async def ask(self, child: Child, text: str, seconds: float) -> str | None:
        """What this child answers; None when it does not within `seconds`, or ended."""
        key = child, next(self._serials)
        answer: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        self._open[key] = answer
        try:
            child.say(Ask(key[1], text))
            async with asyncio.timeout(seconds):
                return await answer
        except TimeoutError:
            return None
        finally:
            del self._open[key]

    async def ask_all(self, children: Iterable[Child], text: str, seconds: float) -> dict[Child, str | None]:
        """The same of several, at the same time."""
        asked = list(children)
        answers = await asyncio.gather(*(self.ask(child, text, seconds) for child in asked))
        return dict(zip(asked, answers, strict=True))

    def take(self, child: Child, number: int, text: str) -> None:
        """An answer came."""
        self._settle((child, number), text)

    def forget(self, child: Child) -> None:
        """It ended."""
        for key in [key for key in self._open if key[0] is child]:
            self._settle(key, None)

    def _settle(self, key: tuple[Child, int], text: str | None) -> None:
        answer = self._open.get(key)
        if answer is not None and not answer.done():
            answer.set_result(text)


@dataclass(slots=True)
class _Round:
    tell: Callable[[str], None]
    asking: Child | None
    missing: set[Child]
    texts: dict[str, str] = field(default_factory=dict)


class Gathering:
    """Asks children for their metrics, for one of them or for a scrape, and puts the answers together; those that do
    not answer in time are left out. `own()` is the runner's own exposition, put at the end."""

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
