"""Http11Probe's list, case by case, by its names: what each sends and which answers pass, written down as our own.

Where its verdict is "should" and ours is the other one, the reason stands beside the case (`choice`). Cases of caching
and cookies ask for `/tagged` (a text with the tag "abc") and `/cookies` (the cookies as JSON) of ours.
"""

from __future__ import annotations

from collections.abc import Iterator

from compliance.requests import CHUNKED, GET, POST, REFUSED, Case, H

OK, ANY, NOT_101 = (200, 299), (200, 599), (200, 599)
UNKNOWN_METHOD = ((400, 405), (501, 501))
WRONG_VERSION = (REFUSED, (505, 505))
OURS = ("lane",)
"""Cases that are about what an application does, which only ours has."""
FIVE = "Content-Length: 5\r\n"
BOTH = f"{POST}{FIVE}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
CODED = f"{POST}Transfer-Encoding: "
END = "\r\n\r\n0\r\n\r\n"
SMUGGLED = f"GET /smuggled HTTP/1.1\r\n{H}\r\n"
LAST = f"GET /last HTTP/1.1\r\n{H}Connection: close\r\n\r\n"


def _refused(**texts: str) -> Iterator[Case]:
    """400 and its like, or the connection closes."""
    for name, text in texts.items():
        yield Case(name.replace("_", "-"), text, closes=True)


def _served(**texts: str) -> Iterator[Case]:
    for name, text in texts.items():
        yield Case(name.replace("_", "-"), text, (OK,))


def _either(**texts: str) -> Iterator[Case]:
    """The standard leaves it open: served or refused, but one of the two and nothing behind it."""
    for name, text in texts.items():
        yield Case(name.replace("_", "-"), text, (OK, REFUSED), closes=True, most=1)


def _compliance() -> Iterator[Case]:
    yield from _served(
        COMP_BASELINE=f"{GET}\r\n",
        COMP_ABSOLUTE_FORM=f"GET http://example.com/ HTTP/1.1\r\n{H}\r\n",
        COMP_LEADING_CRLF=f"\r\n{GET}\r\n",
        COMP_LONG_URL_OK=f"GET /{'a' * 7_900} HTTP/1.1\r\n{H}\r\n",
        COMP_OPTIONS_STAR=f"OPTIONS * HTTP/1.1\r\n{H}\r\n",
        COMP_POST_CL_BODY=f"{POST}{FIVE}\r\nhello",
        COMP_POST_CL_ZERO=f"{POST}Content-Length: 0\r\n\r\n",
        COMP_POST_NO_CL_NO_TE=f"{POST}\r\n",
        COMP_CHUNKED_BODY=f"{CHUNKED}5\r\nhello\r\n0\r\n\r\n",
        COMP_CHUNKED_MULTI=f"{CHUNKED}5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n",
        COMP_CHUNKED_EMPTY=f"{CHUNKED}0\r\n\r\n",
        COMP_CHUNKED_EXTENSION=f"{CHUNKED}5;name=value\r\nhello\r\n0\r\n\r\n",
        COMP_CHUNKED_HEX_UPPERCASE=f"{CHUNKED}A\r\n0123456789\r\n0\r\n\r\n",
        COMP_CHUNKED_TRAILER_VALID=f"{CHUNKED}5\r\nhello\r\n0\r\nX-Checksum: abc\r\n\r\n",
        COMP_HTTP10_NO_HOST="GET / HTTP/1.0\r\n\r\n",
        COMP_POST_UNSUPPORTED_CT=f"{POST}Content-Type: application/x-nonsense\r\n{FIVE}\r\nhello",
        COMP_ACCEPT_NONSENSE=f"{GET}Accept: application/x-nonsense\r\n\r\n",
        COMP_RANGE_POST=f"{POST}Range: bytes=0-1\r\n{FIVE}\r\nhello",
    )
    yield from _either(
        COMP_GET_WITH_CL_BODY=f"{GET}{FIVE}\r\nhello",
        COMP_RANGE_INVALID=f"{GET}Range: bytes=abc-xyz\r\n\r\n",
    )
    yield from _refused(
        COMP_ASTERISK_WITH_GET=f"GET * HTTP/1.1\r\n{H}\r\n",
        COMP_DUPLICATE_HOST_SAME=f"{GET}{H}\r\n",
        COMP_HOST_WITH_PATH="GET / HTTP/1.1\r\nHost: example.com/path\r\n\r\n",
        COMP_HOST_WITH_USERINFO="GET / HTTP/1.1\r\nHost: user@example.com\r\n\r\n",
        COMP_REQUEST_LINE_TAB=f"GET\t/\tHTTP/1.1\r\n{H}\r\n",
        COMP_SPACE_IN_TARGET=f"GET /a b HTTP/1.1\r\n{H}\r\n",
        COMP_WHITESPACE_BEFORE_HEADERS=f"GET / HTTP/1.1\r\n {H}\r\n",
    )
    for name, version in (
        ("VERSION-MISSING-MINOR", "HTTP/1"),
        ("VERSION-LEADING-ZEROS", "HTTP/01.01"),
        ("VERSION-WHITESPACE", "HTTP/ 1.1"),
        ("VERSION-CASE", "http/1.1"),
    ):
        yield Case(f"COMP-{name}", f"GET / {version}\r\n{H}\r\n", WRONG_VERSION, closes=True)
    yield Case("COMP-HTTP12-VERSION", f"GET / HTTP/1.2\r\n{H}\r\n", ((400, 400), (505, 505)),
               choice="versions are those that exist")  # fmt: skip
    yield Case("COMP-METHOD-CASE", f"get / HTTP/1.1\r\n{H}\r\n", UNKNOWN_METHOD, closes=True)
    yield Case("COMP-UNKNOWN-METHOD", f"FOOBAR / HTTP/1.1\r\n{H}\r\n", UNKNOWN_METHOD, closes=True)
    connect = "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n"
    yield Case("COMP-METHOD-CONNECT", connect, UNKNOWN_METHOD, closes=True)
    trace = f"TRACE / HTTP/1.1\r\n{H}"
    yield Case("COMP-METHOD-TRACE", f"{trace}\r\n", UNKNOWN_METHOD, of=OURS)
    secret = f"{trace}Authorization: Bearer secret\r\nCookie: secret\r\n\r\n"
    yield Case("COMP-TRACE-SENSITIVE", secret, (ANY,), hides="secret")
    yield Case("COMP-TRACE-WITH-BODY", f"{trace}{FIVE}\r\nhello", UNKNOWN_METHOD, of=OURS)
    yield Case("COMP-405-ALLOW", f"{trace}\r\n", (ANY,), hides=r"HTTP/1\.1 405(?!.*\r\nallow: )")
    yield Case(
        "COMP-OPTIONS-ALLOW", f"OPTIONS / HTTP/1.1\r\n{H}\r\n", (OK,), shows=r"\r\nallow: .*GET", of=OURS
    )
    yield Case(
        "COMP-NO-CL-IN-204", f"OPTIONS / HTTP/1.1\r\n{H}\r\n", (OK,), hides=r" 204 .*\r\ncontent-length: "
    )
    yield Case("COMP-EXPECT-UNKNOWN", f"{GET}Expect: a-miracle\r\n\r\n", ((417, 417),))
    yield Case("COMP-UNKNOWN-TE-501", f"{CODED}gzip{END}", ((400, 400), (501, 501)), closes=True)
    yield Case("COMP-POST-CL-UNDERSEND", f"{POST}Content-Length: 10\r\n\r\nhello", ())
    yield Case("COMP-CHUNKED-NO-FINAL", f"{CHUNKED}5\r\nhello\r\n", ())
    yield Case("COMP-CONNECTION-CLOSE", f"{GET}Connection: close\r\n\r\n", (OK,), ends=True)
    yield Case("COMP-HTTP10-DEFAULT-CLOSE", f"GET / HTTP/1.0\r\n{H}\r\n", (OK,), ends=True)
    old = f"POST / HTTP/1.0\r\n{H}Expect: 100-continue\r\n{FIVE}\r\nhello"
    yield Case("COMP-NO-1XX-HTTP10", old, (ANY,), hides=r"HTTP/1\.[01] 1\d\d ")
    yield Case("COMP-HEAD-NO-BODY", f"HEAD / HTTP/1.1\r\n{H}\r\n", (OK,), hides=r"\r\n\r\n.")
    yield Case("COMP-CONTENT-TYPE", f"{GET}\r\n", (OK,), shows=r"\r\ncontent-type: [a-z]+/")
    yield Case("COMP-DATE-HEADER", f"{GET}\r\n", (OK,), shows=r"\r\ndate: ")
    day = r"\r\ndate: [a-z]{3}, \d\d [a-z]{3} \d{4} \d\d:\d\d:\d\d gmt\r\n"
    yield Case("COMP-DATE-FORMAT", f"{GET}\r\n", (OK,), shows=day)
    yield Case("COMP-HOST-EMPTY-VALUE", "GET / HTTP/1.1\r\nHost:\r\n\r\n", (OK,),
               choice="an empty Host is what a target without an authority has (RFC 9112 section 3.2)")  # fmt: skip
    two = f"{POST}Content-Type: text/plain\r\nContent-Type: text/html\r\n{FIVE}\r\nhello"
    yield Case(
        "COMP-DUPLICATE-CT", two, (OK,), choice="a second Content-Type frames nothing; the first one counts"
    )


def _numbered() -> Iterator[Case]:
    """Those that are called by a section of RFC 9110 or 9112."""
    for name, text in {
        "RFC9112-2.2-BARE-LF-REQUEST-LINE": f"GET / HTTP/1.1\n{H}\r\n",
        "RFC9112-2.2-BARE-LF-HEADER": f"{GET}A: b\n\r\n",
        "RFC9112-2.3-HTTP09-REQUEST": "GET /\r\n\r\n",
        "RFC9112-2.3-INVALID-VERSION": f"GET / HTTP/9.9\r\n{H}\r\n",
        "RFC9112-3-CR-ONLY-LINE-ENDING": f"GET / HTTP/1.1\r{H}\r\n",
        "RFC9112-3-MISSING-TARGET": f"GET HTTP/1.1\r\n{H}\r\n",
        "RFC9112-3.2-FRAGMENT-IN-TARGET": f"GET /path#fragment HTTP/1.1\r\n{H}\r\n",
        "RFC9112-5-EMPTY-HEADER-NAME": f"{GET}: value\r\n\r\n",
        "RFC9112-5-HEADER-NO-COLON": f"{GET}NoColonHere\r\n\r\n",
        "RFC9112-5-INVALID-HEADER-NAME": f"{GET}Bad[Name]: value\r\n\r\n",
        "RFC9112-5.1-OBS-FOLD": f"{GET}X-Folded: one\r\n two\r\n\r\n",
        "RFC9110-5.4-DUPLICATE-HOST": f"{GET}Host: other.example\r\n\r\n",
        "RFC9110-5.6.2-SP-BEFORE-COLON": f"{GET}X-Test : value\r\n\r\n",
        "RFC9112-6.1-CL-NON-NUMERIC": f"{POST}Content-Length: abc\r\n\r\n",
        "RFC9112-6.1-CL-PLUS-SIGN": f"{POST}Content-Length: +5\r\n\r\nhello",
        "RFC9112-7.1-MISSING-HOST": "GET / HTTP/1.1\r\nAccept: */*\r\n\r\n",
    }.items():
        yield Case(name, text, WRONG_VERSION, closes=True)
    yield Case("RFC9112-3-MULTI-SP-REQUEST-LINE", f"GET  /  HTTP/1.1\r\n{H}\r\n", (OK,),
               choice="several spaces in a request line are read as one (RFC 9112 section 3)")  # fmt: skip


def _websockets() -> Iterator[Case]:
    fields = "Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    whole = f"{fields}Sec-WebSocket-Version: 13\r\n"
    upgrade = "Connection: Upgrade\r\n"
    yield Case("WS-UPGRADE-POST", f"{POST}{upgrade}{whole}Content-Length: 0\r\n\r\n", (NOT_101,))
    yield Case("WS-UPGRADE-MISSING-CONN", f"{GET}{whole}\r\n", (NOT_101,))
    yield Case("WS-UPGRADE-UNKNOWN", f"{GET}{upgrade}Upgrade: nonsense/1\r\n\r\n", (NOT_101,))
    yield Case("WS-UPGRADE-INVALID-VER", f"{GET}{upgrade}{fields}Sec-WebSocket-Version: 99\r\n\r\n",
               ((400, 400), (426, 426)))  # fmt: skip
    yield Case("WS-UPGRADE-HTTP10", f"GET / HTTP/1.0\r\n{H}{upgrade}{whole}\r\n", (NOT_101,), closes=True)


def _malformed() -> Iterator[Case]:
    yield from _refused(
        MAL_BINARY_GARBAGE="\x8f\x02\xfe\xc9 \x91\x00\x13\r\n\x84\x17\r\n\r\n",
        MAL_CHUNK_SIZE_OVERFLOW=f"{CHUNKED}FFFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n",
        MAL_CL_EMPTY=f"{POST}Content-Length: \r\n\r\n",
        MAL_CL_OVERFLOW=f"{POST}Content-Length: 99999999999999999999\r\n\r\n",
        MAL_CONTROL_CHARS_HEADER=f"{GET}X-Test: a\x01\x02\x08b\r\n\r\n",
        MAL_NON_ASCII_HEADER_NAME=f"{GET}X-T\xc3\xabst: b\r\n\r\n",
        MAL_NON_ASCII_URL=f"GET /caf\xc3\xa9 HTTP/1.1\r\n{H}\r\n",
        MAL_NUL_IN_HEADER_VALUE=f"{GET}X-Test: a\0b\r\n\r\n",
        MAL_NUL_IN_URL=f"GET /a\0b HTTP/1.1\r\n{H}\r\n",
        MAL_WHITESPACE_ONLY_LINE="   \r\n\r\n",
        MAL_LONG_HEADER_NAME=f"{GET}{'a' * 100_000}: b\r\n\r\n",
        MAL_LONG_HEADER_VALUE=f"{GET}X-Test: {'b' * 100_000}\r\n\r\n",
        MAL_LONG_URL=f"GET /{'a' * 100_000} HTTP/1.1\r\n{H}\r\n",
        MAL_MANY_HEADERS=GET + "".join(f"X-{n}: v\r\n" for n in range(10_000)) + "\r\n",
    )
    yield Case("MAL-LONG-METHOD", f"{'A' * 100_000} / HTTP/1.1\r\n{H}\r\n", UNKNOWN_METHOD, closes=True)
    yield Case("MAL-H2-PREFACE", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", WRONG_VERSION, closes=True)
    yield Case("MAL-EMPTY-REQUEST", "\r\n", ())
    yield Case("MAL-INCOMPLETE-REQUEST", f"{GET}X-Test: v", ())
    yield from _served(MAL_CL_TAB_BEFORE_VALUE=f"{POST}Content-Length:\t5\r\n\r\nhello")
    yield from _either(
        MAL_CHUNK_EXT_64K=f"{CHUNKED}5;{'e' * 65_536}\r\nhello\r\n0\r\n\r\n",
        MAL_RANGE_OVERLAPPING=f"{GET}Range: bytes={','.join(f'0-{n}' for n in range(500))}\r\n\r\n",
        MAL_URL_BACKSLASH=f"GET /a\\b HTTP/1.1\r\n{H}\r\n",
        MAL_URL_OVERLONG_UTF8=f"GET /%C0%AF HTTP/1.1\r\n{H}\r\n",
        MAL_URL_PERCENT_NULL=f"GET /a%00b HTTP/1.1\r\n{H}\r\n",
    )
    yield Case("MAL-URL-PERCENT-CRLF", f"GET /%0d%0aX-Injected:%20yes HTTP/1.1\r\n{H}\r\n", (OK, REFUSED),
               hides=r"\r\nx-injected")  # fmt: skip
    huge = f"{POST}Content-Length: 999999999\r\n\r\n"
    yield Case("MAL-POST-CL-HUGE-NO-BODY", huge, ((413, 413),), waits=True)


def _lengths() -> Iterator[Case]:
    """Content-Length, and both at once."""
    for name, value in (
        ("DUPLICATE-CL", "5\r\nContent-Length: 10"),
        ("CL-NEGATIVE", "-1"),
        ("CL-COMMA-DIFFERENT", "5, 6"),
        ("CL-COMMA-SAME", "5, 5"),
        ("CL-COMMA-TRIPLE", "5, 5, 5"),
        ("CL-HEX-PREFIX", "0x5"),
        ("CL-INTERNAL-SPACE", "1 0"),
        ("CL-OCTAL", "0o5"),
        ("CL-NEGATIVE-ZERO", "-0"),
        ("CL-UNDERSCORE", "1_0"),
    ):
        yield from _refused(**{f"SMUG-{name}": f"{POST}Content-Length: {value}\r\n\r\nhello"})
    yield from _served(
        SMUG_CL_TRAILING_SPACE=f"{POST}Content-Length: 5 \r\n\r\nhello",
        SMUG_CL_EXTRA_LEADING_SP=f"{POST}Content-Length:  5\r\n\r\nhello",
    )
    # Digits all the same (RFC 9110 section 8.6): decimal, whatever stands before them.
    for name, value, size in (
        ("CL-LEADING-ZEROS", "005", 5),
        ("CL-DOUBLE-ZERO", "00", 0),
        ("CL-LEADING-ZEROS-OCTAL", "0200", 200),
    ):
        text = f"{POST}Content-Length: {value}\r\n\r\n{'a' * size}{LAST}"
        yield Case(f"SMUG-{name}", text, (OK, REFUSED), closes=True, most=2, ends=True)
    yield from _refused(**{"SMUG-CL-TE-BOTH": BOTH})
    yield Case("SMUG-CLTE-CONN-CLOSE", BOTH, closes=True, ends=True)
    tecl = f"{CODED}chunked\r\n{FIVE}\r\n0\r\n\r\n"
    yield Case("SMUG-TECL-CONN-CLOSE", tecl, closes=True, ends=True)


def _codings() -> Iterator[Case]:
    """Transfer-Encoding."""
    wrong = ((400, 499), (501, 501))
    for name, value in (
        ("TE-DOUBLE-CHUNKED", "chunked, chunked"),
        ("TE-EMPTY-VALUE", ""),
        ("TE-FORMFEED", "\x0cchunked"),
        ("TE-LEADING-COMMA", ", chunked"),
        ("TE-NOT-FINAL-CHUNKED", "chunked, gzip"),
        ("TE-NULL", "chunked\0"),
        ("TE-VTAB", "\x0bchunked"),
        ("TE-IDENTITY", "identity"),
        ("TE-XCHUNKED", "xchunked"),
        ("TE-OBS-FOLD", "\r\n chunked"),
        ("TE-TRAILING-COMMA", "chunked,"),
        ("CHUNKED-WITH-PARAMS", "chunked;ext=val"),
    ):
        yield Case(f"SMUG-{name}", f"{CODED}{value}{END}", wrong, closes=True)
    for name, line in (
        ("TE-CASE-MISMATCH", "Transfer-Encoding: Chunked"),
        ("TE-TRAILING-SPACE", "Transfer-Encoding: chunked "),
        ("TE-SP-BEFORE-COLON", "Transfer-Encoding : chunked"),
        ("TE-DUPLICATE-HEADERS", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity"),
    ):
        yield Case(f"SMUG-{name}", f"{POST}{FIVE}{line}{END}", wrong, closes=True)
    yield Case("SMUG-TE-HTTP10", f"POST / HTTP/1.0\r\n{H}Transfer-Encoding: chunked{END}", wrong, closes=True)
    yield from _served(SMUG_TE_TAB_BEFORE_VALUE=f"{POST}Transfer-Encoding:\tchunked{END}")
    yield from _either(**{"SMUG-TRANSFER_ENCODING": f"{POST}{FIVE}Transfer_Encoding: chunked\r\n\r\nhello"})
    yield from _either(
        NORM_UNDERSCORE_CL=f"{POST}{FIVE}Content_Length: 99\r\n\r\nhello",
        NORM_UNDERSCORE_TE=f"{POST}{FIVE}Transfer_Encoding: chunked\r\n\r\nhello",
        NORM_CASE_TE=f"{POST}TRANSFER-ENCODING: chunked{END}",
    )
    yield from _refused(
        NORM_SP_BEFORE_COLON_CL=f"{POST}Content-Length : 5\r\n\r\nhello",
        NORM_TAB_IN_NAME=f"{POST}Content-Length\t: 5\r\n\r\nhello",
    )


def _chunks() -> Iterator[Case]:
    rest = "hello\r\n0\r\n\r\n"
    yield from _refused(
        SMUG_BARE_CR_HEADER_VALUE=f"{GET}X-Test: a\rb\r\n\r\n",
        SMUG_CHUNK_BARE_SEMICOLON=f"{CHUNKED}5;\r\n{rest}",
        SMUG_CHUNK_EXT_CR=f"{CHUNKED}5;a\rb\r\n{rest}",
        SMUG_CHUNK_EXT_CTRL=f"{CHUNKED}5;a\0b\r\n{rest}",
        SMUG_CHUNK_EXT_LF=f"{CHUNKED}5;a\n{rest}",
        SMUG_CHUNK_HEX_PREFIX=f"{CHUNKED}0x5\r\n{rest}",
        SMUG_CHUNK_LEADING_SP=f"{CHUNKED} 5\r\n{rest}",
        SMUG_CHUNK_LF_TERM=f"{CHUNKED}5\n{rest}",
        SMUG_CHUNK_LF_TRAILER=f"{CHUNKED}5\r\nhello\r\n0\n\n",
        SMUG_CHUNK_MISSING_TRAILING_CRLF=f"{CHUNKED}5\r\nhello0\r\n\r\n",
        SMUG_CHUNK_NEGATIVE=f"{CHUNKED}-5\r\n{rest}",
        SMUG_CHUNK_SPILL=f"{CHUNKED}5\r\nhello!!\r\n0\r\n\r\n",
        SMUG_CHUNK_UNDERSCORE=f"{CHUNKED}1_0\r\n{'a' * 16}\r\n0\r\n\r\n",
        SMUG_CHUNK_BARE_CR_TERM=f"{CHUNKED}5\r{rest}",
    )
    yield Case(
        "SMUG-CHUNK-INVALID-SIZE-DESYNC", f"{CHUNKED}+0\r\n\r\nX{LAST}", closes=True, most=1, ends=True
    )
    for name, line in (
        ("CL", "Content-Length: 50"),
        ("TE", "Transfer-Encoding: chunked"),
        ("HOST", "Host: evil.example"),
        ("AUTH", "Authorization: Bearer x"),
        ("CONTENT-TYPE", "Content-Type: text/evil"),
    ):
        text = f"{CHUNKED}5\r\nhello\r\n0\r\n{line}\r\n\r\n{LAST}"
        yield Case(f"SMUG-TRAILER-{name}", text, (OK, REFUSED), closes=True, most=2, hides="evil", ends=True)


def _sequences() -> Iterator[Case]:
    """Two readers who differ would see another number of requests: at most `most` are answered."""
    inner = SMUGGLED
    length = len("0\r\n\r\n" + inner)
    both = f"Content-Length: {length}\r\n"
    for name, lines in {
        "CLTE-PIPELINE": f"{both}Transfer-Encoding: chunked", "CLTE-DESYNC": f"{both}Transfer-Encoding: chunked",
        "CLTE-SMUGGLED-GET": f"{both}Transfer-Encoding: chunked",
        "CLTE-SMUGGLED-GET-CL-PLUS": f"Content-Length: +{length}\r\nTransfer-Encoding: chunked",
        "CLTE-SMUGGLED-GET-CL-NON-NUMERIC": f"Content-Length: {length}a\r\nTransfer-Encoding: chunked",
        "CLTE-SMUGGLED-GET-TE-OBS-FOLD": f"{both}Transfer-Encoding:\r\n chunked",
        "CLTE-SMUGGLED-GET-TE-TRAILING-SPACE": f"{both}Transfer-Encoding: chunked ",
        "CLTE-SMUGGLED-GET-TE-LEADING-COMMA": f"{both}Transfer-Encoding: , chunked",
        "CLTE-SMUGGLED-GET-TE-CASE-MISMATCH": f"{both}Transfer-Encoding: Chunked",
        "TE-DUPLICATE-HEADERS-SMUGGLED-GET": f"{both}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "DUPLICATE-CL-SMUGGLED-GET": f"Content-Length: 5\r\n{both.rstrip()}",
    }.items():  # fmt: skip
        wrong = ((400, 499), (501, 501))
        text = f"{POST}{lines}\r\n\r\n0\r\n\r\n{inner}"
        yield Case(f"SMUG-{name}", text, wrong, closes=True, most=1, hides="smuggled", ends=True)
    head = f"HEAD /smuggled HTTP/1.1\r\n{H}\r\n"
    yield Case("SMUG-CLTE-SMUGGLED-HEAD", f"{POST}{both}Transfer-Encoding: chunked{END}{head}", closes=True, most=1,
               ends=True)  # fmt: skip
    for name in ("TECL-DESYNC", "TECL-PIPELINE", "TECL-SMUGGLED-GET"):
        text = f"{CODED}chunked\r\nContent-Length: 4\r\n\r\n{len(inner):x}\r\n{inner}\r\n0\r\n\r\n"
        yield Case(f"SMUG-{name}", text, closes=True, most=1, hides="smuggled", ends=True)
    # The rest is unambiguous: so many requests stand there, and the last one is what it is.
    unread = ((200, 299), REFUSED)
    options = f"OPTIONS / HTTP/1.1\r\n{H}{FIVE}"
    yield Case("SMUG-PIPELINE-SAFE", f"{GET}\r\n{LAST}", (OK,), least=2, most=2, ends=True)
    yield Case("SMUG-HEAD-CL-BODY", f"HEAD / HTTP/1.1\r\n{H}{FIVE}\r\nhello{LAST}", unread, most=2, ends=True)
    yield Case("SMUG-OPTIONS-CL-BODY", f"{options}\r\nhello", unread, most=1)
    yield Case("SMUG-OPTIONS-CL-BODY-DESYNC", f"{options}\r\nhello{LAST}", unread, most=2, ends=True)
    fold = f"{options}Transfer-Encoding:\r\n chunked{END}{inner}"
    yield Case("SMUG-OPTIONS-TE-OBS-FOLD", fold, closes=True, most=1, hides="smuggled", ends=True)
    yield Case("SMUG-GET-CL-BODY-DESYNC", f"{GET}{FIVE}\r\nhello{LAST}", unread, most=2, ends=True)
    prefix = "GET /smuggled HTTP/1.1\r\nX-Rest: "
    text = f"{GET}Content-Length: {len(prefix)}\r\n\r\n{prefix}{LAST}"
    yield Case("SMUG-GET-CL-PREFIX-DESYNC", text, unread, most=2, hides='"/smuggled', ends=True)
    yield Case("SMUG-CL0-BODY-POISON", f"{POST}Content-Length: 0\r\n\r\nX{LAST}", unread, most=2, ends=True)
    expect = f"{POST}Expect: 100-continue\r\n{FIVE}\r\nhello"
    yield Case("SMUG-EXPECT-100-CL", expect, ((100, 100), OK, (417, 417)))
    yield Case("SMUG-EXPECT-100-CL-DESYNC", f"{expect}{LAST}", ((100, 100), *unread), most=2, ends=True)
    other = f"GET http://other.example/ HTTP/1.1\r\n{H}\r\n"
    yield from _either(SMUG_ABSOLUTE_URI_HOST_MISMATCH=other)
    yield from _refused(SMUG_MULTIPLE_HOST_COMMA="GET / HTTP/1.1\r\nHost: a.example, b.example\r\n\r\n")


def _conditional() -> Iterator[Case]:
    tagged = f"GET /tagged HTTP/1.1\r\n{H}"
    same, other = ((304, 304),), ((200, 200),)
    future = "If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT\r\n"
    for name, fields, answers in (
        ("ETAG-304", 'If-None-Match: "abc"\r\n', same), ("INM-WILDCARD", "If-None-Match: *\r\n", same),
        ("ETAG-WEAK", 'If-None-Match: W/"abc"\r\n', same),
        ("INM-PRECEDENCE", f'If-None-Match: "other"\r\n{future}', other), ("IMS-FUTURE", future, other),
        ("IMS-INVALID", "If-Modified-Since: nonsense\r\n", other),
    ):  # fmt: skip
        yield Case(f"CAP-{name}", f"{tagged}{fields}\r\n", answers, of=OURS)
    yield Case(
        "CAP-ETAG-IN-304", f'{tagged}If-None-Match: "abc"\r\n\r\n', same, shows='\r\netag: "abc"', of=OURS
    )
    yield Case("CAP-INM-UNQUOTED", f"{tagged}If-None-Match: abc\r\n\r\n", ((400, 400),), of=OURS,
               choice="a malformed If-None-Match is told (400), not ignored")  # fmt: skip
    since = f"{tagged}If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT\r\n\r\n"
    yield Case("CAP-LAST-MODIFIED-304", since, other, of=OURS,
               choice="values have a tag and no Last-Modified; static files have both")  # fmt: skip


def _cookies() -> Iterator[Case]:
    asked = f"GET /cookies HTTP/1.1\r\n{H}Cookie: "
    for name, value, shown in (
        ("ECHO", "name=value", '"name":"value"'), ("PARSED-BASIC", "foo=bar", '"foo":"bar"'),
        ("PARSED-MULTI", "a=1; b=2; c=3", '"a":"1","b":"2","c":"3"'), ("PARSED-EMPTY-VAL", "foo=", '"foo":""'),
        ("PARSED-SPECIAL", "foo=a=b/c+d", '"foo":"a=b/c\\+d"'),
        ("MULTI-HEADER", "a=1\r\nCookie: b=2", '"a":"1","b":"2"'),
        ("MANY-PAIRS", "; ".join(f"k{n}=v" for n in range(1_000)), '"k999":"v"'), ("EMPTY", "", r"\{\}"),
        ("MALFORMED", "===;;;;", "HTTP/1.1 200"),
    ):  # fmt: skip
        yield Case(f"COOK-{name}", f"{asked}{value}\r\n\r\n", (OK,), shows=shown, of=OURS)
    yield from _refused(
        COOK_NUL=f"{GET}Cookie: a=b\0c\r\n\r\n",
        COOK_CONTROL_CHARS=f"{GET}Cookie: a=\x01\x02\x03\r\n\r\n",
        COOK_OVERSIZED=f"{GET}Cookie: a={'b' * 65_536}\r\n\r\n",
    )


PROBE = (*_compliance(), *_numbered(), *_websockets(), *_malformed(), *_lengths(), *_codings(), *_chunks(),
         *_sequences(), *_conditional(), *_cookies())  # fmt: skip
