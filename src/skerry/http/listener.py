"""One who listens to a channel: an encoder of frames and a transport, and what is held for it while it is slow.

A listener is *live* when every event may be written to it at once. Otherwise it is *behind*: it still has a history
or a snapshot to be told (`source`), or its transport asked for a pause; then newer events are held, only the newest
per key, within a byte limit. Whether and what to send is decided here and in `hub`; waiting is the transport's.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from skerry.position import Position


class Sink(Protocol):
    """Where a listener's bytes go. The transport tells the listener to `pause` and `resume`, and when it is `gone`."""

    def write(self, data: bytes) -> None:
        """Send ready frames; never waits. May call the listener's `pause` before it returns."""
        ...

    def close(self, code: int, reason: str) -> None:
        """Close in good order, within the transport's own time limit. `code` as in RFC 6455 section 7.4."""
        ...


class Direct(Sink, Protocol):
    """A connection that a websocket route may hand to a listener: `skerry.direct` in its scope's extensions."""

    def take(self, listener: Listener) -> None:
        """Write for `listener` from now on and tell it `pause`, `resume`, `alive` and `gone`."""
        ...

    def carries(self, receive: Callable[..., Any], send: Callable[..., Any]) -> bool:
        """Whether these two are the connection's own, with nobody in between who would miss what is written here."""
        ...


class Wire(Protocol):
    """How events look to one kind of listener."""

    @property
    def ping(self) -> bytes:
        """A ready frame that keeps the connection alive; empty when there is none."""
        ...

    @property
    def answers(self) -> bool:
        """Whether the other end answers pings."""
        ...

    def frame(self, payload: bytes, position: Position | None) -> bytes:
        """One JSON object as a ready frame; `position` is the cursor that the frame moves to, None: none."""
        ...


class WebSocketWire:
    """Unmasked text frames (RFC 6455 section 5.2): the same bytes serve every socket."""

    ping = b"\x89\x00"
    answers = True

    def frame(self, payload: bytes, position: Position | None) -> bytes:
        size = len(payload)
        if size < 126:
            return b"\x81" + size.to_bytes(1) + payload
        if size < 65536:
            return b"\x81\x7e" + size.to_bytes(2) + payload
        return b"\x81\x7f" + size.to_bytes(8) + payload


class EventStreamWire:
    """Server-sent events (WHATWG HTML section 9.2): `id:` is the position, `data:` the JSON object."""

    ping = b":\n\n"
    answers = False

    def frame(self, payload: bytes, position: Position | None) -> bytes:
        if b"\n" in payload or b"\r" in payload:  # a line end would end the field
            payload = b"\ndata: ".join(payload.splitlines())
        if position is None:
            return b"data: " + payload + b"\n\n"
        return b"id: %s\ndata: %s\n\n" % (str(position).encode("ascii"), payload)


class ChunkedWire(EventStreamWire):
    """The same, each frame a chunk (RFC 9112 section 7.1): the same bytes serve every connection of HTTP/1.1."""

    ping = b"3\r\n:\n\n\r\n"

    def frame(self, payload: bytes, position: Position | None) -> bytes:
        data = super().frame(payload, position)
        return b"%x\r\n%b\r\n" % (len(data), data)


class LineWire:
    """One JSON object a line (NDJSON), for ASGI servers that make the frames themselves, and for logs."""

    ping = b""
    answers = False

    def frame(self, payload: bytes, position: Position | None) -> bytes:
        return payload.replace(b"\n", b" ").replace(b"\r", b" ") + b"\n"


BEAT = b'{"type":"beat"}'
WEBSOCKET = WebSocketWire()
EVENT_STREAM = EventStreamWire()
CHUNKED = ChunkedWire()
LINES = LineWire()


class Change(enum.Enum):
    """What a transport told a listener."""

    PAUSED = enum.auto()
    RESUMED = enum.auto()
    GONE = enum.auto()


class Listener:
    """Handed to `Channel.open`; the transport calls `pause`, `resume`, `alive` and `gone`.

    `beats`: it asked for a frame that a page can see with each ping, to notice a server that went silent (comments of
    an event stream and pings of a websocket are hidden from pages). `cursor` is the offset up to which the history
    was told while `replaying`. `write` is the sink's own method, kept so that a fan-out costs one call.
    """

    __slots__ = (
        "answered",
        "attached",
        "beats",
        "closed",
        "cursor",
        "held",
        "held_bytes",
        "id",
        "live",
        "notify",
        "paused",
        "paused_turns",
        "prefix",
        "pumping",
        "replaying",
        "sink",
        "slot",
        "source",
        "wire",
        "write",
    )

    def __init__(
        self, sink: Sink, wire: Wire, prefix: str = "", id: str = "", *, beats: bool = False
    ) -> None:
        self.sink, self.wire, self.prefix, self.id, self.beats = sink, wire, prefix, id, beats
        self.write: Callable[[bytes], None] = sink.write
        self.notify: Callable[[Listener, Change], None] | None = None
        self.live = self.paused = self.closed = self.replaying = self.pumping = self.attached = False
        self.answered = True
        self.paused_turns = 0
        self.cursor = 0
        self.slot = 0
        self.source: Iterator[bytes] | None = None
        self.held: dict[object, bytes] | None = None
        self.held_bytes = 0

    @property
    def ping(self) -> bytes:
        """The bytes that keep the connection alive, with a beat for listeners that asked for it; empty when
        there is nothing to send."""
        return self.wire.ping + self.wire.frame(BEAT, None) if self.beats else self.wire.ping

    # --- what the transport says

    def pause(self) -> None:
        """The transport's buffer is full."""
        self.paused = True
        self.live = False
        if self.notify is not None:
            self.notify(self, Change.PAUSED)

    def resume(self) -> None:
        """The transport's buffer has room again."""
        self.paused = False
        self.paused_turns = 0
        if self.notify is not None:
            self.notify(self, Change.RESUMED)

    def alive(self) -> None:
        """Something came from the other end."""
        self.answered = True

    def gone(self) -> None:
        """The connection is lost or closed."""
        self.closed = True
        self.live = False
        if self.notify is not None:
            self.notify(self, Change.GONE)

    # --- what is held meanwhile

    def hold(self, key: object, frame: bytes, limit_bytes: int) -> bool:
        """Keep `frame` for later in place of an older one of the same key, at the end of the order.

        Returns False when there was more than the limit already: what is held is the limit and one frame at most.
        """
        held = self.held
        if held is None:
            held = self.held = {}
        older = held.pop(key, None)
        if older is not None:
            self.held_bytes -= len(older)
        held[key] = frame
        self.held_bytes += len(frame)
        return self.held_bytes - len(frame) <= limit_bytes

    def take(self, limit_bytes: int) -> bytes:
        """The oldest of what is held, as much as fits into the limit (one frame at least); empty when nothing is."""
        held = self.held
        if not held:
            self.held = None
            return b""
        if self.held_bytes <= limit_bytes:
            self.held, self.held_bytes = None, 0
            return b"".join(held.values())
        parts: list[bytes] = []
        size = 0
        for key in list(held):
            frame = held[key]
            if parts and size + len(frame) > limit_bytes:
                break
            del held[key]
            parts.append(frame)
            size += len(frame)
        self.held_bytes -= size
        return b"".join(parts)
