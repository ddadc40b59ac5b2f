"""The listeners of a transport, and how they are called.

A listener that raises is reported to the loop and does not keep the others from hearing. Listeners may come and
go while they are told. Not here: queues, tasks, wires.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, ParamSpec

from skerry.bus.transport import Announcement
from skerry.journal.hints import Hint
from skerry.journal.journal import Outcome

P = ParamSpec("P")


class Listeners(Generic[P]):
    """Callables of one kind, told in order of their coming."""

    __slots__ = ("_all", "_next")

    def __init__(self) -> None:
        self._all: dict[int, Callable[P, None]] = {}
        self._next = 0

    def __len__(self) -> int:
        return len(self._all)

    def add(self, listener: Callable[P, None]) -> Callable[[], None]:
        """Tell `listener` from now on; returns how to end it (harmless when repeated)."""
        key = self._next
        self._next += 1
        self._all[key] = listener

        def end() -> None:
            self._all.pop(key, None)

        return end

    def tell(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Call each; an exception goes to the loop's exception handler."""
        for key, listener in list(self._all.items()):
            if key not in self._all:  # ended by one that was told before
                continue
            try:
                listener(*args, **kwargs)
            except Exception as error:  # the edge to foreign code: one listener's fault is its own
                asyncio.get_running_loop().call_exception_handler(
                    {"message": f"a transport's listener {listener!r} failed", "exception": error}
                )


class Hearing:
    """The listening half of every transport: who hears hints, answers and announcements. See
    `skerry.bus.transport.Transport`; the transport tells them what it brings."""

    def __init__(self) -> None:
        self._hints: Listeners[[Hint]] = Listeners()
        self._answers: Listeners[[list[Outcome], str]] = Listeners()
        self._announcements: Listeners[[Announcement]] = Listeners()

    def subscribe(self, listener: Callable[[Hint], None]) -> Callable[[], None]:
        return self._hints.add(listener)

    def answers(self, listener: Callable[[list[Outcome], str], None]) -> Callable[[], None]:
        return self._answers.add(listener)

    def announcements(self, listener: Callable[[Announcement], None]) -> Callable[[], None]:
        return self._announcements.add(listener)
