"""The client of a request, and the address it asked for, as told by the proxies in between: X-Forwarded-For, -Proto,
-Host, -Port, -Prefix, or Forwarded (RFC 7239). Pure.

Each proxy appends the address that it saw. Read from the right, past the addresses of trusted proxies, the first
address that is not trusted is the client. What stands further left the client may have written
itself, and is never read. The host that a proxy names is for URLs and for what browsers say of their page's origin;
rights never follow from it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from skerry.errors import SettingsError
from skerry.http.path import DOTS, encode_path
from skerry.http.problems import Problem
from skerry.http.request import Ends, Peer
from skerry.http.scope import below
from skerry.http.trusted import Trusted

Fields = list[tuple[bytes, bytes]]
MAX_HOPS = 20
MAX_PREFIX = 1_000
FOR, PROTO, HOST, PORT, PREFIX = (
    b"x-forwarded-" + name for name in (b"for", b"proto", b"host", b"port", b"prefix")
)
NAMES = frozenset((FOR, PROTO, HOST, PORT, PREFIX, b"forwarded"))

_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
_PORTS = {"http": 80, "https": 443}
_NAME = re.compile(r"(?:[A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_NODE = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::(\w+))?|([0-9.]+):(\w+)|([0-9A-Fa-f:.]+)")
_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~!$&'()*+;=:@%-]+)*")
_PAIR = re.compile(
    r"\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+)=([!#$%&'*+.^_`|~0-9A-Za-z:\[\]-]+|\"(?:[^\"\\]|\\.)*\")\s*"
)


@dataclass(frozen=True, slots=True)
class Outside:
    """What stands in front of a server. `trusted`: whose word counts, None: nobody's; `root_path`: where the
    application begins for clients, decoded, as `/kv`; a trusted proxy's X-Forwarded-Prefix replaces it."""

    trusted: Trusted | None = None
    root_path: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "root_path", root_of(self.root_path))

    def peer(self, peer: Peer, fields: Fields) -> Peer:
        """The ends of a request with these fields, which came from `peer`. From somebody else than a trusted proxy the
        fields say nothing, and are taken out. Raises Problem 400 for what cannot be read, and for over 20 hops."""
        told = [name for name, _ in fields if name in NAMES]
        if told and self.trusted is not None:
            client = peer.client
            if self.trusted.includes(None if client is None else client[0]):
                return self._seen(peer, fields)
            fields[:] = [each for each in fields if each[0] not in NAMES]
        if not self.root_path:
            return peer
        return Ends(peer.client, peer.server, peer.scheme, None, self.root_path)

    def target(self, target: bytes, peer: Peer) -> bytes:
        """The path and query below the root path. A target that does not begin with it is below it already: there are
        proxies that take it away, and others that leave it."""
        root = peer.root_path
        if not root:
            return target
        path, mark, query = target.partition(b"?")
        return (below(path, root) or b"/") + mark + query

    def _seen(self, peer: Peer, fields: Fields) -> Ends:
        lists: dict[bytes, list[str]] = {}
        for name, value in fields:
            if name in NAMES:
                found = lists.setdefault(name, [])
                found += [part.strip() for part in value.decode("latin-1").split(",") if part.strip()]
                if len(found) > MAX_HOPS:
                    raise Problem(400, f"{_shown(name)} has more than {MAX_HOPS} entries")
        chosen: Mapping[bytes, Sequence[str | None]] = lists
        if lists.keys() == {b"forwarded"}:
            chosen = _standard(fields)
        client, hops = self._client(peer, [entry or "unknown" for entry in chosen.get(FOR, ())])

        def said(name: bytes) -> str | None:
            # As far from the right as the client's own address: what the outermost proxy of ours has written.
            entries = chosen.get(name)
            return entries[-min(hops, len(entries))] if entries else None

        scheme = _scheme(said(PROTO), peer.scheme)
        own = next((value.decode("latin-1") for name, value in fields if name == b"host"), "")
        host = _host(said(HOST), said(PORT), own, scheme)
        server = peer.server if host is None else _server(host, scheme)
        prefix = said(PREFIX)
        root = self.root_path if prefix is None else _prefix(prefix)
        return Ends(client, server, scheme, host, root)

    def _client(self, peer: Peer, entries: list[str]) -> tuple[tuple[str, int] | None, int]:
        """The first from the right who is no proxy of ours, and how many entries from the right that is."""
        assert self.trusted is not None
        client, hops = peer.client, 0
        for entry in reversed(entries):
            hops += 1
            if entry == "unknown" or entry.startswith("_"):
                break  # a proxy that does not tell (RFC 7239 section 6.3): the last address that is known
            client = _node(entry)
            if not self.trusted.includes(client[0]):
                break
        return client, max(hops, 1)


def root_of(text: str, setting: str = "SKERRY_ROOT_PATH") -> str:
    """A root path as it is compared: decoded, a slash first and none at the end. Raises SettingsError."""
    if not text or text == "/":
        return ""
    try:
        if "?" in text or "#" in text:
            raise Problem(400)
        return _prefix(encode_path(unquote(text)).decode("ascii"))
    except Problem:
        raise SettingsError(setting, f"{text!r} is no path, as in /kv") from None


def _node(entry: str) -> tuple[str, int]:
    """ADDRESS, ADDRESS:PORT, [ADDRESS], [ADDRESS]:PORT."""
    found = _NODE.fullmatch(entry)
    if found is None:
        raise Problem(400, f"{entry[:60]!r} in what a proxy forwards is no address")
    address, port = found[1] or found[3] or found[5], found[2] or found[4] or "0"
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        raise Problem(400, f"{entry[:60]!r} in what a proxy forwards is no address") from None
    return str(getattr(ip, "ipv4_mapped", None) or ip), int(port) if port.isdigit() else 0


def _scheme(said: str | None, own: str) -> str:
    if said is None:
        return own
    scheme = _SCHEMES.get(said.lower())
    if scheme is None:
        raise Problem(400, f"{said[:60]!r}, the scheme that a proxy forwards, is not http or https")
    return scheme


def _host(said: str | None, port: str | None, own: str, scheme: str) -> str | None:
    """HOST[:PORT] as the client used it; None when nothing is said about it."""
    if said is None and port is None:
        return None
    host = own if said is None else said
    if not _NAME.fullmatch(host):
        if said is None:
            return None
        raise Problem(400, f"{said[:60]!r}, the host that a proxy forwards, is none")
    if port is not None:
        if not (port.isascii() and port.isdigit() and 0 < int(port) <= 65_535):
            raise Problem(400, f"{port[:60]!r}, the port that a proxy forwards, is none")
        if not re.search(r":[0-9]+$", host) and int(port) != _PORTS[scheme]:
            host = f"{host}:{int(port)}"
    return host


def _server(host: str, scheme: str) -> tuple[str, int]:
    name, separator, port = host.rpartition(":")
    if not separator or not port.isdigit():
        name, port = host, ""
    return name.strip("[]"), int(port) if port else _PORTS[scheme]


def _prefix(said: str) -> str:
    text = said.rstrip("/")
    decoded = unquote(text, errors="replace")
    if (
        len(text) > MAX_PREFIX
        or not _PREFIX.fullmatch(text)
        or any(part in DOTS or not part for part in decoded.split("/")[1:])
        or not decoded.replace("\ufffd", "\0").isprintable()
    ):
        raise Problem(400, f"{said[:60]!r}, the prefix that a proxy forwards, is no path")
    return decoded


def _standard(fields: Fields) -> dict[bytes, list[str | None]]:
    """`Forwarded` as the lists that it stands for. What a hop does not name is as the next one to the right said."""
    entries = _entries(", ".join(value.decode("latin-1") for name, value in fields if name == b"forwarded"))
    if len(entries) > MAX_HOPS:
        raise Problem(400, f"Forwarded has more than {MAX_HOPS} entries")
    scheme: list[str | None] = []
    host: list[str | None] = []
    for entry in reversed(entries):
        scheme.insert(0, entry.get("proto", scheme[0] if scheme else None))
        host.insert(0, entry.get("host", host[0] if host else None))
    return {FOR: [entry.get("for") for entry in entries], PROTO: scheme, HOST: host}


def _entries(text: str) -> list[dict[str, str]]:
    """The elements of RFC 7239 section 4: pairs by semicolons, elements by commas."""
    entries: list[dict[str, str]] = [{}]
    at, after = 0, ","
    while at < len(text):
        found = _PAIR.match(text, at)
        if found is None:
            raise Problem(400, "Forwarded is malformed (RFC 7239 section 4)")
        name, value = found[1].lower(), found[2]
        if value.startswith('"'):
            value = re.sub(r"\\(.)", r"\1", value[1:-1])
        if name in entries[-1]:
            raise Problem(400, f"Forwarded names {name} twice for one hop")
        entries[-1][name] = value
        at = found.end()
        after = text[at : at + 1]
        if after == ",":
            entries.append({})
        elif after not in ("", ";"):
            raise Problem(400, "Forwarded is malformed (RFC 7239 section 4)")
        at += 1
    return [entry for entry in entries if entry]


def _shown(name: bytes) -> str:
    return name.decode("ascii").title()


__all__ = ["MAX_HOPS", "Outside", "root_of"]
