"""Whose word about a client counts: the addresses of one's own proxies (SKERRY_TRUSTED). Pure.

Anybody may write a field or a PROXY head; what it says is believed from these only.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from skerry.errors import SettingsError

UNIX = "unix:"
_REMEMBERED = 1_000


class Trusted:
    """Addresses and networks; `unix:` stands for every client of a unix socket."""

    def __init__(self, entries: Iterable[str], *, setting: str = "SKERRY_TRUSTED") -> None:
        """Raises SettingsError for what is neither."""
        self.unix = False
        self._networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = []
        self._known: dict[str, bool] = {}
        for entry in entries:
            if entry == UNIX:
                self.unix = True
                continue
            try:
                self._networks.append(ipaddress.ip_network(entry))
            except ValueError as error:
                why = f" ({error})" if "host bits" in str(error) else ""
                raise SettingsError(
                    setting, f"{entry!r} is none of ADDRESS, NETWORK/BITS, unix:{why}"
                ) from None

    def __bool__(self) -> bool:
        return self.unix or bool(self._networks)

    def includes(self, address: str | None) -> bool:
        """Whether an address is among them; None: a unix socket."""
        if address is None:
            return self.unix
        known = self._known.get(address)
        if known is None:
            known = self._decide(address)
            if len(self._known) < _REMEMBERED:
                self._known[address] = known
        return known

    def _decide(self, address: str) -> bool:
        try:
            ip = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        mapped = getattr(ip, "ipv4_mapped", None)  # a socket for both families shows IPv4 so
        return any(each in network for network in self._networks for each in (ip, mapped) if each is not None)
