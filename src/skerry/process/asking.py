"""Asks children to carry something out, and gives their answers: what it is, is the application's business.

A child that is silent for too long, or ends meanwhile, has no answer.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable

from skerry.process.child import Child
from skerry.process.control_messages import Ask


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
