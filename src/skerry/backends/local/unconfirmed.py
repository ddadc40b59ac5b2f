"""The sends of a peer that the hub has not confirmed: a bounded window that outlives a connection for a while.

Numbers tell them apart on the wire. Not here: the connection (peer.py).
"""

from __future__ import annotations

import asyncio
import itertools

from skerry.backends.local import frames
from skerry.errors import Disconnected, MessageTooLarge, Overloaded, SkerryError
from skerry.messages.envelope import Envelope, pack

MAX_PACK_BYTES = frames.MAX_FRAME_BYTES - 1024


class _Send:
    __slots__ = ("commands", "expiry", "future", "pack", "partition", "sent")

    def __init__(self, future: asyncio.Future[None], partition: int, data: bytes, commands: int) -> None:
        self.future, self.partition, self.pack, self.commands = future, partition, data, commands
        self.sent = False
        self.expiry: asyncio.TimerHandle | None = None


class Unconfirmed:
    """`window` commands of `window_bytes` at most; each is given up `resend_seconds` after its connection was lost."""

    def __init__(self, window: int, window_bytes: int, resend_seconds: float) -> None:
        self._window, self._window_bytes, self._resend_seconds = window, window_bytes, resend_seconds
        self._sends: dict[int, _Send] = {}
        self._numbers = itertools.count(1)
        self._commands = 0
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._sends)

    def add(self, envelopes: list[Envelope], partition: int, future: asyncio.Future[None]) -> int | None:
        """Keep a send; its number, or None when it is refused (the future tells why)."""
        data = pack(envelopes)
        refusal = self._refuse(len(envelopes), len(data))
        if refusal is not None:
            future.set_exception(refusal)
            return None
        number = next(self._numbers)
        self._sends[number] = _Send(future, partition, data, len(envelopes))
        self._commands += len(envelopes)
        self._bytes += len(data)
        return number

    def _refuse(self, commands: int, size: int) -> SkerryError | None:
        if size > MAX_PACK_BYTES:
            return MessageTooLarge(size, MAX_PACK_BYTES)
        if self._commands and self._commands + commands > self._window:
            return Overloaded(f"{self._commands} commands are undecided, the window is {self._window}")
        if self._commands and self._bytes + size > self._window_bytes:
            return Overloaded(f"{self._bytes} bytes of commands are undecided")
        return None

    def frame(self, number: int) -> frames.Send:
        """What goes on the wire now; it no longer expires. Marked when it went out before."""
        send = self._sends[number]
        if send.expiry is not None:
            send.expiry.cancel()
            send.expiry = None
        again, send.sent = send.sent, True
        return frames.Send(number, send.partition, again, send.pack)

    def frames(self) -> list[frames.Send]:
        """All of them, in order of sending: for a new connection."""
        return [self.frame(number) for number in self._sends]

    def lost(self) -> None:
        """There is no connection any more: each expires, unless it is asked for again in time."""
        for number in list(self._sends):
            self.wait(number)

    def wait(self, number: int) -> None:
        """Give `number` up unless a connection stands again in time; at once when nobody waits for it any more."""
        send = self._sends[number]
        if send.future.done():
            self._drop(number)
        elif self._resend_seconds <= 0:
            self._give_up(number, "the connection was lost")
        elif send.expiry is None:
            send.expiry = asyncio.get_running_loop().call_later(
                self._resend_seconds, self._give_up, number, "the consumer stayed away"
            )

    def confirm(self, number: int) -> None:
        send = self._drop(number)
        if send is not None and not send.future.done():
            send.future.set_result(None)

    def give_up(self, why: str) -> None:
        """All of them end with Disconnected."""
        for number in list(self._sends):
            self._give_up(number, why)

    def _give_up(self, number: int, why: str) -> None:
        send = self._drop(number)
        if send is not None and not send.future.done():
            send.future.set_exception(Disconnected(why))

    def _drop(self, number: int) -> _Send | None:
        send = self._sends.pop(number, None)
        if send is not None:
            self._commands -= send.commands
            self._bytes -= len(send.pack)
            if send.expiry is not None:
                send.expiry.cancel()
        return send
