"""The hub's own process takes part without a wire: envelopes are passed as objects, listeners are called at once."""

from __future__ import annotations

from collections.abc import Callable

from skerry.backends.endpoint import DEFAULT_WINDOW, Endpoint, Window
from skerry.backends.local.hub import Hub
from skerry.bus.transport import Announcement
from skerry.errors import LifecycleError
from skerry.journal.hints import Hint
from skerry.journal.journal import Outcome


class DirectTransport(Endpoint):
    """One name at a hub in this process. See `skerry.bus.transport.Transport`."""

    def __init__(self, hub: Hub, name: str, window: int = DEFAULT_WINDOW) -> None:
        super().__init__(name, hub.queue, Window(window))
        self._hub = hub
        self._leave: list[Callable[[], None]] = []

    async def start(self) -> None:
        """Take the name. Raises LifecycleError when it is taken."""
        if self._started:
            return
        if self._name in self._hub.answers or self._name in self._hub.peers:
            raise LifecycleError(f"start a second end {self._name!r}", "one of that name runs", ())
        self._hub.answers[self._name] = self._answers
        # The hub's listeners are told for every end of it; ours end with this transport.
        self._leave = [
            self._hub.hints.add(self._hints.tell),
            self._hub.announcements.add(self._announcements.tell),
        ]
        self._started = True

    async def stop(self) -> None:
        """Leave: consumers close, senders that wait get `Disconnected`; what was sent stays queued."""
        if not self._started:
            return
        self._hub.answers.pop(self._name, None)
        for leave in self._leave:
            leave()
        await self._close()

    def publish(self, hint: Hint) -> None:
        if self._started:
            self._hub.publish(hint)

    def answer(self, sender: str, outcomes: list[Outcome], epoch: str) -> None:
        if self._started:
            self._hub.answer(sender, outcomes, epoch)

    def announce(self, announcement: Announcement) -> None:
        if self._started:
            self._hub.announce(announcement)
