"""504 in the place of an ASGI application's answer that does not begin in time.

A request body that comes in counts as progress; once an answer has begun, it may take as long as it likes. Not for
WebSockets. Threads of a WSGI application have the same by `skerry.hosting`.
"""

from __future__ import annotations

import asyncio
import logging

from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger("skerry.tars.service")

LATE = 504
"""The status of an answer that did not come in time."""
_TEXT = b"Gateway Timeout\n"


class Timely:
    """`application`, cancelled when its answer has not begun after `seconds` without progress; 0: never."""

    def __init__(self, application: ASGIApp, seconds: float) -> None:
        self.application, self._seconds = application, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        seconds = self._seconds
        if scope["type"] != "http" or not seconds:
            await self.application(scope, receive, send)
            return
        loop = asyncio.get_running_loop()
        began = False
        try:
            async with asyncio.timeout(seconds) as limit:

                async def taking() -> Message:
                    message = await receive()
                    if not began and not limit.expired() and message["type"] == "http.request":
                        limit.reschedule(loop.time() + seconds)
                    return message

                async def sending(message: Message) -> None:
                    nonlocal began
                    if not began and not limit.expired():
                        began = True
                        limit.reschedule(None)
                    await send(message)

                await self.application(scope, taking, sending)
        except TimeoutError:
            if began or not limit.expired():
                raise
            log.error("%s %s: no answer within %g s", scope["method"], scope["path"], seconds)
            await send(_HEAD)
            await send({"type": "http.response.body", "body": _TEXT})


_HEAD: Message = {
    "type": "http.response.start",
    "status": LATE,
    "headers": [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(_TEXT)).encode()),
        (b"connection", b"close"),
    ],
}
