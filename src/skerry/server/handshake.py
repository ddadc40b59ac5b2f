"""The handshake of a websocket (RFC 6455 section 4.2): checked and answered from the head that was parsed. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from email.utils import formatdate
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

from websockets.datastructures import Headers
from websockets.http11 import Request as Handshake
from websockets.http11 import Response

from skerry.http.path import encode_path
from skerry.http.problems import MEDIA_TYPE, Problem
from skerry.http.request import Request
from skerry.http.scope import HOST
from skerry.server.frames import Frames

VERSION = "13"  # RFC 6455 section 4.4
Fields = Sequence[tuple[str, str]]


def shake(core: Frames, request: Request) -> tuple[Response, bool]:
    """The answer to a handshake, and whether it is a 101, to be sent when the application accepts."""
    if request.headers.get_all("sec-websocket-version") != [VERSION]:
        return denial(426, [("Sec-WebSocket-Version", VERSION), ("Upgrade", "websocket")], b""), False
    fields = Headers(
        [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw]
    )
    response = core.accept(Handshake(request.target.decode("ascii"), fields))
    if response.status_code == HTTPStatus.SWITCHING_PROTOCOLS:
        return response, True
    field = getattr(core.handshake_exc, "name", "")
    problem = Problem(response.status_code, f"the handshake is not valid: {field}".rstrip(": ")).response()
    return denial(problem.status, [("Content-Type", MEDIA_TYPE)], problem.body), False


def scope_of(request: Request, version: str, state: dict[str, Any]) -> dict[str, Any]:
    """The ASGI scope of a websocket (ASGI WebSocket 2.4), without its extensions."""
    raw_path, _, query = request.target.partition(b"?")
    peer = request.peer
    root, path = peer.root_path, unquote(raw_path.decode("ascii"))
    if root:
        path, raw_path = root + path, encode_path(root) + raw_path
    subprotocols: list[str] = []
    for line in request.headers.get_all("sec-websocket-protocol"):
        subprotocols += [token.strip() for token in line.split(",")]
    scope: dict[str, Any] = {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": version,
        "scheme": "wss" if peer.scheme == "https" else "ws",
        "server": peer.server,
        "client": peer.client,
        "root_path": root,
        "path": path,
        "raw_path": raw_path,
        "query_string": query,
        "headers": list(request.headers.raw),
        "subprotocols": subprotocols,
        "state": state.copy(),
    }
    if peer.host is not None:
        scope[HOST] = peer.host
    return scope


def denial(status: int, headers: Fields, body: bytes) -> Response:
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
