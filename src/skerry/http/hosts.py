"""Which names a server is asked by (the Host field). Pure.

A page may let its own name point to this machine after it was loaded (DNS rebinding); to its browser we are then the
page's own server, whatever is compared of origins. What tells us apart is the name: a server that only this machine
reaches is not asked by names that belong to others, until SKERRY_HOSTS says otherwise. An address is no name, and a
name without a dot is nobody's on the internet.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

from skerry.http.headers import Headers
from skerry.http.problems import Problem

ENTRY = re.compile(
    r"\*|(\*?\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?(:[0-9]{1,5})?|\[[0-9a-fA-F:.]+\](:[0-9]{1,5})?"
)
_REMEMBERED = 1_000


class Hosts:
    """`names`: NAME, NAME:PORT, .DOMAIN (itself and what lies below), [IPV6]; `*` is every name. `local`: also
    addresses and names that nobody else can have, with any port."""

    def __init__(self, names: Iterable[str], *, local: bool = False) -> None:
        self._names = {name.lower().removeprefix("*").rstrip(".") for name in names}
        self._local = local
        self.given = bool(self._names)
        """Whether somebody has named them."""
        self._every = "*" in set(names)
        self._known: dict[str, bool] = {}

    def serves(self, host: str) -> bool:
        """Whether a Host field names us. Without one (HTTP/1.0) there is no name that could be wrong."""
        if self._every or not host:
            return True
        known = self._known.get(host)
        if known is None:
            known = self._decide(host.lower())
            if len(self._known) < _REMEMBERED:
                self._known[host] = known
        return known

    def check(self, headers: Headers) -> None:
        """Raises Problem 421 (RFC 9110 section 15.5.20) for a name that is not served."""
        host = headers.get("host") or ""
        if not self.serves(host):
            raise Problem(421, f"no host {host[:100]!r} is served here; SKERRY_HOSTS names those that are")

    def _decide(self, host: str) -> bool:
        name = _without_port(host).rstrip(".")
        if name in self._names or host in self._names:
            return True
        parts = name.split(".")
        if any("." + ".".join(parts[at:]) in self._names for at in range(len(parts))):
            return True
        return self._local and _cannot_be_rebound(name)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address, by its number or its name."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def hosts_of(names: Iterable[str], address: str, *, behind: bool = False) -> Hosts | None:
    """The names that a server at `address` is asked by: those given; without any, those that nobody else
    can have where only this machine reaches it, else every name (None). `behind`: a proxy is trusted, and others reach
    it by that."""
    given = tuple(names)
    if given:
        return None if "*" in given else Hosts(given, local=is_loopback(address))
    return Hosts((), local=True) if is_loopback(address) and not behind else None


def _cannot_be_rebound(name: str) -> bool:
    if "." not in name or name.endswith(".localhost"):
        return True  # an IPv6 address too
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _without_port(host: str) -> str:
    name, separator, port = host.rpartition(":")
    return (
        name
        if separator and (port.isdigit() or not port) and (":" not in name or name.endswith("]"))
        else host
    )
