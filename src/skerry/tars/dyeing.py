"""Dyed calls: those of which somebody wants to see every log line, on all servers that they pass.

A call is dyed by its caller (message type and `STATUS_DYED_KEY`), or here, where the argument that the IDL marks
`routekey` is the key that was asked for (`tars.setdyeing KEY SERVANT [FUNCTION]`). Calls that it causes are dyed, too.

Source: TarsCpp `ServantHelperManager::setDyeing`, `ServantHandle::checkDyeing`; the last one asked for counts.
"""

from __future__ import annotations

from typing import Any

from skerry.tars.call import Call
from skerry.tars.wire.interface import Function


class Dyeing:
    """What one server dyes. `key` is empty while it is nothing."""

    __slots__ = ("function", "key", "servant")

    def __init__(self) -> None:
        self.key = self.servant = self.function = ""

    def set(self, key: str, servant: str, function: str = "") -> None:
        """From now on; in place of what was dyed before."""
        self.key, self.servant, self.function = key, servant, function

    def apply(self, call: Call, function: Function, arguments: tuple[Any, ...]) -> None:
        """Dye the call when it is one of those."""
        at = function.route_index
        if at is None or call.servant != self.servant or self.function not in ("", function.name):
            return
        if str(arguments[at]) == self.key:
            call.dye(self.key)
