"""The PROXY protocol: what a proxy that passes bytes on says of its client, once, before them (haproxy.org,
proxy-protocol.txt, versions 1 and 2). Pure.

A head is believed only from whom it is expected; that is the caller's to know. Not here: reading it from a socket
(`server/arrival`), and what HTTP proxies say in fields (`http/forwarded`).
"""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
WORD = b"PROXY "
LONGEST_LINE = 107
"""Bytes of a head of version 1, its end included."""
LONGEST = 4_096
"""Bytes of a head of version 2 that are read; what proxies send has a few hundred at most."""
LOCAL_HEAD = SIGNATURE + b"\x20\0\0\0"
"""Version 2: the proxy speaks for itself (a health check)."""

Address = tuple[str, int]

_TCP4, _TCP6 = 0x11, 0x21
_SIZES = {_TCP4: 12, _TCP6: 36, 0x12: 12, 0x22: 36, 0x31: 216, 0x32: 216}
_SSL = 0x20  # the type-length-value with what the proxy knows of the client's TLS


@dataclass(frozen=True, slots=True)
class ProxyReport:
    """What a head said: the ends of the client's connection to the proxy, None where it is the proxy's own
    (LOCAL) or not known (UNKNOWN, a unix socket). `tls`: the client speaks TLS with the proxy."""

    client: Address | None = None
    server: Address | None = None
    tls: bool = False


class HeadReader:
    """Reads the beginning of a connection. `done`: it is known what it is; `told`: the head, None when there was none;
    `rest`: what was taken although it belongs to what follows."""

    def __init__(self) -> None:
        self.done = False
        self.told: ProxyReport | None = None
        self.rest = b""
        self._head = b""

    def look(self, seen: bytes) -> int:
        """Bytes that have arrived and are not taken yet: how many to take. Raises ValueError for a malformed head."""
        whole = self._head + seen
        if SIGNATURE.startswith(whole[:12]):
            if len(whole) < 16:
                return self._take(whole, len(whole))
            size = 16 + struct.unpack_from("!H", whole, 14)[0]
            if size > LONGEST:
                raise ValueError(f"a PROXY head of {size} bytes")
            if len(whole) >= size:
                self.told, self.done = _version_2(whole[:size]), True
            return self._take(whole, size)
        if WORD.startswith(whole[:6]):
            end = whole.find(b"\r\n")
            size = len(whole) if end < 0 else end + 2
            if size > LONGEST_LINE or (end < 0 and size == LONGEST_LINE):
                raise ValueError(f"a PROXY line of more than {LONGEST_LINE} bytes")
            if end >= 0:
                self.told, self.done = _version_1(whole[:end]), True
            return self._take(whole, size)
        self.finish()
        return 0

    def finish(self) -> None:
        """There is no head, or no end of it: what was taken belongs to what follows."""
        self.done, self.rest, self._head = True, self._head, b""

    def _take(self, whole: bytes, size: int) -> int:
        before, self._head = len(self._head), whole[:size]
        return len(self._head) - before


def begins_like_a_head(data: bytes) -> bool:
    """Whether these bytes are the beginning of a head, and so no HTTP."""
    return data.startswith((WORD, SIGNATURE))


def head_of(client: Address | None, server: Address | None) -> bytes:
    """A head of version 2 for a TCP connection from `client` to `server`; with an end unknown it names none."""
    ends = [_plain(each) for each in (client, server) if each is not None]
    if len(ends) < 2:
        return SIGNATURE + b"\x21\0\0\0"
    (source, source_port), (target, target_port) = ends
    if source.version != target.version:
        source, target = _sixth(source), _sixth(target)
    body = source.packed + target.packed + struct.pack("!HH", source_port, target_port)
    family = _TCP4 if source.version == 4 else _TCP6
    return SIGNATURE + bytes((0x21, family)) + struct.pack("!H", len(body)) + body


_Ip = ipaddress.IPv4Address | ipaddress.IPv6Address


def _plain(end: Address) -> tuple[_Ip, int]:
    ip = ipaddress.ip_address(end[0].partition("%")[0])
    return getattr(ip, "ipv4_mapped", None) or ip, end[1]


def _shown(packed: bytes) -> str:
    ip = ipaddress.ip_address(packed)
    return str(getattr(ip, "ipv4_mapped", None) or ip)


def _sixth(ip: _Ip) -> _Ip:
    return ip if ip.version == 6 else ipaddress.IPv6Address(b"\0" * 10 + b"\xff\xff" + ip.packed)


def _version_1(line: bytes) -> ProxyReport:
    words = line.decode("ascii", "replace").split(" ")
    if words[1] == "UNKNOWN":
        return ProxyReport()
    if len(words) != 6 or words[1] not in ("TCP4", "TCP6"):
        raise ValueError("a PROXY line that is none")
    kind = ipaddress.IPv4Address if words[1] == "TCP4" else ipaddress.IPv6Address
    ends: list[Address] = []
    for host, port in ((words[2], words[4]), (words[3], words[5])):
        if not (port.isascii() and port.isdigit()) or int(port) > 65_535:
            raise ValueError("a PROXY line with a port that is none")
        ends.append((str(kind(host)), int(port)))
    return ProxyReport(ends[0], ends[1])


def _version_2(head: bytes) -> ProxyReport:
    version, command, family = head[12] >> 4, head[12] & 15, head[13]
    if version != 2 or command > 1:
        raise ValueError("a PROXY head of another version or with an unknown command")
    if command == 0:
        return ProxyReport()
    size = _SIZES.get(family, 0)
    if len(head) < 16 + size:
        raise ValueError("a PROXY head that is too short for its addresses")
    tls = _speaks_tls(head[16 + size :])
    if family not in (_TCP4, _TCP6):
        return ProxyReport(tls=tls)
    half = (size - 4) // 2
    client, server = (_shown(head[at : at + half]) for at in (16, 16 + half))
    client_port, server_port = struct.unpack_from("!HH", head, 16 + 2 * half)
    return ProxyReport((client, client_port), (server, server_port), tls)


def _speaks_tls(extra: bytes) -> bool:
    while len(extra) >= 3:
        kind, size = struct.unpack_from("!BH", extra)
        if len(extra) < 3 + size:
            raise ValueError("a PROXY head that ends within a value")
        if kind == _SSL:
            return size > 0 and bool(extra[3] & 1)
        extra = extra[3 + size :]
    return False
