"""The websocket state machine: tables of what comes in and what is done, whole, byte by byte and cut anywhere."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.http11 import Response

from skerry.http.headers import Headers
from skerry.http.request import Request
from skerry.server.actions import Send, Signal
from skerry.server.frames import Frames
from skerry.server.handshake import denial, shake
from skerry.server.ws13 import RESTART, TOO_SILENT, Action, Ended, Expire, Failed, Message, Ws13

MASK = b"\x01\x02\x03\x04"
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


def frame(
    opcode: int, data: bytes = b"", *, fin: bool = True, mask: bytes | None = MASK, rsv: int = 0
) -> bytes:
    """A client's frame (RFC 6455 section 5.2)."""
    size = len(data)
    masked = 0x80 if mask is not None else 0
    head = bytes(
        (
            opcode | (0x80 if fin else 0) | rsv,
            masked | (size if size < 126 else 126 if size < 65_536 else 127),
        )
    )
    if size >= 65_536:
        head += struct.pack("!Q", size)
    elif size >= 126:
        head += struct.pack("!H", size)
    if mask is None:
        return head + data
    return head + mask + bytes(byte ^ mask[at & 3] for at, byte in enumerate(data))


def close(code: int, reason: bytes = b"") -> bytes:
    return frame(CLOSE, struct.pack("!H", code) + reason)


@dataclass
class Run:
    """A machine and whoever executes for it: `sent` bytes, `told` everything else that is not about reading."""

    machine: Ws13
    response: Response
    """The answer to its handshake."""
    sent: bytes = b""
    told: list[object] | None = None
    paused: bool = False
    now: float = 0.0

    def do(self, actions: Sequence[Action], *, taking: bool = True) -> None:
        """Execute, and what follows; `taking`: the view takes each message at once."""
        assert self.told is not None
        work = list(actions)
        while True:
            for action in work:
                match action:
                    case Send(data):
                        self.sent += data
                    case Signal.PAUSE | Signal.RESUME:
                        self.paused = action is Signal.PAUSE
                    case Signal.REST:
                        self.machine.rested()
                    case Message():
                        self.told.append(action)
                        if taking:
                            self.machine.release()
                    case Failed():
                        self.told.append(action)
                        work += self.machine.fail()
                    case _:
                        self.told.append(action)
            work = list(self.machine.settle())
            if not work:
                return

    def feed(self, *parts: bytes, taking: bool = True) -> None:
        for part in parts:
            self.do(self.machine.receive(part), taking=taking)

    @property
    def messages(self) -> list[str | bytes]:
        return [each.data for each in self.told or () if isinstance(each, Message)]

    @property
    def closed_with(self) -> int | None:
        """The code of our close frame."""
        at = self.sent.rfind(b"\x88")
        return None if at < 0 or len(self.sent) < at + 4 else struct.unpack_from("!H", self.sent, at + 2)[0]


def machine(limit: int = 1_000, *, opened: bool = True) -> Run:
    """One that shook hands, unless it is to wait for the application's answer."""
    fields = [
        (b"host", b"x"), (b"upgrade", b"websocket"), (b"connection", b"Upgrade"), (b"sec-websocket-version", b"13"),
        (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ=="),
    ]  # fmt: skip
    core = Frames(limit)
    response, valid = shake(core, Request("GET", b"/", Headers(fields)))
    assert valid
    run = Run(Ws13(core, lambda: run.now, close_seconds=5.0, linger_seconds=2.0), response, told=[])
    if opened:
        run.do(run.machine.accept(response))
        assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in run.sent
        run.sent = b""
    return run


LONG = "ä€𝄞" * 50
MESSAGES: dict[str, tuple[bytes, list[str | bytes], bytes]] = {
    "text": (frame(TEXT, b"hi"), ["hi"], b""),
    "empty text": (frame(TEXT), [""], b""),
    "binary": (frame(BINARY, b"\xff\0"), [b"\xff\0"], b""),
    "a mask of zeros": (frame(TEXT, b"hi", mask=b"\0\0\0\0"), ["hi"], b""),
    "126 bytes": (frame(BINARY, b"x" * 126), [b"x" * 126], b""),
    "characters of many bytes": (frame(TEXT, LONG.encode()), [LONG], b""),
    "fragments": (frame(TEXT, b"a", fin=False) + frame(0, b"b", fin=False) + frame(0, b"c"), ["abc"], b""),
    "a character in two fragments": (frame(TEXT, b"\xc3", fin=False) + frame(0, b"\xa4"), ["ä"], b""),
    "empty fragments": (frame(BINARY, fin=False) + frame(0, fin=False) + frame(0), [b""], b""),
    "a ping": (frame(PING, b"p"), [], b"\x8a\x01p"),
    "a ping within a message": (
        frame(TEXT, b"a", fin=False) + frame(PING, b"p") + frame(0, b"b"), ["ab"], b"\x8a\x01p"
    ),
    "a pong that nobody asked for": (frame(PONG, b"p"), [], b""),
    "one after the other": (frame(TEXT, b"a") + frame(BINARY, b"b") + frame(TEXT, b"c"), ["a", b"b", "c"], b""),
    "two pings": (frame(PING, b"1") + frame(PING, b"2"), [], b"\x8a\x011\x8a\x012"),
    "the largest message": (frame(BINARY, b"x" * 1_000), [b"x" * 1_000], b""),
}  # fmt: skip
CLOSINGS: dict[str, tuple[bytes, int, str]] = {
    "with nothing": (frame(CLOSE), 1005, ""),
    "normal": (close(1000), 1000, ""),
    "with a reason": (close(1001, "weg\u00e4".encode()), 1001, "weg\u00e4"),
    "with a code of one's own": (close(4321), 4321, ""),
    "within a message": (frame(TEXT, b"a", fin=False) + close(1000), 1000, ""),
}
BROKEN: dict[str, tuple[bytes, int]] = {
    "no mask": (frame(TEXT, b"hi", mask=None), 1002),
    "a reserved bit": (frame(TEXT, b"hi", rsv=0x40), 1002),
    "an unknown opcode": (frame(3, b"hi"), 1002),
    "an unknown control opcode": (frame(11), 1002),
    "a fragmented ping": (frame(PING, fin=False), 1002),
    "a long ping": (frame(PING, b"x" * 126), 1002),
    "a continuation of nothing": (frame(0, b"a"), 1002),
    "a message within a message": (frame(TEXT, b"a", fin=False) + frame(TEXT, b"b"), 1002),
    "no UTF-8": (frame(TEXT, b"\xff"), 1007),
    "half a character at the end": (frame(TEXT, b"\xc3"), 1007),
    "a surrogate": (frame(TEXT, b"\xed\xa0\x80"), 1007),
    "no UTF-8 in a fragment": (frame(TEXT, b"a\xff", fin=False), 1007),
    "no UTF-8 in a frame that is not complete": (frame(TEXT, b"\xff" + b"a" * 100)[:20], 1007),
    "too large": (frame(BINARY, b"x" * 1_001), 1009),
    "too large in fragments": (frame(BINARY, b"x" * 600, fin=False) + frame(0, b"x" * 600), 1009),
    "a close frame of one byte": (frame(CLOSE, b"\x03"), 1002),
    "a close code that is none": (close(999), 1002),
    "a close code that nobody may send": (close(1005), 1002),
    "a close reason that is no UTF-8": (close(1000, b"\xff"), 1007),
}


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


@pytest.mark.parametrize("size", [1, 3, 10_000])
@pytest.mark.parametrize("name", MESSAGES)
def test_messages(name: str, size: int) -> None:
    """What comes is told once and in order, pings are answered, and nothing ends."""
    data, messages, sent = MESSAGES[name]
    run = machine()
    run.feed(*pieces(data, size))
    assert run.messages == messages
    assert run.sent == sent
    assert not run.machine.closing
    assert not run.paused


@pytest.mark.parametrize("size", [1, 3, 10_000])
@pytest.mark.parametrize("name", CLOSINGS)
def test_the_client_closes(name: str, size: int) -> None:
    """Its code is told and sent back, and the connection ends; what comes behind is nothing."""
    data, code, reason = CLOSINGS[name]
    run = machine()
    run.feed(*pieces(data + frame(TEXT, b"late"), size))
    assert [each for each in run.told or () if not isinstance(each, Message)] == [
        Ended(code, reason),
        Signal.CLOSE,
    ]
    assert run.sent[:1] == b"\x88"
    assert run.closed_with == (None if code == 1005 else code)
    assert not run.messages


@pytest.mark.parametrize("size", [1, 3, 10_000])
@pytest.mark.parametrize("name", BROKEN)
def test_the_client_breaks_the_protocol(name: str, size: int) -> None:
    """It is told by its code, and heard no more: half-closed, then cut."""
    data, code = BROKEN[name]
    run = machine()
    run.feed(*pieces(data, size))
    run.feed(frame(TEXT, b"late"))
    assert run.closed_with == code
    assert run.told is not None
    assert run.told[0] == Failed()
    assert isinstance(run.told[1], Ended)
    assert run.told[1].code == code
    assert run.told[2:4] == [Signal.LINGER, Expire(2.0)]
    assert not run.messages


@given(st.lists(st.sampled_from(sorted(MESSAGES)), min_size=1, max_size=5), st.data())
def test_the_same_stream_cut_anywhere_means_the_same(names: list[str], data: st.DataObject) -> None:
    """Messages and answers do not depend on how the network cuts them."""
    stream = b"".join(MESSAGES[name][0] for name in names)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=8)))
    parts = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    run = machine()
    run.feed(*[part for part in parts if part])
    assert run.messages == [message for name in names for message in MESSAGES[name][1]]
    assert run.sent == b"".join(MESSAGES[name][2] for name in names)


@given(st.binary(max_size=300), st.integers(1, 300))
def test_no_bytes_break_the_machine(data: bytes, size: int) -> None:
    """Whatever comes is a message, an answer or an end; after an end nothing is told."""
    run = machine()
    run.feed(*pieces(data, size))
    assert run.told is not None
    ends = [at for at, each in enumerate(run.told) if isinstance(each, Ended)]
    assert len(ends) <= 1
    assert not ends or not any(isinstance(each, Message) for each in run.told[ends[0] :])


def test_before_the_answer_nothing_is_parsed() -> None:
    """RFC 6455 section 4.1: a client waits; what one sends all the same is kept, and nothing more is read."""
    run = machine(opened=False)
    run.feed(frame(PING, b"p"), frame(TEXT, b"early"))
    assert (run.sent, run.told, run.paused) == (b"", [], True)
    assert run.machine.waits_unread
    run.do(run.machine.accept(run.response))
    assert run.messages == ["early"]
    assert run.sent.endswith(b"\x8a\x01p")
    assert not run.paused


def test_a_denied_handshake_is_an_answer_and_an_end() -> None:
    """What came early is nothing then."""
    run = machine(opened=False)
    run.feed(frame(TEXT, b"early"))
    run.do(run.machine.deny(denial(403, (), b"no")))
    assert run.sent.startswith(b"HTTP/1.1 403 Forbidden\r\n")
    assert run.sent.endswith(b"\r\n\r\nno")
    assert run.told == [Signal.CLOSE]
    run.feed(frame(TEXT, b"late"))
    assert not run.messages


def test_a_view_that_has_enough_is_not_told_more() -> None:
    """One message at a time: the next is parsed when it was taken, and the client is held up meanwhile."""
    run = machine()
    run.feed(frame(TEXT, b"a") + frame(TEXT, b"b"), taking=False)
    assert run.messages == ["a", "b"], "what came in one piece was parsed together"
    assert run.paused
    run.feed(frame(TEXT, b"c"), taking=False)
    assert run.messages == ["a", "b"]
    run.do(run.machine.release(), taking=False)
    assert run.messages == ["a", "b", "c"]
    run.do(run.machine.release())
    assert not run.paused


def test_a_client_that_takes_nothing_gets_one_pong() -> None:
    """The latest stands for all (RFC 6455 section 5.5.3)."""
    run = machine()
    run.do(run.machine.room(False))
    run.feed(*(frame(PING, b"%d" % number) for number in range(5)))
    assert run.sent == b""
    run.do(run.machine.room(True))
    assert run.sent == b"\x8a\x014"


def test_a_client_that_answers_no_ping_is_let_go() -> None:
    """Any byte is a sign of life; a client that takes nothing is not asked."""
    run = machine()
    run.do(run.machine.ping())
    assert run.sent == b"\x89\x00"
    run.feed(frame(PONG))
    run.do(run.machine.check())
    assert not run.machine.closing
    run.do(run.machine.ping())
    run.do(run.machine.check())
    assert run.closed_with == TOO_SILENT
    assert run.told == [Ended(TOO_SILENT, "no answer to a ping"), Expire(5.0)]
    stalled = machine()
    stalled.do(stalled.machine.room(False))
    stalled.do(stalled.machine.ping())
    stalled.do(stalled.machine.check())
    assert (stalled.sent, stalled.told) == (b"", [])


def test_we_close() -> None:
    """Once; the client has some time to answer, and what it still says is for nobody."""
    run = machine()
    run.do(run.machine.close(RESTART, "service restart"))
    run.do(run.machine.close(1000, ""))
    assert run.closed_with == RESTART
    assert run.told == [Expire(5.0)]
    run.feed(frame(TEXT, b"late") + close(RESTART))
    assert not run.messages
    assert run.machine.left
    assert Signal.CLOSE in (run.told or ())


@pytest.mark.parametrize("opened", [True, False])
def test_the_server_stops(opened: bool) -> None:
    """By a close frame, or before the handshake's answer by a status."""
    run = machine(opened=opened)
    run.do(run.machine.finish(RESTART, "service restart", 503))
    assert run.closed_with == RESTART if opened else run.sent.startswith(b"HTTP/1.1 503 ")


@pytest.mark.parametrize(
    ("data", "sent"),
    [("hi", b"\x81\x02hi"), (b"hi", b"\x82\x02hi"), ("", b"\x81\x00"), ("x" * 126, b"\x81\x7e\x00\x7e" + b"x" * 126),
     (b"x" * 65_536, b"\x82\x7f" + struct.pack("!Q", 65_536) + b"x" * 65_536)],
    ids=["text", "binary", "empty", "126", "65536"],
)  # fmt: skip
def test_what_we_send(data: str | bytes, sent: bytes) -> None:
    """Whole frames without a mask."""
    run = machine()
    run.do(run.machine.send(data))
    assert run.sent == sent


def test_a_listener_is_deaf_but_strict() -> None:
    """What a hub's listener says is checked and told to nobody."""
    run = machine()
    run.machine.deafen(10)
    run.feed(frame(TEXT, b"hi"), frame(PING, b"p"))
    assert (run.messages, run.sent) == ([], b"\x8a\x01p")
    run.feed(frame(TEXT, b"x" * 11))
    assert run.closed_with == 1009


def test_a_lost_connection_does_nothing() -> None:
    """Neither parsing nor telling."""
    run = machine()
    run.machine.drop()
    run.do(run.machine.settle())
    run.do(run.machine.ping())
    run.do(run.machine.close(1000, ""))
    assert (run.sent, run.told) == (b"", [])
