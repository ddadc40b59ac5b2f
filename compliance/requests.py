"""Requests that a strict HTTP/1.1 server has to wait for, answer or refuse, as data.

What h1spec asks for, and more of what smugglers try, written down as our own; Http11Probe's list is `probe`.
`tests/server/test_strict.py` sends all of them to our server, `make compliance` to uvicorn too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

H = "Host: example.com\r\n"
GET, POST = f"GET / HTTP/1.1\r\n{H}", f"POST / HTTP/1.1\r\n{H}"
CHUNKED = f"{POST}Transfer-Encoding: chunked\r\n\r\n"
REFUSED = (400, 499)


@dataclass(frozen=True, slots=True)
class Case:
    """`text` is sent as latin-1. `answers`: the first status lies in one of these ranges; none: the server waits.
    `closes`: or the connection may be closed without an answer; `waits`: or the server may wait. `least`, `most`: so
    many requests are answered; `ends`: then the connection is closed. `shows`, `hides`: what is found in the answers,
    and what is not, as expressions. `asks`: whose list has it. `of`: the servers that it is about. `choice`: why ours
    differs from what the list prefers."""

    name: str
    text: str
    answers: tuple[tuple[int, int], ...] = (REFUSED,)
    closes: bool = False
    asks: str = "own"
    waits: bool = False
    least: int = 0
    most: int | None = None
    ends: bool = False
    shows: str = ""
    hides: str = ""
    of: tuple[str, ...] = ()
    choice: str = ""

    @property
    def data(self) -> bytes:
        return self.text.encode("latin-1")

    def met_by(self, status: int | None, *, closed: bool) -> bool:
        """Whether a first status, or none, is what is wanted."""
        if status is None:
            return (
                (closed and self.closes) if self.answers and not (self.waits and not closed) else not closed
            )
        return any(least <= status <= most for least, most in self.answers)

    def judge(self, said: bytes, *, ended: bool) -> bool:
        """Whether all that a server has said is what is wanted. `ended`: then it closed the connection."""
        statuses = [int(each) for each in re.findall(rb"HTTP/1\.[01] (\d{3}) ", said)]
        if not self.met_by(statuses[0] if statuses else None, closed=ended and not said):
            return False
        answered = sum(status >= 200 for status in statuses)
        text = said.decode("latin-1")
        return (
            self.least <= answered <= (answered if self.most is None else self.most)
            and (ended or not self.ends)
            and (not self.shows or _found(self.shows, text))
            and not (self.hides and _found(self.hides, text))
        )


def _found(expression: str, text: str) -> bool:
    return re.search(expression, text, re.IGNORECASE | re.DOTALL) is not None


def _h1spec() -> list[Case]:
    whole = "GET /hello HTTP/1.1\r\nHost: localhost\r\n\r"
    cuts = ("G", "GET ", "GET /hello", "GET /hello ", "GET /hello HTTP", "GET /hello HTTP/1.1", "GET /hello HTTP/1.1\r",
            "GET /hello HTTP/1.1\r\n", "GET /hello HTTP/1.1\r\nHos", "GET /hello HTTP/1.1\r\nHost:",
            "GET /hello HTTP/1.1\r\nHost: ", whole[:-3], whole[:-2], whole[:-1], whole)  # fmt: skip
    ok, wrong, any_error = ((200, 299),), (REFUSED,), ((400, 599),)
    told = [
        ("no version", "GET / \r\n\r\n", any_error),
        ("expect without a body", f"{GET}Expect: 100-continue\r\n\r\n", ((100, 100), (200, 299))),
        ("plain", f"{GET}\r\n", ok),
        ("edge cases of fields", "GET / HTTP/1.1\r\nhoSt:\texample.com\r\nempty:\r\n\r\n", ok),
        ("brackets in a name", f"{GET}X-Invalid[]: test\r\n\r\n", wrong),
        ("no host", "GET / HTTP/1.1\r\nContent-Length: 5\r\n\r\n", wrong),
        ("two hosts", f"{GET}Host: example.org\r\n\r\n", wrong),
        ("length below zero, huge", f"{GET}Content-Length: -123456789123456789123456789\r\n\r\n", wrong),
        ("length below zero", f"{GET}Content-Length: -1234\r\n\r\n", wrong),
        ("length in letters", f"{GET}Content-Length: abc\r\n\r\n", wrong),
        ("empty value", f"{GET}X-Empty-Header: \r\n\r\n", ok),
        ("control character", f"{GET}X-Bad: test\x07\r\n\r\n", wrong),
        ("version 9.9", f"GET / HTTP/9.9\r\n{H}\r\n", any_error),
        ("prefix", f"Extra lineGET / HTTP/1.1\r\n{H}\r\n", any_error),
        ("bare CR", f"{GET}\rSome-Header: Test\r\n\r\n", wrong),
        ("post", f"{POST}Content-Length: 5\r\n\r\nhello", ((200, 299), (404, 404))),
        ("two framings", f"{GET}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", wrong),
    ]
    return [
        *(Case(f"cut after {len(cut)} bytes", cut, (), asks="h1spec") for cut in cuts),
        *(Case(name, text, answers, asks="h1spec") for name, text, answers in told),
    ]


def _heads() -> list[Case]:
    """The request line and the fields."""
    refused = {
        "bare LF after the request line": f"GET / HTTP/1.1\n{H}\r\n",
        "bare LF in a head": f"{GET}A: b\nC: d\r\n\r\n",
        "bare LF everywhere": "GET / HTTP/1.1\nHost: x\n\n",
        "CR alone as a line's end": f"GET / HTTP/1.1\r{H}\r\n",
        "fold": f"{GET}A: b\r\n c\r\n\r\n",
        "fold by a tab": f"{GET}A: b\r\n\tc\r\n\r\n",
        "fold after the request line": f"GET / HTTP/1.1\r\n {H}\r\n",
        "a line of spaces before the fields": f"GET / HTTP/1.1\r\n \r\n{H}\r\n",
        "space before colon": f"{GET}A : b\r\n\r\n",
        "tab before colon": f"{GET}A\t: b\r\n\r\n",
        "no colon": f"{GET}NoColonHere\r\n\r\n",
        "empty name": f"{GET}: b\r\n\r\n",
        "bracket in a name": f"{GET}Bad[Name: b\r\n\r\n",
        "quote in a name": f'{GET}"A": b\r\n\r\n',
        "letters beyond ASCII in a name": f"{GET}X-T\xc3\xabst: b\r\n\r\n",
        "NUL in a value": f"{GET}A: b\0c\r\n\r\n",
        "DEL in a value": f"{GET}A: b\x7fc\r\n\r\n",
        "BEL, BS and VT in a value": f"{GET}A: b\x07\x08\x0bc\r\n\r\n",
        "CR in a value": f"{GET}A: b\rc\r\n\r\n",
        "two equal hosts": f"{GET}{H}\r\n",
        "HTTP/1.0 with two hosts": f"GET / HTTP/1.0\r\n{H}{H}\r\n",
        "host with a user": "GET / HTTP/1.1\r\nHost: u@example.com\r\n\r\n",
        "host with a path": "GET / HTTP/1.1\r\nHost: example.com/path\r\n\r\n",
        "host with a space": "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        "host with a list": "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n",
        "no target": f"GET HTTP/1.1\r\n{H}\r\n",
        "fragment": f"GET /#top HTTP/1.1\r\n{H}\r\n",
        "asterisk with GET": f"GET * HTTP/1.1\r\n{H}\r\n",
        "authority with GET": f"GET example.com:80 HTTP/1.1\r\n{H}\r\n",
        "target without a slash": f"GET hello HTTP/1.1\r\n{H}\r\n",
        "absolute form with a user": f"GET http://u@example.com/ HTTP/1.1\r\n{H}\r\n",
        "absolute form of another scheme": f"GET ftp://example.com/ HTTP/1.1\r\n{H}\r\n",
        "bytes over 127 in the path": f"GET /caf\xc3\xa9 HTTP/1.1\r\n{H}\r\n",
        "NUL in the path": f"GET /\0test HTTP/1.1\r\n{H}\r\n",
        "tab in the path": f"GET /a\tb HTTP/1.1\r\n{H}\r\n",
        "space in the path": f"GET /a b HTTP/1.1\r\n{H}\r\n",
        "lower-case version": f"GET / http/1.1\r\n{H}\r\n",
        "version without a dot": f"GET / HTTP/11\r\n{H}\r\n",
        "version with three numbers": f"GET / HTTP/1.1.1\r\n{H}\r\n",
        "version with leading zeros": f"GET / HTTP/01.01\r\n{H}\r\n",
        "something behind the version": f"GET / HTTP/1.1 x\r\n{H}\r\n",
        "lower-case method": f"get / HTTP/1.1\r\n{H}\r\n",
        "TLS on a plain port": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        "garbage": "\x8f\x02\xfe\xc9 \x91\x00\x13\r\n\x84\x17\r\n\r\n",
    }
    errors = {
        "unknown method": (f"FOO / HTTP/1.1\r\n{H}\r\n", 400, 501),
        "method of 9,000 letters": (f"{'A' * 9_000} / HTTP/1.1\r\n{H}\r\n", 400, 501),
        "connect": ("CONNECT example.com:80 HTTP/1.1\r\nHost: example.com:80\r\n\r\n", 400, 501),
        "version 0.9": (f"GET / HTTP/0.9\r\n{H}\r\n", 400, 505),
        "version 1.2": (f"GET / HTTP/1.2\r\n{H}\r\n", 200, 505),
        "version 2.0": (f"GET / HTTP/2.0\r\n{H}\r\n", 400, 505),
        "HTTP/2 preface": ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, 505),
        "unknown expectation": (f"{GET}Expect: a-miracle\r\n\r\n", 417, 417),
        "target of 100,000 bytes": (f"GET /{'a' * 100_000} HTTP/1.1\r\n{H}\r\n", 414, 431),
        "value of 100,000 bytes": (f"{GET}A: {'b' * 100_000}\r\n\r\n", 400, 431),
        "name of 100,000 bytes": (f"{GET}{'a' * 100_000}: b\r\n\r\n", 400, 431),
        "10,000 fields": (GET + "".join(f"X-{n}: v\r\n" for n in range(10_000)) + "\r\n", 400, 431),
    }
    served = {
        "absolute form": f"GET http://example.com/ HTTP/1.1\r\n{H}\r\n",
        "absolute form without a path": f"GET http://example.com HTTP/1.1\r\n{H}\r\n",
        "HTTP/1.0 without host": "GET / HTTP/1.0\r\n\r\n",
        "IPv6 host": "GET / HTTP/1.1\r\nHost: [::1]:8999\r\n\r\n",
        "empty host": "GET / HTTP/1.1\r\nHost:\r\n\r\n",
        "empty lines before": f"\r\n\r\n{GET}\r\n",
        "spaces around a value": f"{GET}A: \t b \t\r\n\r\n",
        "bytes over 127 in a value": f"{GET}A: caf\xc3\xa9\r\n\r\n",
        "a cookie with odd characters": f'{GET}Cookie: a="b, c"; d={{}}; =; ;\r\n\r\n',
        "many slashes": f"HEAD / HTTP/1.1\r\n{H}\r\n",
        "an upgrade that is not known": f"{GET}Connection: upgrade\r\nUpgrade: h2c\r\n\r\n",
        "an upgrade with a body":
            f"{POST}Connection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\nabc",
    }  # fmt: skip
    return [
        *(Case(name, text, closes=True) for name, text in refused.items()),
        *(Case(name, text, ((least, most),), closes=True) for name, (text, least, most) in errors.items()),
        *(Case(name, text, ((200, 299),)) for name, text in served.items()),
    ]


def _framing() -> list[Case]:
    """Where a body ends: what two readers could see differently."""
    lengths = ("-1", "+5", "0x5", "5_0", "5, 5", "5,5", "5 5", "", " ", "5;a", "5.0", "٥".encode().decode("latin-1"),
               "99999999999999999999", "18446744073709551616", "5\x0b", "\x0b5")  # fmt: skip
    codings = ("xchunked", "chunked, chunked", "chunked, gzip", "gzip", "identity", "chunkedx", "'chunked'",
               '"chunked"', "chunked;a", "\x0bchunked", "chunked\x0b", "ch unked", "", "chunked, identity",
               "x, chunked", "chunked\0")  # fmt: skip
    refused = {
        "two lengths": f"{POST}Content-Length: 5\r\nContent-Length: 10\r\n\r\nhelloworld",
        "two equal lengths": f"{POST}Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
        "length and chunked": f"{POST}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "chunked and length": f"{POST}Transfer-Encoding: chunked\r\nContent-Length: 30\r\n\r\n0\r\n\r\n",
        "chunked with a space behind, and length":
            f"{POST}Transfer-Encoding: chunked \r\nContent-Length: 5\r\n\r\nhello",
        "space before the colon of the length": f"{POST}Content-Length : 3\r\n\r\nabc",
        "space before the colon of the coding": f"{POST}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        "coding folded": f"{POST}Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
        "coding with HTTP/1.0": f"POST / HTTP/1.0\r\n{H}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "chunk size with a space": f"{CHUNKED}3 \r\nabc\r\n0\r\n\r\n",
        "chunk size after a space": f"{CHUNKED} 3\r\nabc\r\n0\r\n\r\n",
        "chunk size in 0x": f"{CHUNKED}0x3\r\nabc\r\n0\r\n\r\n",
        "chunk size with a sign": f"{CHUNKED}+3\r\nabc\r\n0\r\n\r\n",
        "chunk size below zero": f"{CHUNKED}-3\r\nabc\r\n0\r\n\r\n",
        "chunk size with an underscore": f"{CHUNKED}1_0\r\n{'a' * 16}\r\n0\r\n\r\n",
        "no chunk size": f"{CHUNKED}\r\nabc\r\n0\r\n\r\n",
        "chunk size that overflows": f"{CHUNKED}FFFFFFFFFFFFFFFFF\r\nabc",
        "chunk too long": f"{CHUNKED}3\r\nabcd\r\n0\r\n\r\n",
        "chunk without its end": f"{CHUNKED}3\r\nabc0\r\n\r\n",
        "chunks with bare LF": f"{CHUNKED}3\nabc\n0\n\n",
        "chunk size with bare LF": f"{CHUNKED}3\nabc\r\n0\r\n\r\n",
        "chunk that ends with bare LF": f"{CHUNKED}3\r\nabc\n0\r\n\r\n",
        "chunk size with bare CR": f"{CHUNKED}3\rabc\r\n0\r\n\r\n",
        "NUL in a chunk extension": f"{CHUNKED}3;a=\0\r\nabc\r\n0\r\n\r\n",
        "bare LF in a chunk extension": f"{CHUNKED}3;a\nabc\r\n0\r\n\r\n",
        "trailer without a colon": f"{CHUNKED}0\r\nnonsense\r\n\r\n",
    }  # fmt: skip
    served = {
        "chunks": f"{CHUNKED}3\r\nabc\r\n0\r\n\r\n",
        "chunked in capitals": f"{POST}Transfer-Encoding: CHUNKED\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "size in capitals": f"{CHUNKED}A\r\n0123456789\r\n0\r\n\r\n",
        "size with zeros": f"{CHUNKED}0003\r\nabc\r\n000\r\n\r\n",
        "extension": f'{CHUNKED}3;name=value;other="quoted"\r\nabc\r\n0\r\n\r\n',
        "trailers": f"{CHUNKED}3\r\nabc\r\n0\r\nX-Checksum: 1\r\n\r\n",
        "trailer that is a host": f"{CHUNKED}0\r\nHost: evil.example\r\n\r\n",
        "length zero": f"{POST}Content-Length: 0\r\n\r\n",
        "GET with a body": f"{GET}Content-Length: 5\r\n\r\nhello",
        "POST without a body": f"{POST}\r\n",
    }
    waits = {
        "body that is not complete": f"{POST}Content-Length: 5\r\n\r\nhel",
        "chunk that is not complete": f"{CHUNKED}5\r\nhel",
        "last chunk that is missing": f"{CHUNKED}3\r\nabc\r\n",
        "end that is missing": f"{CHUNKED}3\r\nabc\r\n0\r\n",
    }
    body = "\r\n\r\nhello"
    return [
        *(
            Case(f"length {value!a}", f"{POST}Content-Length: {value}{body}", closes=True)
            for value in lengths
        ),
        *(
            Case(
                f"coding {value!a}",
                f"{POST}Transfer-Encoding: {value}\r\n\r\n0\r\n\r\n",
                ((400, 501),),
                closes=True,
            )
            for value in codings
        ),
        *(Case(name, text, closes=True) for name, text in refused.items()),
        *(Case(name, text, ((200, 299),)) for name, text in served.items()),
        *(Case(name, text, ()) for name, text in waits.items()),
    ]


CASES = (*_h1spec(), *_heads(), *_framing())
