"""A service for tests, run as processes by `skerry tars run served:service`."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

from skerry import tars
from skerry.tars import Service

GATE = os.environ.get("SERVED_GATE", "")
while GATE and not Path(GATE).exists():  # a slow start
    time.sleep(0.01)

demo: Any = tars.load_text("""
module Demo
{
    interface Hello
    {
        string hello(string name);
        int wait(int milliseconds);
        void hang();
        int process();
    };
};
""").Demo


class HelloServant(demo.Hello):  # type: ignore[misc]
    async def hello(self, name: str) -> str:
        return f"Hello {name}!"

    async def wait(self, milliseconds: int) -> int:
        await asyncio.sleep(milliseconds / 1000)
        return milliseconds

    async def hang(self) -> None:
        this_is_where_it_hangs()

    async def process(self) -> int:
        return os.getpid()


def this_is_where_it_hangs() -> None:
    time.sleep(600)


def wsgi(environ: Any, start_response: Any) -> list[bytes]:
    """Says who serves it."""
    body = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']} by {os.getpid()}".encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    """The same; it has no lifespan."""
    assert scope["type"] == "http"
    headers = [(b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": f"{scope['path']} by {os.getpid()}".encode()})


both = Service()
both.servant("HelloObj", HelloServant())
both.http("WebObj", asgi)
both.http("OldObj", "served:wsgi")
service = Service(version="1.2.3")
service.servant("HelloObj", HelloServant())
wrong = Service()
wrong.servant("OtherObj", HelloServant())


class Needy(demo.Hello):  # type: ignore[misc]
    async def hello(self, name: str, nobody: Needy) -> str:
        return name

    async def wait(self, milliseconds: int) -> int:
        return milliseconds

    async def hang(self) -> None:
        """Nothing."""

    async def process(self) -> int:
        return 0


needy = Service()
needy.servant("HelloObj", Needy())


@service.admin("cache.clear")
def clear(arguments: str) -> str:
    return f"cleared {arguments}"


@service.every(seconds=0.05)
async def sweep() -> None:
    print(f"sweep by {os.getpid()}")


@service.on_started("HelloObj")
def started(address: str, weight: int) -> None:
    print(f"started at {address} with weight {weight}")


@service.on_stopping()
async def stopping(address: str, weight: int) -> None:
    print(f"stopping at {address} with weight {weight}")
