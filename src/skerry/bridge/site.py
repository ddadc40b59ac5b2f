"""The process that this code runs in, as far as the bridge needs it: its buses, its memory, its loop.

A role installs a `Site` while it follows the journal; whatever runs beside it (a view in a thread of a hosted
application, a coroutine, a script's thread) finds it by `site()`. Elsewhere (a shell, a Celery worker) there is none:
`emit` works there all the same, `send` and `ask` say what is missing.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from typing import TypeVar
from weakref import WeakValueDictionary

from skerry.bus.bus import CommandBus, QueryBus
from skerry.bus.transport import Announcement, Transport
from skerry.errors import LifecycleError
from skerry.journal.intake import LOOK
from skerry.journal.journal import Record
from skerry.journal.projector import Projector
from skerry.position import Position

T = TypeVar("T")


class Expected:
    """An event that was left and may be waited for. `applied`: done, with its position, when memory has it."""

    __slots__ = ("__weakref__", "applied", "id")

    def __init__(self, id: str) -> None:
        self.id = id
        self.applied: Future[Position] = Future()


class Site:
    """`journal`: the scheme of its URL. `foreign`: names of the events that may be left. `strict`: whether an `emit`
    before its transaction has written anything is told. To be made in the loop."""

    def __init__(
        self,
        namespace: str,
        journal: str,
        commands: CommandBus,
        queries: QueryBus,
        projector: Projector,
        transport: Transport,
        foreign: Collection[str],
        *,
        strict: bool = False,
    ) -> None:
        self.namespace, self.journal, self.foreign, self.strict = namespace, journal, foreign, strict
        self.commands, self.queries, self.projector = commands, queries, projector
        self.loop = asyncio.get_running_loop()
        self._transport = transport
        self._expected: WeakValueDictionary[str, Expected] = WeakValueDictionary()
        self._is_asked = False
        self._unlisten: Callable[[], None] = lambda: None

    @property
    def is_here(self) -> bool:
        """Whether the caller runs in this site's loop."""
        try:
            return asyncio.get_running_loop() is self.loop
        except RuntimeError:
            return False

    def call(self, function: Callable[[], T]) -> Future[T]:
        """Run `function` in the loop, between two of its callbacks. From any thread."""
        done: Future[T] = Future()

        def run() -> None:
            try:
                done.set_result(function())
            except BaseException as error:
                done.set_exception(error)

        try:
            self.loop.call_soon_threadsafe(run)
        except RuntimeError as error:
            raise LifecycleError("call", "this process ends", ()) from error
        return done

    # --- events that were left

    def expect(self, event: Expected) -> None:
        """Have its `applied` done when memory has the event; forgotten when nobody holds it any more."""
        self._expected[event.id] = event

    def look(self) -> None:
        """Something was committed: the mover is told. From any thread, never waits."""
        if self._is_asked:
            return
        self._is_asked = True
        try:
            self.loop.call_soon_threadsafe(self._tell)
        except RuntimeError:  # the process ends: it is found without a hint
            pass

    def _tell(self) -> None:
        self._is_asked = False
        self._transport.announce(Announcement(LOOK, b""))

    def _applied(self, records: Sequence[Record], epoch: str) -> None:
        if not self._expected:
            return
        for record in records:
            event = self._expected.pop(record.command_id, None)
            if event is not None and not event.applied.done():
                event.applied.set_result(Position(self.projector.epoch_of(record.offset), record.offset))

    # --- where it is found

    def install(self) -> None:
        """Be the site of this process, the newest of several."""
        self._unlisten = self.projector.listen(self._applied)
        with _changing:
            _sites.append(self)

    def remove(self) -> None:
        self._unlisten()
        with _changing:
            if self in _sites:
                _sites.remove(self)


_changing = threading.Lock()
_sites: list[Site] = []


def site() -> Site | None:
    """This process's site, None when it follows no journal. One whose loop has ended without a stop is none."""
    return next((each for each in reversed(_sites) if not each.loop.is_closed()), None)


def position() -> Position | None:
    """The position of the memory of this process's App, None where no App runs. Data that a page reads
    afterwards, from the database or from memory, includes all events up to it. From any thread."""
    found = site()
    return None if found is None else found.projector.position


def needed(what: str) -> Site:
    """The same. Raises LifecycleError when there is none."""
    found = site()
    if found is None:
        cure = "run it under skerry host or skerry up, beside an App"
        raise LifecycleError(what, "no App of Skerry runs in this process", (cure,))
    return found
