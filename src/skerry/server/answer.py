"""An answer under way: what its answerer has of the connection (`skerry.exchange.Exchange`), over a turn of `http1`.

Framing is `framing`'s, the order of answers `http1`'s. Here is what an answer may still do when its client has gone.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Protocol

from skerry.exchange import Answerer, ClientDisconnected, Fields, Follower, Head
from skerry.http.request import Peer, Request
from skerry.server.framing import CLOSE, Framing
from skerry.server.http1 import Turn
from skerry.server.transfer import Transfer


class Way(Protocol):
    """The connection, as an answer has it."""

    @property
    def gone(self) -> bool:
        """Whether the client says no more."""
        ...

    @property
    def room(self) -> bool:
        """Whether the transport takes more."""
        ...

    @property
    def takes(self) -> bool:
        """Whether what is written may reach the client: the transport has not failed (the connection hears of that in
        the next turn of the loop only), and there is room where the client has gone."""
        ...

    def ends(self, request: Request) -> Peer:
        """The client of a request, and what it has asked."""
        ...

    def write(self, data: bytes) -> None: ...

    def soon(self, work: Callable[[], None]) -> None:
        """Have it done in the next turn of the loop."""
        ...

    def started(self, turn: Turn, status: int) -> None:
        """The answer to this request has begun."""
        ...

    def streams(self) -> None:
        """The body of the present answer goes on: the connection is a long-lived one."""
        ...

    def follow(self) -> Callable[[bytes], None]:
        """What writes to the transport; the answer goes on for long."""
        ...

    def take(self, turn: Turn) -> bytes:
        """What has come of its body; reads on."""
        ...

    def send_file(self, transfer: Transfer) -> None:
        """Send a file behind what was written."""
        ...

    def answered(self) -> None:
        """The answer of the present turn is complete."""
        ...

    def abort(self) -> None:
        """Cut the connection."""
        ...

    def end(self) -> None:
        """Close it when it has nothing more to do."""
        ...


class Answer:
    """One answer; see `skerry.exchange`. Its head leaves with the first part of the body, in one write, or in the next
    turn of the loop."""

    __slots__ = (
        "_date",
        "_framing",
        "_head",
        "_streams",
        "_way",
        "answerer",
        "closed",
        "finished",
        "follower",
        "room",
        "started",
        "transfer",
        "turn",
    )

    def __init__(self, way: Way, turn: Turn, date: bytes) -> None:
        self._way, self.turn, self._date = way, turn, date
        self._framing = Framing(turn.request.method, turn.version, turn.keep)
        self.closed = self.started = self.finished = self._streams = False
        self.room = way.room
        """See `skerry.exchange.Exchange`; the connection keeps it as it is."""
        self._head = b""  # which has not left yet
        self.answerer: Answerer | None = None
        """None when the answer is over: it refers to this one, and without the cycle everything that belongs to the
        request is freed at once, and not by the garbage collector."""
        self.follower: Follower | None = None
        self.transfer: Transfer | None = None
        """The file that is being sent."""

    @property
    def head(self) -> Head:
        request = self.turn.request
        peer = self._way.ends(request)
        ends = (peer.scheme, peer.client, peer.server, peer.host, peer.root_path)
        return Head(request.method, request.target, self.turn.version, request.headers.raw, *ends)

    @property
    def complete(self) -> bool:
        return self.turn.complete and not self.turn.parts

    @property
    def broken(self) -> bool:
        return self.turn.broken or (self.closed and not self.turn.complete)

    @property
    def gone(self) -> bool:
        return self.closed or self._way.gone

    def take(self) -> bytes:
        if self.finished or self.closed:
            return b""
        return self._way.take(self.turn)

    def start(self, status: int, fields: Fields, *, reason: bytes = b"") -> None:
        if self.closed or not self._way.takes:
            self._check()
        self._head = self._begin(status, fields, reason)
        self._way.soon(self._send_head)

    def _send_head(self) -> None:
        head, self._head = self._head, b""
        if head and not self.closed:
            self._way.write(head)

    def reply(self, status: int, fields: Fields, data: bytes, *, reason: bytes = b"") -> None:
        if self.closed or not self._way.takes:
            self._check()
        head = self._begin(status, fields, reason)
        self._way.write(head + self._framing.part(data, last=True))
        self._end()

    def _begin(self, status: int, fields: Fields, reason: bytes) -> bytes:
        framing, turn = self._framing, self.turn
        framing.keep = turn.keep if framing.keep else CLOSE  # the server may be ending by now
        data = framing.head(status, fields, self._date, reason)
        turn.started = self.started = True
        if turn.began:
            self._way.started(turn, status)
        if not framing.keep:
            turn.keep = CLOSE
        return data

    def write(self, data: bytes) -> None:
        self._check()
        framed = self._framing.part(data)
        if data and not self._streams:
            self._streams = True
            self._way.streams()
        if framed:
            self._write(framed)

    def _write(self, data: bytes) -> None:
        if self._head:
            data, self._head = self._head + data, b""
        self._way.write(data)

    @property
    def chunked(self) -> bool:
        return self._framing.chunked

    def follow(self, follower: Follower) -> Callable[[bytes], None]:
        self._check()
        self._send_head()
        self.follower, self.answerer = follower, None
        if not self._way.room:
            follower.pause()
        return self._way.follow()

    def finish(self, data: bytes = b"") -> None:
        if self.closed or not self._way.takes:
            self._check()
        data = self._framing.part(data, last=True)
        if data or self._head:
            self._write(data)
        self._end()

    def _end(self) -> None:
        self.finished = self._framing.finished
        if not self.finished:
            raise RuntimeError("Response content shorter than Content-Length")
        self._way.answered()
        self.answerer = None

    def finish_file(self, descriptor: int, offset: int, count: int) -> None:
        try:
            self._check()
            around = self._framing.file(count)
        except BaseException:
            os.close(descriptor)
            raise
        if around is None:
            os.close(descriptor)
            self.finish()
            return
        before, after = around
        if before or self._head:
            self._write(before)
        self.transfer = Transfer(descriptor, offset, count, after, self._sent)
        if not self._streams:
            self._streams = True
            self._way.streams()
        self._way.send_file(self.transfer)

    def _sent(self, *, whole: bool) -> None:
        """The file has gone out, or as much of it as there was."""
        self.transfer = None
        if self.closed:
            return
        if not whole:
            self.break_off()
            return
        self._framing.finished = self.finished = True
        if self.answerer is not None:
            self.answerer.writable()
        self._way.answered()
        self.answerer = None

    def abort(self) -> None:
        if self.finished:
            self._way.end()
        elif not self.closed:
            if self._way.takes:
                self._send_head()
            self.closed = True
            self._stop_transfer()
            self._way.abort()

    def break_off(self) -> None:
        """Nothing more is sent, the connection ends; the answerer is told."""
        self.abort()
        self.tell_gone()

    def tell_gone(self) -> None:
        """Tell the answerer or the follower that the client says no more, or is lost. A follower's answer ends then."""
        if self.answerer is not None:
            self.answerer.gone()
        elif self.follower is not None:
            self.follower.gone()
            self.abort()

    def close(self) -> None:
        """Nothing more is sent; the answerer is told. The connection calls this."""
        self._stop_transfer()
        if not self.closed and not self.finished:
            self.closed = True
            self.tell_gone()
        self.answerer = None

    def _stop_transfer(self) -> None:
        transfer, self.transfer = self.transfer, None
        if transfer is not None:
            transfer.close()

    def _check(self) -> None:
        """Raises ClientDisconnected when nothing can be sent: as soon as the transport knows that the connection is
        lost, and when a client that has gone takes no more than is unsent already."""
        if self.finished:
            return  # the framing says what is wrong
        if not self.closed and not self._way.takes:
            self.abort()
        if self.closed:
            raise ClientDisconnected("the client is gone")
