"""The handshake of a websocket: what the application is told of it, and how it is turned down. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from email.utils import formatdate
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from skerry.http.request import Peer
from skerry.server.turns import Upgrade

VERSION = "13"  # RFC 6455 section 4.4


def speaks_our_version(request: Request) -> bool:
    return request.headers.get_all("Sec-WebSocket-Version") == [VERSION]


def scope_of(upgrade: Upgrade, request: Request, peer: Peer, state: dict[str, Any]) -> dict[str, Any]:
    """The ASGI scope of a websocket (ASGI WebSocket 2.4), without its extensions."""
    raw_path, _, query = upgrade.request.target.partition(b"?")
    subprotocols: list[str] = []
    for line in request.headers.get_all("Sec-WebSocket-Protocol"):
        subprotocols += [token.strip() for token in line.split(",")]
    return {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": upgrade.version,
        "scheme": "wss" if peer.scheme == "https" else "ws",
        "server": peer.server,
        "client": peer.client,
        "root_path": "",
        "path": unquote(raw_path.decode("ascii")),
        "raw_path": raw_path,
        "query_string": query,
        "headers": list(upgrade.request.headers.raw),
        "subprotocols": subprotocols,
        "state": state.copy(),
    }


def denial(status: int, headers: Sequence[tuple[str, str]], body: bytes) -> Response:
    """A complete answer that is no websocket, after which the connection closes."""
    fields = Headers(headers)
    fields.setdefault("Date", formatdate(usegmt=True))
    fields.setdefault("Connection", "close")
    fields.setdefault("Content-Length", str(len(body)))
    if body:
        fields.setdefault("Content-Type", "text/plain; charset=utf-8")
    return Response(status, _phrase(status), fields, body)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
