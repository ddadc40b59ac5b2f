"""The call that a servant is serving: who asks, until when, with which context.

`current()` gives it inside a handler, in tasks started by it and in the thread of a plain function. Clients
made in that context read it too: they shorten their time-outs to what is left of the deadline and pass
cookies and dyeing on. It holds no socket and decides nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Protocol

from skerry.tars.errors import TarsError
from skerry.tars.trace import Trace, received
from skerry.tars.wire.packet import STATUS_DYED_KEY, STATUS_TRACE_KEY, MessageType

if TYPE_CHECKING:
    from skerry.tars.bodies import Bodies
    from skerry.tars.wire.packet import RequestPacket

PING = "tars_ping"  # every servant answers it, though no IDL names it
TIMER_GRAIN_SECONDS = 0.002  # uvloop's timers count in milliseconds and may fire early
Peer = tuple[str, int]

_DYED, _TRACE = int(MessageType.DYED), int(MessageType.TRACE)


class ClientConnection(Protocol):
    """The connection of a caller, which may be kept beyond the call."""

    peer: Peer
    closed: bool

    def push(self, function: str, body: bytes = b"") -> bool:
        """Send a packet that answers no request (TarsCpp's push callbacks; ours get it at `ClientSettings.push`).
        False, and nothing is sent, when the connection is closed or its client does not read."""
        ...

    def on_close(self, callback: Callable[[], None]) -> None:
        """Call `callback` when the connection ends (TarsCpp's `doClose`), once however often it was registered."""
        ...


class Call:
    """One request in progress. `received` and `deadline` are on `time.monotonic`'s scale; no deadline is
    None."""

    __slots__ = (
        "_dyed",
        "_ended",
        "_reply_context",
        "_reply_status",
        "bodies",
        "connection",
        "deadline",
        "peer",
        "received",
        "request",
    )

    def __init__(
        self,
        request: RequestPacket,
        peer: Peer,
        received: float,
        connection: ClientConnection | None = None,
    ) -> None:
        self.request = request
        self.connection = connection  # None for udp
        self.peer = peer
        self.received = received
        timeout = request.timeout_ms
        self.deadline: float | None = received + timeout / 1000 if timeout > 0 else None
        self._reply_context: dict[str, str] | None = None
        self._reply_status: dict[str, str] | None = None
        self._ended: Callable[[int], None] | None = None
        self.bodies: Bodies | None = None
        """Of a call that belongs to a chain, for its log."""
        self._dyed = ""

    @property
    def servant(self) -> str:
        """The object that was called, `App.Server.Obj`."""
        return self.request.servant

    @property
    def function(self) -> str:
        return self.request.function

    @property
    def context(self) -> dict[str, str]:
        """The caller's context map."""
        return self.request.context

    @property
    def status(self) -> dict[str, str]:
        """The caller's status map: entries of the framework, and cookies."""
        return self.request.status

    @property
    def one_way(self) -> bool:
        """Whether the caller expects no reply."""
        return self.request.packet_type == 1

    @property
    def reply_context(self) -> dict[str, str]:
        """Entries of the reply's context; add to it."""
        if self._reply_context is None:
            self._reply_context = {}
        return self._reply_context

    @property
    def reply_status(self) -> dict[str, str]:
        """Entries of the reply's status; add to it."""
        if self._reply_status is None:
            self._reply_status = {}
        return self._reply_status

    @property
    def trace(self) -> Trace | None:
        """The chain of calls that this one belongs to; None when its caller sent none. Calls that are made
        while it is served belong to it by themselves; HTTP requests get `trace.traceparent` as their
        header."""
        request = self.request
        if not request.message_type & _TRACE:
            return None
        return received(request.status.get(STATUS_TRACE_KEY, ""))

    def remaining_seconds(self) -> float | None:
        """Seconds until the caller gives up (never below 0); None when it sent no time-out."""
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())

    def timeout(self) -> asyncio.Timeout:
        """`async with current().timeout(): ...` ends what is inside with TimeoutError when the caller gives up; left
        uncaught it answers "queue timeout" (-6), which nobody reads any more. Without a deadline it never ends."""
        remaining = self.remaining_seconds()
        return asyncio.timeout(None if remaining is None else remaining + TIMER_GRAIN_SECONDS)

    def expired(self) -> bool:
        """Whether the caller has given up by now."""
        return self.deadline is not None and time.monotonic() >= self.deadline

    @property
    def dyed(self) -> str:
        """The key by which every log line of this call is wanted; empty for most calls."""
        request = self.request
        if request.message_type & _DYED:
            return request.status.get(STATUS_DYED_KEY, "")
        return self._dyed

    def dye(self, key: str) -> None:
        """Have the log lines of this call, and of those that it causes from now on, in the dyeing log, too."""
        self._dyed = key

    def cookies(self) -> dict[str, str]:
        """Status entries that travel on with every call made while serving this one (as TarsCpp does): those
        whose key does not begin with `STATUS_`, and the dyeing key of a dyed request."""
        status, dyed = self.request.status, self.dyed
        if not status:
            return {STATUS_DYED_KEY: dyed} if dyed else {}
        passed = {key: value for key, value in status.items() if not key.upper().startswith("STATUS_")}
        if dyed:
            passed[STATUS_DYED_KEY] = dyed
        return passed


serving: ContextVar[Call | None] = ContextVar("skerry_tars_call", default=None)


def current() -> Call:
    """The call being served; TarsError outside of a servant's function."""
    call = serving.get()
    if call is None:
        raise TarsError("no Tars call is being served here: current() is for servants")
    return call
