"""What the channels of one process share: admission and limits, pings, counters, announcements, draining.

How an event reaches many listeners is in `channel`, how a browser connects in `events`. A hub is made once per
process, started in the loop's thread, drained before the server stops.
"""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Callable
from itertools import count

from msgspec.json import encode

from skerry.clock import Clock, SystemClock
from skerry.errors import DeclarationError
from skerry.http.channel import Channel
from skerry.http.feed import Announcer, Feed, LocalAnnouncer
from skerry.http.limits import RESTART, SILENT, TRY_LATER, HubSettings, HubStats
from skerry.http.listener import Listener
from skerry.http.snapshots import Snapshot
from skerry.http.wheel import Wheel

__all__ = ["RESTART", "SILENT", "TRY_LATER", "Channel", "Hub", "HubSettings", "HubStats", "Snapshot"]

MOST_TOLD = 20  # announcements told one by one in one write; the rest as a number
PAUSE_PER_LISTENER = 120e-6  # seconds: about twenty times what one write costs


class Hub:
    """The channels of one process. `start` in the loop's thread, `drain` before the server stops."""

    def __init__(
        self,
        settings: HubSettings | None = None,
        *,
        announcer: Announcer | None = None,
        clock: Clock | None = None,
        name: str = "",
    ) -> None:
        self.settings = settings or HubSettings()
        self.clock = clock or SystemClock()
        self.announcer: Announcer = announcer or LocalAnnouncer()
        self.name = name or os.urandom(4).hex()
        self.stats = HubStats()
        self.channels: dict[str, Channel] = {}
        self.wheel: Wheel[Listener] = Wheel(self.settings.ping_seconds, self.settings.pong_seconds)
        self.draining = False
        self.reads = asyncio.Semaphore(self.settings.backlog_reads)
        self._numbers = count(1)
        self._boot = os.urandom(3).hex()
        self._tokens = float(self.settings.opens_per_second)
        self._announcements = self.settings.announcements_per_second
        self._unsaid = {"opened": 0, "closed": 0}  # by this process, over its rate
        self._untold = {"opened": 0, "closed": 0}  # to its listeners, too many at once
        self._heard: list[bytes] = []
        self._telling: asyncio.TimerHandle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._unsubscribe: Callable[[], None] | None = None

    def channel(self, name: str, feed: Feed, snapshot: Snapshot | None = None) -> Channel:
        """Declare a channel over `feed`. `name` is the route that connection events tell. Raises DeclarationError."""
        if name in self.channels:
            raise DeclarationError(f"there is a channel {name!r} already")
        channel = self.channels[name] = Channel(self, name, feed, snapshot)
        if self._unsubscribe is not None:
            channel.start()
        return channel

    def start(self) -> None:
        """Begin to listen to the feeds and to ping. Needs the running loop."""
        if self._unsubscribe is None:
            self._unsubscribe = self.announcer.subscribe(self._announced)
            self._timer = asyncio.get_running_loop().call_later(1.0, self._second)
            for channel in self.channels.values():
                channel.start()
            self._say_process("joined")

    def admit(self) -> float | None:
        """None when another listener is accepted, else the seconds after which it should try again."""
        if self.draining or self.stats.listeners >= self.settings.max_listeners:
            self.stats.refused += 1
            return 5.0
        if self._tokens < 1:
            self.stats.refused += 1
            return 1.0
        self._tokens -= 1
        return None

    def new_id(self) -> str:
        """A name for one connection, unique over all processes and their restarts."""
        return f"{self.name}-{self._boot}-{next(self._numbers):x}"

    def reset(self) -> None:
        """Close all listeners with 1012, so that they reconnect."""
        for channel in self.channels.values():
            channel.close_all("come again")

    def close(self, listener: Listener, code: int, reason: str) -> None:
        """Close one listener; nothing more is written to it."""
        if listener.closed:
            return
        if code == RESTART:
            self.stats.closed_restart += 1
        elif code == TRY_LATER:
            self.stats.closed_slow += 1
        elif code == SILENT:
            self.stats.closed_silent += 1
        listener.gone()
        listener.sink.close(code, reason)

    async def drain(self, seconds: float = 5.0) -> None:
        """Close all listeners with 1012, in groups spread over `seconds`, so that they do not all reconnect
        at once."""
        self.draining = True
        everybody = [listener for channel in self.channels.values() for listener in channel.listeners()]
        turns = max(1, int(seconds / 0.05))
        size = max(50, math.ceil(len(everybody) / turns))
        for start in range(0, len(everybody), size):
            if start:
                await self.clock.sleep(0.05)
            for listener in everybody[start : start + size]:
                self.close(listener, RESTART, "service restart")
        self._say_process("left")

    def stop(self) -> None:
        """Stop pinging and listening. Idempotent; listeners still there are left to their transports."""
        if self._timer is not None:
            self._timer.cancel()
        if self._unsubscribe is not None:
            self._unsubscribe()
        for channel in self.channels.values():
            channel.stop()
        if self._telling is not None:
            self._telling.cancel()
        self._timer = self._telling = self._unsubscribe = None

    # --- once a second

    def tick(self) -> None:
        """One second has passed: ping who is due, close who is silent or stalled, tell what was not told."""
        self._tokens = min(
            self._tokens + self.settings.opens_per_second, float(self.settings.opens_per_second)
        )
        due, asked = self.wheel.tick()
        for listener in asked:
            if not listener.answered and not listener.paused:
                self.close(listener, SILENT, "no answer to a ping")
        for listener in due:
            if listener.paused:
                # A ping would only queue behind what is not read. Two turns without any progress is a stall.
                listener.paused_turns += 1
                if listener.paused_turns > 1:
                    self.close(listener, TRY_LATER, "stalled: reconnect to catch up")
            elif (ping := listener.ping) and not listener.closed:
                listener.answered = not listener.wire.answers
                listener.write(ping)
        for channel in self.channels.values():
            channel.tick()
        self._announcements = self.settings.announcements_per_second
        if any(self._unsaid.values()):
            self.announcer.announce(encode({"type": "connections", "process": self.name, **self._unsaid}))
            self._unsaid = {"opened": 0, "closed": 0}

    def _second(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(1.0, self._second)
        self.tick()

    # --- announcements

    def tell_connection(self, what: str, channel: str, listener: Listener) -> None:
        """Announce that a connection was `opened` or `closed`. In a rush the number is told instead of each."""
        if self._announcements <= 0:
            self._unsaid[what] += 1
            return
        self._announcements -= 1
        self.announcer.announce(
            encode({"type": f"connection_{what}", "route": channel, "connection": listener.id})
        )

    def _say_process(self, what: str) -> None:
        """Tell the listeners of all processes that this one is there or goes."""
        self.announcer.announce(encode({"type": f"process_{what}", "process": self.name}))

    def _announced(self, payload: bytes) -> None:
        """Somebody said something: tell it now, or with what else is said soon when there are many to tell."""
        if len(self._heard) < MOST_TOLD:
            self._heard.append(payload)
        else:
            self._untold["closed" if b'"connection_closed"' in payload[:32] else "opened"] += 1
        if self._telling is None:
            # A write per listener and announcement would make a crowd that comes multiply itself: with many
            # listeners they are told together, so that telling takes a few per cent of the time at most.
            pause = self.stats.listeners * PAUSE_PER_LISTENER
            if pause < 0.01:
                self._tell()
            else:
                self._telling = asyncio.get_running_loop().call_later(pause, self._tell)

    def _tell(self) -> None:
        heard, self._heard, self._telling = self._heard, [], None
        if any(self._untold.values()):
            heard.append(encode({"type": "connections", "process": self.name, **self._untold}))
            self._untold = {"opened": 0, "closed": 0}
        for channel in self.channels.values():
            for payload in heard:
                channel.send(payload)
