"""The form of a head, pure and on real sockets: what h1spec asks of a server, and what smugglers try."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from skerry.http.problems import Problem
from skerry.server.strict import Head, examine, origin_form

Start = Callable[..., Awaitable[Any]]
HOST = "Host: example.com\r\n"
CHUNKED = f"POST / HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n"
LATER = b"GET /values/k HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

WAITS = [
    "G", "GET ", "GET /hello", "GET /hello ", "GET /hello HTTP", "GET /hello HTTP/1.1", "GET /hello HTTP/1.1\r",
    "GET /hello HTTP/1.1\r\n", "GET /hello HTTP/1.1\r\nHos", "GET /hello HTTP/1.1\r\nHost:",
    "GET /hello HTTP/1.1\r\nHost: ", "GET /hello HTTP/1.1\r\nHost: localhost",
    "GET /hello HTTP/1.1\r\nHost: localhost\r", "GET /hello HTTP/1.1\r\nHost: localhost\r\n",
    "GET /hello HTTP/1.1\r\nHost: localhost\r\n\r",
]  # fmt: skip

ANSWERS = [
    ("no version", "GET / \r\n\r\n", 400, 599),
    ("expect without a body", f"GET / HTTP/1.1\r\n{HOST}Expect: 100-continue\r\n\r\n", 200, 299),
    ("plain", f"GET / HTTP/1.1\r\n{HOST}\r\n", 200, 299),
    ("edge cases of fields", "GET / HTTP/1.1\r\nhoSt:\texample.com\r\nempty:\r\n\r\n", 200, 299),
    ("brackets in a name", f"GET / HTTP/1.1\r\n{HOST}X-Invalid[]: test\r\n\r\n", 400, 499),
    ("no host", "GET / HTTP/1.1\r\nContent-Length: 5\r\n\r\n", 400, 499),
    ("two hosts", f"GET / HTTP/1.1\r\n{HOST}Host: example.org\r\n\r\n", 400, 499),
    ("length below zero, huge", f"GET / HTTP/1.1\r\n{HOST}Content-Length: -123456789123456789123\r\n\r\n", 400, 499),
    ("length below zero", f"GET / HTTP/1.1\r\n{HOST}Content-Length: -1234\r\n\r\n", 400, 499),
    ("length in letters", f"GET / HTTP/1.1\r\n{HOST}Content-Length: abc\r\n\r\n", 400, 499),
    ("empty value", f"GET / HTTP/1.1\r\n{HOST}X-Empty-Header: \r\n\r\n", 200, 299),
    ("control character", f"GET / HTTP/1.1\r\n{HOST}X-Bad: test\x07\r\n\r\n", 400, 499),
    ("version 9.9", f"GET / HTTP/9.9\r\n{HOST}\r\n", 400, 599),
    ("prefix", f"Extra lineGET / HTTP/1.1\r\n{HOST}\r\n", 400, 599),
    ("bare CR", f"GET / HTTP/1.1\r\n{HOST}\rSome-Header: Test\r\n\r\n", 400, 499),
    ("post", f"POST / HTTP/1.1\r\n{HOST}Content-Length: 5\r\n\r\nhello", 200, 299),
    ("two framings", f"GET / HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", 400, 499),
    ("two framings, length first",
     f"POST / HTTP/1.1\r\n{HOST}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, 400),
    ("two equal lengths", f"POST / HTTP/1.1\r\n{HOST}Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400, 400),
    ("length list", f"POST / HTTP/1.1\r\n{HOST}Content-Length: 3, 3\r\n\r\nabc", 400, 400),
    ("length with a sign", f"POST / HTTP/1.1\r\n{HOST}Content-Length: +3\r\n\r\nabc", 400, 400),
    ("length in hex", f"POST / HTTP/1.1\r\n{HOST}Content-Length: 0x3\r\n\r\nabc", 400, 400),
    ("empty length", f"POST / HTTP/1.1\r\n{HOST}Content-Length:\r\n\r\n", 400, 400),
    ("fold", f"GET / HTTP/1.1\r\n{HOST}A: b\r\n c\r\n\r\n", 400, 400),
    ("fold after the line", f"GET / HTTP/1.1\r\n {HOST}\r\n", 400, 400),
    ("space before colon", f"GET / HTTP/1.1\r\n{HOST}A : b\r\n\r\n", 400, 400),
    ("space before colon of the length", f"POST / HTTP/1.1\r\n{HOST}Content-Length : 3\r\n\r\nabc", 400, 400),
    ("NUL in a value", f"GET / HTTP/1.1\r\n{HOST}A: b\0c\r\n\r\n", 400, 400),
    ("DEL in a value", f"GET / HTTP/1.1\r\n{HOST}A: b\x7fc\r\n\r\n", 400, 400),
    ("bare LF in a head", f"GET / HTTP/1.1\r\n{HOST}A: b\nC: d\r\n\r\n", 400, 400),
    ("bare LF everywhere", "GET / HTTP/1.1\nHost: x\n\n", 400, 400),
    ("empty name", f"GET / HTTP/1.1\r\n{HOST}: b\r\n\r\n", 400, 400),
    ("version 0.9", f"GET / HTTP/0.9\r\n{HOST}\r\n", 400, 505),
    ("version 1.2", f"GET / HTTP/1.2\r\n{HOST}\r\n", 400, 505),
    ("version 2.0", f"GET / HTTP/2.0\r\n{HOST}\r\n", 400, 505),
    ("HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, 505),
    ("lower-case method", f"get / HTTP/1.1\r\n{HOST}\r\n", 400, 400),
    ("unknown method", f"FOO / HTTP/1.1\r\n{HOST}\r\n", 400, 501),
    ("host with a path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400, 400),
    ("host with a space", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400, 400),
    ("host with a user", "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400, 400),
    ("IPv6 host", "GET / HTTP/1.1\r\nHost: [::1]:8999\r\n\r\n", 200, 200),
    ("coding gzip", f"POST / HTTP/1.1\r\n{HOST}Transfer-Encoding: gzip\r\n\r\nabc", 400, 501),
    ("coding gzip, chunked", f"POST / HTTP/1.1\r\n{HOST}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501, 501),
    ("coding chunked twice",
     f"POST / HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400, 400),
    ("coding in two lines",
     f"POST / HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", 400, 501),
    ("coding xchunked", f"POST / HTTP/1.1\r\n{HOST}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400, 501),
    ("coding with HTTP/1.0", f"POST / HTTP/1.0\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, 400),
    ("chunk size with space", f"{CHUNKED}3 \r\nabc\r\n0\r\n\r\n", 400, 400),
    ("chunk size in 0x", f"{CHUNKED}0x3\r\nabc\r\n0\r\n\r\n", 400, 400),
    ("chunk too long", f"{CHUNKED}3\r\nabcd\r\n0\r\n\r\n", 400, 400),
    ("chunk size overflow", f"{CHUNKED}FFFFFFFFFFFFFFFFF\r\n", 400, 400),
    ("chunks with bare LF", f"{CHUNKED}3\nabc\n0\n\n", 400, 400),
    ("unknown expectation", f"GET / HTTP/1.1\r\n{HOST}Expect: a-miracle\r\n\r\n", 417, 417),
    ("fragment", f"GET /#top HTTP/1.1\r\n{HOST}\r\n", 400, 400),
    ("asterisk with GET", f"GET * HTTP/1.1\r\n{HOST}\r\n", 400, 400),
    ("connect", f"CONNECT example.com:80 HTTP/1.1\r\n{HOST}\r\n", 400, 501),
    ("bytes over 127 in the path", f"GET /\xff HTTP/1.1\r\n{HOST}\r\n", 400, 400),
    ("tab in the path", f"GET /a\tb HTTP/1.1\r\n{HOST}\r\n", 400, 400),
    ("absolute form", f"GET http://example.com/ HTTP/1.1\r\n{HOST}\r\n", 200, 200),
    ("absolute form without a path", f"GET http://example.com HTTP/1.1\r\n{HOST}\r\n", 200, 200),
    ("absolute form with a user", f"GET http://u@example.com/ HTTP/1.1\r\n{HOST}\r\n", 400, 400),
    ("HTTP/1.0 without host", "GET / HTTP/1.0\r\n\r\n", 200, 200),
    ("HTTP/1.0 with two hosts", f"GET / HTTP/1.0\r\n{HOST}{HOST}\r\n", 400, 400),
    ("TLS on a plain port", "\x16\x03\x01\x02\x00", 400, 400),
    ("upgrade with a body",
     f"POST / HTTP/1.1\r\n{HOST}Connection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\nabc", 200, 200),
    ("upgrade to something else", f"GET / HTTP/1.1\r\n{HOST}Connection: upgrade\r\nUpgrade: h2c\r\n\r\n", 200, 200),
]  # fmt: skip


async def test_an_incomplete_request_is_waited_for(start: Start) -> None:
    """However a request is cut off, the server says nothing before it is complete."""
    running = await start()
    streams = [await running.connect() for _ in WAITS]
    for (_, writer), text in zip(streams, WAITS, strict=True):
        writer.write(text.encode("latin-1"))
    reader, writer = await running.connect()
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    for (reader, writer), text in zip(streams, WAITS, strict=True):
        assert not reader._buffer, text
        assert not reader.at_eof(), text
        writer.close()


@pytest.mark.parametrize(("what", "text", "least", "most"), ANSWERS, ids=[each[0] for each in ANSWERS])
async def test_heads(start: Start, what: str, text: str, least: int, most: int) -> None:
    """Each well-formed request is answered, each malformed one refused with the right class, never served."""
    running = await start()
    reader, writer = await running.connect()
    writer.write(text.encode("latin-1"))
    line = await reader.readline()
    found = re.match(rb"HTTP/1\.1 (\d{3}) ", line)
    assert found, (what, line)
    assert least <= int(found[1]) <= most, (what, line)
    writer.close()


@pytest.mark.parametrize("cut", range(1, 60))
async def test_a_request_may_come_in_any_two_pieces(start: Start, cut: int) -> None:
    """Where the network cuts a request makes no difference."""
    running = await start()
    text = b"PUT /values/k HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
    found = await running.ask(text[:cut], text[cut:] + LATER)
    assert found.endswith(b'{"key":"k","value":"hello"}<end>')


def test_what_the_fields_say() -> None:
    """Framing and expectation are read in one pass."""
    fields = [(b"host", b"x"), (b"content-length", b"5"), (b"expect", b"100-Continue")]
    assert examine("1.1", fields) == Head(5, False, True, False)
    assert examine("1.1", [(b"host", b"x"), (b"transfer-encoding", b"chunked")]).has_body
    assert not examine("1.0", []).has_body
    with pytest.raises(Problem) as caught:
        examine("1.1", [])
    assert caught.value.status == 400


def test_an_absolute_target_replaces_the_host() -> None:
    """RFC 9112 section 3.2.2: the authority of the target counts, not the Host field."""
    fields = [(b"host", b"one"), (b"accept", b"*/*")]
    assert origin_form("GET", b"http://two:81/p?q", fields) == b"/p?q"
    assert fields == [(b"host", b"two:81"), (b"accept", b"*/*")]
    assert origin_form("GET", b"http://two?q", fields) == b"/?q"
