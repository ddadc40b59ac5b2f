"""The server under test for the Autobahn suite: a websocket that says back what it hears, on this very server.

Prints the port it listens on. `echo.py uvicorn` is the same application under uvicorn. Compression is on: it is only
used where a case asks for it. Not an example: a view that echoes without limit is not what one would deploy.
"""

from __future__ import annotations

import asyncio
import socket
import sys

import uvicorn
import uvloop
from starlette.websockets import WebSocket, WebSocketDisconnect

from skerry.http.application import Application
from skerry.server.server import HttpServer
from skerry.server.websocket import WebSockets, WebSocketSettings

application = Application()


@application.websocket("/")
async def echo(websocket: WebSocket) -> None:
    """Say it back, as text or as bytes."""
    await websocket.accept()
    try:
        while True:
            message = await websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            if message.get("text") is not None:
                await websocket.send_text(message["text"])
            else:
                await websocket.send_bytes(message["bytes"])
    except WebSocketDisconnect:
        return


async def main(name: str) -> None:
    sock = socket.create_server(("127.0.0.1", 0))
    if name == "uvicorn":
        print(sock.getsockname()[1], flush=True)
        config = uvicorn.Config(application, log_level="critical", ws_max_size=32 << 20)
        await uvicorn.Server(config).serve([sock])
        return
    settings = WebSocketSettings(max_message_bytes=32 << 20, compression=True)
    server = HttpServer(application, websocket=WebSockets(settings))
    await server.start([sock])
    print(sock.getsockname()[1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1] if len(sys.argv) > 1 else "skerry"))
