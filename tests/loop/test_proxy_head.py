"""The PROXY protocol: heads as proxies send them, whole, byte by byte and broken."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.loop.proxy_head import (
    LOCAL_HEAD,
    LONGEST_LINE,
    SIGNATURE,
    HeadReader,
    ProxyReport,
    begins_like_a_head,
    head_of,
)

ENDS = ProxyReport(("192.0.2.7", 40_001), ("198.51.100.1", 443))
SIXTH = ProxyReport(("2001:db8::7", 40_001), ("2001:db8::1", 443))


def version_2(command: int, family: int, body: bytes) -> bytes:
    return SIGNATURE + bytes((0x20 | command, family)) + struct.pack("!H", len(body)) + body


BODY = bytes((192, 0, 2, 7, 198, 51, 100, 1)) + struct.pack("!HH", 40_001, 443)
HEADS = {
    "v1 tcp4": (b"PROXY TCP4 192.0.2.7 198.51.100.1 40001 443\r\n", ENDS),
    "v1 tcp6": (b"PROXY TCP6 2001:db8::7 2001:db8::1 40001 443\r\n", SIXTH),
    "v1 unknown": (b"PROXY UNKNOWN\r\n", ProxyReport()),
    "v1 unknown with words": (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", ProxyReport()),
    "v2 tcp4": (head_of(ENDS.client, ENDS.server), ENDS),
    "v2 tcp6": (head_of(SIXTH.client, SIXTH.server), SIXTH),
    "v2 local": (LOCAL_HEAD, ProxyReport()),
    "v2 local with addresses": (version_2(0, 0x11, BODY), ProxyReport()),
    "v2 unspecified": (head_of(None, None), ProxyReport()),
    "v2 unix": (version_2(1, 0x31, b"\0" * 216), ProxyReport()),
    "v2 tls": (version_2(1, 0x11, BODY + b"\x05\0\x01x\x20\0\x05\x01\0\0\0\0"), replace(ENDS, tls=True)),
    "v2 without tls": (version_2(1, 0x11, BODY + b"\x20\0\x05\0\0\0\0\0"), ENDS),
}
BROKEN = {
    "v1 without ends": b"PROXY TCP4\r\n",
    "v1 port": b"PROXY TCP4 192.0.2.7 198.51.100.1 40001 65536\r\n",
    "v1 port with a sign": b"PROXY TCP4 192.0.2.7 198.51.100.1 +1 443\r\n",
    "v1 family": b"PROXY TCP4 2001:db8::7 2001:db8::1 40001 443\r\n",
    "v1 kind": b"PROXY UDP4 192.0.2.7 198.51.100.1 40001 443\r\n",
    "v1 two spaces": b"PROXY  TCP4 192.0.2.7 198.51.100.1 40001 443\r\n",
    "v1 endless": b"PROXY UNKNOWN " + b"x" * LONGEST_LINE,
    "v2 version": SIGNATURE + b"\x11\x11\0\x0c" + BODY,
    "v2 command": version_2(2, 0x11, BODY),
    "v2 short": version_2(1, 0x11, BODY[:-1]),
    "v2 value": version_2(1, 0x11, BODY + b"\x20\0\x09\x01"),
    "v2 long": SIGNATURE + b"\x21\x11\xff\xff",
}


def read(reader: HeadReader, data: bytes, step: int) -> int:
    """Feed as a socket does: what has arrived and was not taken. Returns how much was taken."""
    taken, arrived = 0, 0
    while not reader.done and arrived < len(data):
        arrived = min(len(data), arrived + step)
        taken += reader.look(data[taken:arrived])
    return taken


@pytest.mark.parametrize("step", [1, 7, 10_000])
@pytest.mark.parametrize("name", HEADS)
def test_a_head_is_read_and_nothing_behind_it(name: str, step: int) -> None:
    """However its bytes arrive, what follows is not taken."""
    head, told = HEADS[name]
    reader = HeadReader()
    assert read(reader, head + b"GET / HTTP/1.1\r\n", step) == len(head)
    assert (reader.told, reader.rest) == (told, b"")
    assert begins_like_a_head(head)


@pytest.mark.parametrize("step", [1, 10_000])
@pytest.mark.parametrize("name", BROKEN)
def test_what_only_begins_like_one_is_refused(name: str, step: int) -> None:
    """A proxy that is broken, or bytes of somebody else."""
    with pytest.raises(ValueError, match=r"PROXY|[Ee]xpected|[Oo]ctet|permitted"):
        read(HeadReader(), BROKEN[name], step)


@pytest.mark.parametrize("step", [1, 3, 10_000])
@pytest.mark.parametrize(
    "data",
    [b"GET / HTTP/1.1\r\n\r\n", b"PUT /a HTTP/1.1\r\n", b"PROPFIND", b"\r\n\r\nGET /", b"\x16\x03\x01"],
)
def test_what_is_no_head_goes_on(data: bytes, step: int) -> None:
    """Every byte of it is taken and handed back, or not taken."""
    reader = HeadReader()
    taken = read(reader, data, step)
    assert reader.done
    assert reader.told is None
    assert reader.rest == data[:taken]


@given(st.binary(max_size=64), st.sampled_from([b"", b"PROXY ", SIGNATURE]))
def test_any_bytes_are_a_head_refused_or_handed_back(data: bytes, begin: bytes) -> None:
    """No other end: in one piece and byte by byte the same."""
    results: list[object] = []
    for step in (1, 1_000):
        reader = HeadReader()
        try:
            taken = read(reader, begin + data, step)
        except ValueError:
            results.append("refused")
            continue
        assert reader.rest == (begin + data)[: len(reader.rest)]
        results.append((reader.done, reader.told, taken - len(reader.rest) if reader.told else None))
    assert results[0] == results[1]


def test_both_families_of_one_connection() -> None:
    """A socket for both shows IPv4 as IPv6: told as IPv4 where both ends are, else as IPv6."""
    for client, server, seen in (
        (("::ffff:192.0.2.7", 1), ("::ffff:198.51.100.1", 2), (("192.0.2.7", 1), ("198.51.100.1", 2))),
        (("::ffff:192.0.2.7", 1), ("2001:db8::1", 2), (("192.0.2.7", 1), ("2001:db8::1", 2))),
        (("fe80::1%eth0", 1), ("fe80::2", 2), (("fe80::1", 1), ("fe80::2", 2))),
    ):
        reader = HeadReader()
        read(reader, head_of(client, server), 100)
        assert reader.told is not None
        assert (reader.told.client, reader.told.server) == seen
