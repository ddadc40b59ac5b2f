"""The machine for HTTP/1.1 without a transport: what goes in, what comes out, and that packets mean nothing."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from typing import Any

import pytest

from skerry.http.problems import Problem
from skerry.http.request import Ends
from skerry.server.actions import Send, Signal
from skerry.server.http1 import CONTINUE, Http1, Turn
from skerry.server.settings import ServerSettings

FLOW = {Signal.PAUSE, Signal.RESUME, Signal.REST, Signal.READABLE}


class Desk:
    """A reception: bodies of /stream... are streamed, others collected up to 10 bytes."""

    draining = closing = False

    def admit(self, turn: Turn) -> int | None:
        return None if turn.request.target.startswith(b"/stream") else 10


class Wire:
    """Executes what the machine decides, answers every turn at once, and notes what matters to a client."""

    def __init__(self) -> None:
        self.machine = Http1(ServerSettings(), Desk(), Ends(), lambda: 0.0)
        self.notes: list[Any] = []
        self.holds: Turn | None = None  # a streamed turn whose body is not complete

    def do(self, actions: Sequence[Any]) -> None:
        machine = self.machine
        work = list(actions)
        while True:
            for action in work:
                if isinstance(action, Turn):
                    work.extend(self.answer(action))
                elif isinstance(action, Send):
                    self.notes.append(action.data)
                elif action not in FLOW:
                    self.notes.append(action.name)
                    if action is Signal.DROP:
                        self.holds = None
            if self.holds is not None and (self.holds.complete or self.holds.broken):
                turn, self.holds = self.holds, None
                self.notes.append(("body", b"".join(turn.parts), turn.broken))
                turn.parts = ()
                work = list(machine.answered())
                continue
            work = list(machine.settle())
            if not work:
                return

    def answer(self, turn: Turn) -> Sequence[Any]:
        if isinstance(turn.error, Problem):
            self.notes.append(turn.error.status)
        else:
            self.notes.append((turn.request.method, turn.request.target, turn.request.body, turn.websocket))
        if turn.websocket:
            self.notes.append(turn.leftover)
            self.machine.lost()
            return ()
        if turn.streamed:
            self.holds = turn
            return ()
        return self.machine.answered()


def heard(parts: Sequence[bytes], *, eof: bool = True) -> list[Any]:
    wire = Wire()
    for part in parts:
        wire.do(wire.machine.receive(part))
    if eof:
        wire.do(wire.machine.receive_eof())
    return wire.notes


def get(target: str = "/", *fields: str) -> bytes:
    return "\r\n".join([f"GET {target} HTTP/1.1", "Host: x", *fields, "", ""]).encode()


def put(target: str, body: bytes, *fields: str) -> bytes:
    return (
        "\r\n".join(
            [f"PUT {target} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *fields, "", ""]
        ).encode()
        + body
    )


H2C = (
    "Connection: Upgrade, HTTP2-Settings",
    "Upgrade: h2c",
    "HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAA",
)
CHUNKED = b"PUT %b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
CASES: dict[str, tuple[bytes, list[Any]]] = {
    "one": (get(), [("GET", b"/", b"", False), "CLOSE"]),
    "two": (get("/a") + get("/b"), [("GET", b"/a", b"", False), ("GET", b"/b", b"", False), "CLOSE"]),
    "a body": (put("/a", b"12"), [("PUT", b"/a", b"12", False), "CLOSE"]),
    "too large": (put("/a", bytes(11)), [413, "CLOSE"]),
    "chunks": (CHUNKED % b"/a" + b"1\r\na\r\n1;x=y\r\nb\r\n0\r\nT: t\r\n\r\n", [("PUT", b"/a", b"ab", False), "CLOSE"]),
    "a streamed body": (
        put("/stream", b"123") + get("/b"),
        [("PUT", b"/stream", b"", False), ("body", b"123", False), ("GET", b"/b", b"", False), "CLOSE"],
    ),
    "a streamed body that breaks": (
        CHUNKED % b"/stream" + b"zz\r\n",
        [("PUT", b"/stream", b"", False), "DROP", 400, "CLOSE"],
    ),
    "a streamed body that ends early": (
        put("/stream", b"12345")[:-2],
        [("PUT", b"/stream", b"", False), "GONE", ("body", b"123", True), "CLOSE"],
    ),
    "half a head": (get()[:-3], ["CLOSE"]),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", [400, "CLOSE"]),
    "nonsense behind a request": (get() + b"NONSENSE\r\n\r\n", [("GET", b"/", b"", False), 400]),
    "close": (get("/", "Connection: close") + get("/b"), [("GET", b"/", b"", False), "CLOSE"]),
    "expect": (put("/a", b"12", "Expect: 100-continue"), [CONTINUE, ("PUT", b"/a", b"12", False), "CLOSE"]),
    "expect too much": (put("/a", bytes(11), "Expect: 100-continue"), [413, "CLOSE"]),
    "h2c": (get("/", *H2C), [("GET", b"/", b"", False), "CLOSE"]),
    "h2c with a body": (
        put("/a", b"12", *H2C) + get("/b"),
        [("PUT", b"/a", b"12", False), ("GET", b"/b", b"", False), "CLOSE"],
    ),
    "h2c with chunks": (
        CHUNKED[:-2] % b"/a" + "\r\n".join([*H2C, "", ""]).encode() + b"2\r\nab\r\n0\r\n\r\n",
        [("PUT", b"/a", b"ab", False), "CLOSE"],
    ),
    "options of everything": (b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", [("OPTIONS", b"*", b"", False), "CLOSE"]),
}  # fmt: skip


def without_the_end(notes: list[Any]) -> list[Any]:
    """How a connection ends depends on whether the client had said everything by then."""
    return [note for note in notes if note not in ("CLOSE", "LINGER")]


@pytest.mark.parametrize("name", CASES)
def test_what_comes_out(name: str) -> None:
    """Each request is answered, refused or broken off, in its place; the connection ends behind the last."""
    text, expected = CASES[name]
    assert without_the_end(heard([text])) == without_the_end(expected)


@pytest.mark.parametrize("name", CASES)
def test_packets_mean_nothing(name: str) -> None:
    """In one piece, byte by byte and cut anywhere the same comes out."""
    text, _ = CASES[name]
    whole = without_the_end(heard([text]))
    assert without_the_end(heard([bytes((byte,)) for byte in text])) == whole
    rng = random.Random(name)
    for _ in range(50):
        edges = sorted({0, len(text), *(rng.randrange(len(text) + 1) for _ in range(rng.randrange(6)))})
        parts = [text[a:b] for a, b in itertools.pairwise(edges)]
        assert without_the_end(heard(parts)) == whole, parts


def test_nothing_is_read_while_a_turn_waits() -> None:
    """The second request waits for the first answer, and the transport is told to stop reading."""
    machine = Http1(ServerSettings(), Desk(), Ends(), lambda: 0.0)
    first, *_ = machine.receive(get("/stream") + get("/b"))
    assert isinstance(first, Turn)
    assert list(machine.settle()) == [Signal.PAUSE]
    [second] = machine.answered()
    assert isinstance(second, Turn)
    assert second.request.target == b"/b"
    assert list(machine.settle()) == [Signal.RESUME]


def test_a_client_that_says_no_more_is_told_once_and_has_a_while() -> None:
    """GONE comes at once; the answer may still be sent, until the time for it is over."""
    settings = ServerSettings(gone_seconds=30)
    machine = Http1(settings, Desk(), Ends(), lambda: 0.0)
    machine.receive(get("/stream"))
    assert list(machine.left()) == [Signal.GONE]
    assert list(machine.receive_eof()) == []
    assert list(machine.tick(100.0)) == []
    assert list(machine.tick(129.9)) == []
    assert list(machine.tick(130.0)) == [Signal.ABORT]


def test_a_client_that_does_not_take_the_last_answer_has_a_while() -> None:
    """The connection closes behind an answer as soon as all of it is taken, or the time for that is over."""
    machine = Http1(ServerSettings(gone_seconds=30), Desk(), Ends(), lambda: 0.0)
    [turn] = [each for each in machine.receive(get("/a", "Connection: close")) if isinstance(each, Turn)]
    assert turn.request.target == b"/a"
    assert Signal.CLOSE in list(machine.answered())
    assert list(machine.tick(100.0)) == []
    assert list(machine.tick(129.9)) == []
    assert list(machine.tick(130.0)) == [Signal.ABORT]


def test_a_client_that_is_there_may_wait_for_its_answer() -> None:
    """However long that takes: the time for a client that says no more is not its."""
    settings = ServerSettings(gone_seconds=30, keep_alive_seconds=75)
    machine = Http1(settings, Desk(), Ends(), lambda: 0.0)
    machine.receive(get("/stream"))
    for now in (1.0, 32.0, 100.0, 10_000.0):
        assert list(machine.tick(now)) == []
