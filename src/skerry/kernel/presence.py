"""The connections of other processes, as far as this one has heard of them.

A process that is killed cannot say that its connections ended. The process that notices it tells; this remembers
what has to be said for it. Pure; bounded: what is forgotten is not told of.
"""

from __future__ import annotations

import msgspec

MOST = 100_000

_encode = msgspec.json.Encoder().encode


class Said(msgspec.Struct, frozen=True):
    """The part of an announcement that matters here."""

    type: str
    connection: str = ""
    route: str = ""
    process: str = ""


_decode = msgspec.json.Decoder(Said).decode


class Presence:
    """Connections by the process that has them. A connection's id begins with its process's name."""

    def __init__(self) -> None:
        self._connections: dict[str, str] = {}
        self._processes: set[str] = set()

    def heard(self, payload: bytes) -> None:
        """An announcement of any process. Anything else is passed over."""
        try:
            said = _decode(payload)
        except msgspec.MsgspecError:
            return
        match said.type:
            case "connection_opened" if len(self._connections) < MOST:
                self._connections[said.connection] = said.route
            case "connection_closed":
                self._connections.pop(said.connection, None)
            case "process_joined":
                self._processes.add(said.process)
            case "process_left":
                self._processes.discard(said.process)

    def left(self, process: str) -> list[bytes]:
        """What is to be told now that `process` is gone silently; empty when it said goodbye itself."""
        prefix = f"{process}-"
        gone = [each for each in self._connections if each.startswith(prefix)]
        told = [
            _encode({"type": "connection_closed", "route": self._connections.pop(each), "connection": each})
            for each in gone
        ]
        if process in self._processes:
            self._processes.discard(process)
            told.append(_encode({"type": "process_left", "process": process}))
        return told
