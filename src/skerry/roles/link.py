"""One server process as the balancer sees it: what was handed to it, what it has acknowledged, how busy it is.

Reads and writes its unix socket without waiting. Not here: which server gets which connection (balancer.py), the
server's own end (`skerry.loop.handover`).
"""

from __future__ import annotations

import socket
import time
from collections import deque
from collections.abc import Sequence
from typing import Protocol

from skerry.loop.descriptors import MAX_AT_ONCE, LinkClosed, pass_descriptors
from skerry.loop.handover import (
    BACK,
    CLOSING,
    DONE,
    JOIN,
    LEAVE,
    LEFT,
    MARK_KEPT,
    MARK_PASSED,
    MARK_SOCKET,
    MARK_WITH,
    PASS,
    REPORT,
    REPORT_SIZE,
    read_report,
)


class LinkOwner(Protocol):
    """Receives what servers say: the balancer."""

    def joined(self, link: Link) -> None: ...
    def lost(self, link: Link, why: str) -> None: ...
    def take_back(self, link: Link, connection: socket.socket) -> None: ...
    def pass_on(self, group: str, connection: socket.socket, beside: socket.socket) -> None: ...
    def distribute(self) -> None: ...


class Waiting:
    """An accepted connection on its way to a server. `kept`: another server has served it before. `beside`: what goes
    with it where another process has passed it on. `attempts` counts servers that could not take it."""

    __slots__ = ("attempts", "beside", "connection", "kept", "since")

    def __init__(
        self,
        connection: socket.socket,
        since: float,
        *,
        kept: bool = False,
        beside: socket.socket | None = None,
    ) -> None:
        self.connection, self.since, self.kept, self.attempts = connection, since, kept, 0
        self.beside = beside

    @property
    def sockets(self) -> list[socket.socket]:
        return [self.connection] if self.beside is None else [self.connection, self.beside]

    @property
    def marks(self) -> bytes:
        """The byte that goes with each of them."""
        if self.beside is not None:
            return MARK_PASSED + MARK_WITH
        return MARK_KEPT if self.kept else MARK_SOCKET

    def close(self) -> None:
        for each in self.sockets:
            each.close()


class Link:
    """One server that joined, as the balancer sees it."""

    def __init__(self, owner: LinkOwner, sock: socket.socket) -> None:
        self._owner = owner
        self.sock = sock
        self.group = self.name = ""
        self.open = 0
        self.promised = 0  # in the batch that is being made up
        self.acknowledged = 0
        self.leaving = False
        self.full = False
        self.done = False  # nothing comes back from it, as it was told that the link ends
        self.unacknowledged: deque[Waiting] = deque()
        self.silent_since = 0.0
        self._buffer = bytearray()
        self._returned: deque[socket.socket] = deque()

    def busy(self) -> int:
        return self.open + len(self.unacknowledged) + self.promised

    def usable(self) -> bool:
        return bool(self.name) and not self.leaving and not self.full

    def hand(self, batch: Sequence[Waiting], now: float) -> bool:
        """Send connections; False when the link takes none just now. Raises LinkClosed."""
        marks = b"".join(each.marks for each in batch)
        descriptors = [sock.fileno() for each in batch for sock in each.sockets]
        if not pass_descriptors(self.sock, descriptors, marks):
            self.full = True
            return False
        if not self.unacknowledged:
            self.silent_since = now
        self.unacknowledged.extend(batch)
        return True

    def on_readable(self) -> None:
        """Acknowledgements, reports, connections that come back; the end of the link."""
        try:
            self.read_all()
        except LinkClosed as why:
            self._owner.lost(self, str(why))

    def read_all(self) -> None:
        """Everything that waits. Raises LinkClosed at the end of the stream, after what came before it."""
        while True:
            try:
                data, numbers, _, _ = socket.recv_fds(self.sock, 65536, MAX_AT_ONCE)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                raise LinkClosed(*error.args) from error
            if not data:
                raise LinkClosed("its process ended or left")
            self._returned.extend(socket.socket(fileno=number) for number in numbers)
            self._buffer += data
            self._read_records()

    def _read_records(self) -> None:
        buffer = self._buffer
        at = 0
        while at < len(buffer):
            match buffer[at : at + 1]:
                case kind if kind == REPORT:
                    if len(buffer) - at < REPORT_SIZE:
                        break
                    self._on_report(*read_report(bytes(buffer[at : at + REPORT_SIZE])))
                    at += REPORT_SIZE
                case kind if kind == BACK:
                    at += 1
                    if self._returned:
                        self._owner.take_back(self, self._returned.popleft())
                case kind if kind == PASS:
                    if len(buffer) - at < 2 or len(buffer) - at < 2 + buffer[at + 1]:
                        break
                    size = buffer[at + 1]
                    group = bytes(buffer[at + 2 : at + 2 + size]).decode("utf-8", "replace")
                    at += 2 + size
                    if len(self._returned) >= 2:
                        self._owner.pass_on(group, self._returned.popleft(), self._returned.popleft())
                case kind if kind == LEAVE:
                    at += 1
                    self._on_leave()
                case kind if kind == DONE:
                    at += 1
                    self.done = True
                case kind if kind == JOIN and not self.name:
                    if len(buffer) - at < 2 or len(buffer) - at < 2 + buffer[at + 1]:
                        break
                    size = buffer[at + 1]
                    said = bytes(buffer[at + 2 : at + 2 + size]).decode("utf-8", "replace")
                    self.group, _, self.name = said.partition("/")
                    at += 2 + size
                    self._owner.joined(self)
                case _:
                    raise LinkClosed("it says what no server of this version says")
        del buffer[:at]

    def _on_report(self, received: int, busy: int) -> None:
        self.open = busy
        while self.acknowledged != received and self.unacknowledged:
            self.acknowledged = (self.acknowledged + 1) & 0xFFFF_FFFF
            self.unacknowledged.popleft().close()
        self.silent_since = time.monotonic()
        if self.full:
            self.full = False
            self._owner.distribute()

    def _on_leave(self) -> None:
        """It will drain; nothing is sent to it from now on, and it is told so."""
        self.leaving = True
        self.tell(LEFT)

    def tell(self, word: bytes) -> None:
        """Say one of the balancer's words. Raises LinkClosed."""
        try:
            self.sock.send(word)
        except OSError as error:
            raise LinkClosed(*error.args) from error

    def announce_end(self) -> None:
        """Say that the link ends: the server gives nothing back or on from now, and answers (`done`)."""
        try:
            self.tell(CLOSING)
        except LinkClosed as why:
            self._owner.lost(self, str(why))

    def give_up(self) -> list[Waiting]:
        """Close the link. What this server has not acknowledged by now it can never serve, and is ours again."""
        try:
            # From here on its acknowledgements fail, and it drops what it could not acknowledge; what it
            # acknowledged before can still be read.
            self.sock.shutdown(socket.SHUT_RD)
            self.read_all()
        except (LinkClosed, OSError):
            pass
        self.sock.close()
        left = list(self.unacknowledged)
        self.unacknowledged.clear()
        while self._returned:
            self._returned.popleft().close()
        return left
