"""Which addresses may connect to an adapter: its lists `allow` and `deny`. Pure.

Source: TarsCpp `TC_EpollServer::BindAdapter::isIpAllow`. Patterns are addresses with `*`. In the order `allow,deny` an
address that is allowed is let in whatever `deny` says; the other way round `deny` wins. An address in neither list is
let in when nothing is explicitly allowed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AccessList:
    """`deny_first`: whether `deny` is looked at before `allow`."""

    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    deny_first: bool = False

    def allows(self, address: str) -> bool:
        """Whether a client with this address is let in. An IPv4 address mapped into IPv6 counts as the former."""
        address = address.removeprefix("::ffff:")
        lists = [(self.deny, False), (self.allow, True)]
        for patterns, verdict in lists if self.deny_first else reversed(lists):
            if any(_fits(pattern, address) for pattern in patterns):
                return verdict
        return not self.allow


EVERYBODY = AccessList()


def _fits(pattern: str, address: str) -> bool:
    """`*` at the end stands for anything, elsewhere for one part."""
    head, star, _ = pattern.partition("*")
    if not star:
        return pattern == address
    if pattern.endswith("*") and pattern.count("*") == 1:
        return address.startswith(head)
    parts = [re.escape(part) for part in pattern.split("*")]
    return re.fullmatch(r"[^.:]+".join(parts), address) is not None
