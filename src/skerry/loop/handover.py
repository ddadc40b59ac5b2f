"""How a balancer's connections reach a server process: the words on the link, and the server's end of it.

The server makes a link to the balancer (door.py) and joins a group when it is ready. Each socket that comes is
acknowledged before a byte of it is read, so the balancer, which keeps its own copy until then, knows which ones it
may still give to somebody else when a server dies or hangs. The balancer's end is `skerry.roles.balancer`.

    server -> balancer   JOIN size name        "group/name", once
                         REPORT received busy  both uint32: all sockets taken so far, connections open now
                         LEAVE                 send no more
                         BACK + descriptor     a connection between two requests, for somebody else
                         PASS size group       a connection for a group, with two descriptors: its own, and that of what
                                               goes with it (passing.py)
                         DONE                  the answer to CLOSING: no BACK and no PASS comes after it
    balancer -> server   WELCOME               the answer to JOIN
                         SOCKET + descriptor   a connection: the byte MARK_SOCKET, or MARK_KEPT for one that came BACK;
                                               MARK_PASSED and MARK_WITH, for the two of PASS
                         LEFT                  the answer to LEAVE: nothing comes after it
                         CLOSING               the link ends soon: give nothing back or on; sockets may still come
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
from collections import deque
from collections.abc import Callable

from skerry.clock import Backoff
from skerry.loop.pacing import call_in_step
from skerry.loop.passing import Passed, unwrapped, wrapped

log = logging.getLogger("skerry.handover")

JOIN, REPORT, LEAVE, BACK, PASS, DONE = b"J", b"R", b"L", b"B", b"P", b"D"
MARK_SOCKET, LEFT, WELCOME, MARK_KEPT, MARK_PASSED, MARK_WITH, CLOSING = (
    b"\x01",
    b"\x02",
    b"\x03",
    b"\x04",
    b"\x05",
    b"\x06",
    b"\x07",
)
_MARKS = MARK_SOCKET + MARK_KEPT + MARK_PASSED + MARK_WITH
REPORT_SIZE = 9
MAX_NAME_BYTES = 200
_report = struct.Struct("!cII")
_AT_ONCE = 64
_READ_BYTES = 256
"""More than descriptors come with: words without one may stand before them."""
REST_SECONDS = 1.0


def join_message(group: str, name: str) -> bytes:
    said = f"{group}/{name}".encode()
    if not 0 < len(said) <= MAX_NAME_BYTES:
        raise ValueError(f"group and name may have {MAX_NAME_BYTES} bytes together")
    return JOIN + bytes([len(said)]) + said


def pass_message(group: str) -> bytes:
    name = group.encode()
    return PASS + bytes([len(name)]) + name


def report_message(received: int, busy: int) -> bytes:
    return _report.pack(REPORT, received & 0xFFFF_FFFF, busy & 0xFFFF_FFFF)


def read_report(record: bytes) -> tuple[int, int]:
    """(received, busy) of a REPORT record of REPORT_SIZE bytes."""
    _, received, busy = _report.unpack(record)
    return received, busy


class HandoverReceiver:
    """A server's end: joins, takes sockets, tells how busy it is, leaves. Comes back by itself when the link breaks.

    `connect()` makes a link to the balancer that is there, or will be, or raises OSError. `take(sock)` owns the socket
    from then on, as does `take_kept` one whose client was served before, elsewhere (`take` too unless given), and
    `take_passed` one that another process has passed on, with what goes with it; `busy()` is the number of open
    connections. Call `start` when the server is ready to serve.
    """

    def __init__(
        self,
        connect: Callable[[], socket.socket],
        name: str,
        take: Callable[[socket.socket], None],
        busy: Callable[[], int],
        group: str = "server",
        report_seconds: float = 0.1,
        take_kept: Callable[[socket.socket], None] | None = None,
        take_passed: Callable[[socket.socket, Passed], None] | None = None,
    ) -> None:
        self._connect, self._name, self._group = connect, name, group
        self._take, self._take_kept, self._busy = take, take_kept or take, busy
        self._take_passed = take_passed
        self._report_seconds = report_seconds
        self._link: socket.socket | None = None
        self._lost: asyncio.Future[None] | None = None
        self._owner: asyncio.Task[None] | None = None
        self._reporter: asyncio.TimerHandle | None = None
        self._received = 0
        self._reported = 0
        self._pause = report_seconds
        self._leaving = False
        self._left = asyncio.Event()
        self._ending = False  # of the link, as the balancer has said
        self.joined = asyncio.Event()

    # --- life

    def start(self) -> None:
        """Join, now or as soon as a balancer is there; after `drain`, anew."""
        if self._owner is not None:
            if not self._leaving:
                return
            self._owner.cancel()
            self._drop()
        self._leaving = False
        self._left.clear()
        self._owner = asyncio.create_task(self._stay_joined(), name=f"skerry-handover-{self._name}")

    async def drain(self, seconds: float) -> bool:
        """Ask for no more and wait until none can come. False when the balancer did not answer in time; the link
        is then given up, and what was under way goes to another server. `give_back` works until `stop`."""
        self._leaving = True
        if not self.joined.is_set():  # nobody has ever seen this server: nothing can be on its way
            self._drop()
            return True
        self._write(LEAVE)
        try:
            async with asyncio.timeout(seconds):
                await self._left.wait()
            return True
        except TimeoutError:
            self._drop()
            return False

    @property
    def can_give(self) -> bool:
        """Whether a balancer is there that takes connections from here."""
        return self._link is not None and self.joined.is_set() and not self._ending

    def give_back(self, connection: socket.socket) -> bool:
        """Hand an idle connection to another server; False when there is no balancer, and it stays the caller's.
        True: it is the balancer's, this process's copy is closed."""
        link = self._link
        if link is None or not self.can_give:
            return False
        try:
            socket.send_fds(link, [BACK], [connection.fileno()])
        except OSError:
            return False
        connection.close()
        return True

    def pass_on(self, connection: socket.socket, group: str, passed: Passed) -> bool:
        """Hand a connection to a process of that group, with what goes with it. False when there is no balancer or no
        room, and it stays the caller's. True: it is the balancer's, this process's copy is closed."""
        link = self._link
        if link is None or not self.can_give:
            return False
        message = pass_message(group)
        try:
            with wrapped(passed) as beside:
                sent = socket.send_fds(link, [message], [connection.fileno(), beside.fileno()])
        except OSError:
            return False
        connection.close()
        if sent != len(message):
            self._drop()
        return True

    async def stop(self) -> None:
        """Give up the link."""
        owner, self._owner = self._owner, None
        if owner is not None:
            owner.cancel()
            await asyncio.wait({owner})
        self._drop()

    # --- the link

    async def _stay_joined(self) -> None:
        backoff = Backoff(first=0.02, ceiling=0.3)
        loop = asyncio.get_running_loop()
        while not self._leaving:
            try:
                link = self._connect()
            except OSError as error:
                log.debug("the balancer cannot be reached: %s", error)
                await asyncio.sleep(backoff.next())
                continue
            try:
                link.send(join_message(self._group, self._name))
            except OSError:
                link.close()
                await asyncio.sleep(backoff.next())
                continue
            self._lost = loop.create_future()
            self._received = 0
            self._ending = False
            self._left.clear()
            self._reported = -1  # this balancer knows nothing yet
            self._link = link
            loop.add_reader(link, self._on_readable)
            self._report()
            backoff.reset()
            await self._lost
            await asyncio.sleep(backoff.next())

    def _on_readable(self) -> None:
        link = self._link
        if link is None:
            return
        try:
            data, numbers, flags, _ = socket.recv_fds(link, _READ_BYTES, _AT_ONCE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._drop()
            return
        taken = [socket.socket(fileno=number) for number in numbers]
        if not data or flags & socket.MSG_CTRUNC:
            if data:
                log.error("too many open files: a connection could not be taken")
            _close_all(taken)
            self._drop()
            return
        if taken:
            self._acknowledge(list(zip((mark for mark in data if mark in _MARKS), taken, strict=True)))
        if WELCOME in data:
            self.joined.set()
            log.debug("joined the balancer as %s/%s", self._group, self._name)
        if LEFT in data:
            self._left.set()
        if CLOSING in data:
            self._ending = True
            self._write(DONE)

    def _acknowledge(self, taken: list[tuple[int, socket.socket]]) -> None:
        """Say that they are ours, then serve them; when it cannot be said, they are not ours."""
        beside = deque(sock for mark, sock in taken if mark in MARK_WITH)
        connections = [(mark, sock) for mark, sock in taken if mark not in MARK_WITH]
        self._received += len(connections)
        if not self._write(report_message(self._received, self._busy() + len(connections))):
            _close_all([sock for _, sock in taken])
            return
        self._reported = -1
        for mark, each in connections:
            each.setblocking(False)
            each.set_inheritable(False)
            if mark in MARK_PASSED:
                self._receive_passed(each, beside.popleft())
            else:
                (self._take_kept if mark in MARK_KEPT else self._take)(each)

    def _receive_passed(self, connection: socket.socket, beside: socket.socket) -> None:
        try:
            passed = unwrapped(beside)
        except ValueError as error:
            log.error("a connection that was passed on is lost: %s", error)
            connection.close()
            return
        if self._take_passed is None:
            log.error("a connection was passed on to %s, which takes none", self._name)
            connection.close()
            return
        self._take_passed(connection, passed)

    def _report(self) -> None:
        """Tell the number of open connections when it changed, a few times a second at most; while it does not change
        it is looked at less and less often, up to once a second."""
        busy = self._busy()
        if busy != self._reported:
            if self._write(report_message(self._received, busy)):
                self._reported = busy
            self._pause = self._report_seconds
        else:
            self._pause = min(2 * self._pause, max(REST_SECONDS, self._report_seconds))
        if self._link is not None:
            self._reporter = call_in_step(asyncio.get_running_loop(), self._pause, self._report)

    def _write(self, data: bytes) -> bool:
        """Whether it went out whole; a link that takes nothing more is given up (its reader hangs)."""
        if self._link is None:
            return False
        try:
            if self._link.send(data) == len(data):
                return True
        except OSError:
            pass
        self._drop()
        return False

    def _drop(self) -> None:
        link, self._link = self._link, None
        if link is None:
            return
        if self._reporter is not None:
            self._reporter.cancel()
        asyncio.get_running_loop().remove_reader(link)
        link.close()
        self.joined.clear()
        self._left.set()  # nothing can come any more
        if self._lost is not None and not self._lost.done():
            self._lost.set_result(None)


def _close_all(sockets: list[socket.socket]) -> None:
    for each in sockets:
        with contextlib.suppress(OSError):
            each.close()
