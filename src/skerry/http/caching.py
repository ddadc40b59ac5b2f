"""What caches between us and a browser may keep (RFC 9111). Pure. Browsers' own caches obey the same lines.

An answer behind a token is for its client: `private`, and `Vary` names the fields that identify it. A value that
everybody may read is kept, but asked about each time (`no-cache`: revalidated by its ETag). Lines are made once, at
start or with the class of answers; what a view says itself about `Cache-Control` counts.
"""

from __future__ import annotations

from collections.abc import Iterable

from starlette.types import Message, Send

from skerry.http.reply import NO_CACHE, Response

WHO = "Authorization, Cookie"
OPEN = {"Cache-Control": "no-cache"}
PRIVATE = {"Cache-Control": "private, no-cache", "Vary": WHO}
_SAID = ("private", "no-store", "public")
PRIVATE_LINE = f"Vary: {WHO}"
_PRIVATE_LINES = "Cache-Control: private, no-cache\r\n"

Pairs = list[tuple[bytes, bytes]]


def private(answer: Response) -> Response:
    """The same answer for a route behind a token. One that says so already is returned as it is; others are copied:
    a view may give the same answer to many."""
    head = answer.head
    if answer.private or PRIVATE_LINE in head:
        return answer
    said = _control(head.split("\r\n")) if "ache-" in head else None
    made = answer.copy()
    if said is None or said == "no-cache":
        made.head = f"{head.replace(NO_CACHE, '')}{_PRIVATE_LINES}{PRIVATE_LINE}\r\n"
    elif not any(word in said for word in _SAID):
        made.head = f"{head}Cache-Control: private\r\n{PRIVATE_LINE}\r\n"
    else:
        made.head = f"{head}{PRIVATE_LINE}\r\n"
    made.private = True
    return made


def private_fields(fields: Iterable[tuple[bytes, bytes]]) -> Pairs:
    """The same for the fields of an ASGI answer."""
    pairs = [(bytes(name), bytes(value)) for name, value in fields]
    said = ", ".join(
        value.decode("latin-1") for name, value in pairs if name.lower() == b"cache-control"
    ).lower()
    if said in ("", "no-cache"):
        pairs = [pair for pair in pairs if pair[0].lower() != b"cache-control"]
        pairs.append((b"cache-control", b"private, no-cache"))
    elif not any(word in said for word in _SAID):
        pairs.append((b"cache-control", b"private"))
    if (b"vary", WHO.encode()) not in pairs:
        pairs.append((b"vary", WHO.encode()))
    return pairs


def keeping_private(send: Send) -> Send:
    """`send` for what stands behind a token on the ASGI side: views, streams, files, mounted applications."""

    async def guarded(message: Message) -> None:
        if message["type"] in ("http.response.start", "websocket.http.response.start"):
            message = {**message, "headers": private_fields(message.get("headers", ()))}
        await send(message)

    return guarded


def _control(lines: Iterable[str]) -> str | None:
    """What the lines say about caching, in lower case; None when nothing."""
    found = [
        line.partition(":")[2].strip().lower() for line in lines if line[:14].lower() == "cache-control:"
    ]
    return ", ".join(found) if found else None
