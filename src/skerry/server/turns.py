"""What waits on a connection: one turn per pipelined request, in the order of arrival."""

from __future__ import annotations

from dataclasses import dataclass

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from skerry.http.reply import Response
from skerry.http.request import Request
from skerry.http.routes import Found, Missing, Mount

# What happens to the connection after an answer; indexes State.common.
CLOSE, KEEP, KEEP_OLD = range(3)


@dataclass(slots=True)
class Upgrade:
    """A websocket handshake, complete. `leftover`: bytes that came behind it. `found`: what declared the path."""

    request: Request
    found: Found | Mount | Missing
    version: str = "1.1"
    leftover: bytes = b""

    def handshake(self) -> bytes:
        """The request as bytes, for protocols that read it themselves."""
        lines = [b"GET %b HTTP/1.1" % self.request.target]
        lines += [b"%b: %b" % field for field in self.request.headers.raw]
        return b"\r\n".join(lines) + b"\r\n\r\n"


@dataclass(slots=True)
class Turn:
    """One request that waits for its answer: by a lane route, a ready response, a cycle or an upgrade."""

    request: Request
    found: Found | Mount | Missing | None
    keep: int
    response: Response | None = None
    cycle: RequestResponseCycle | None = None
    upgrade: Upgrade | None = None
