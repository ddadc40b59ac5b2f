"""Failed attempts to log in, and which client has to wait before the next one. Pure: it is told the time.

Each client address, and each token that was tried, has so many failures a minute; one that has used them up is refused,
with the right token too. IPv6 addresses count by their network (/64), which one client has as a whole. Per server, and
bounded: beyond `MOST` the one that failed longest ago is forgotten.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections import OrderedDict

FAILURES = 10
WINDOW_SECONDS = 60.0
MOST = 10_000


class Attempts:
    """The failures of the last minute. `failed` and `refused` count since the start."""

    def __init__(
        self, failures: int = FAILURES, window_seconds: float = WINDOW_SECONDS, most: int = MOST
    ) -> None:
        self._failures, self._window, self._most = failures, window_seconds, most
        self._seen: OrderedDict[str, tuple[int, float]] = OrderedDict()  # failures, and until when they count
        self.failed = self.refused = 0

    def wait_seconds(self, client: str, secret: str, now: float) -> float:
        """How long this client, or this token, has to wait; 0: it may try."""
        until = 0.0
        for key in _keys(client, secret):
            count, ends = self._seen.get(key, (0, 0.0))
            if count >= self._failures and ends > now:
                until = max(until, ends)
        if until:
            self.refused += 1
        return max(0.0, until - now)

    def fail(self, client: str, secret: str, now: float) -> None:
        """An unknown token was tried."""
        self.failed += 1
        for key in _keys(client, secret):
            count, ends = self._seen.pop(key, (0, 0.0))
            self._seen[key] = (count + 1, ends) if ends > now else (1, now + self._window)
            if len(self._seen) > self._most:
                self._seen.popitem(last=False)


def _keys(client: str, secret: str) -> tuple[str, str]:
    return network_of(client), hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def network_of(client: str) -> str:
    """An IPv4 address, or the /64 of an IPv6 one; what is neither, as it is."""
    try:
        address = ipaddress.ip_address(client.partition("%")[0])
    except ValueError:
        return client
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.IPv6Network((address, 64), strict=False))
    return str(address)
