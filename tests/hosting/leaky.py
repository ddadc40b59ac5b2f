"""Routes of Flask, of bare WSGI and of bare ASGI: twelve that leak, as applications do, and eight that only look so."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import logging
import os
import socket
import tempfile
import threading
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from functools import cache, lru_cache
from itertools import chain, count
from typing import Any

from blinker import Signal
from flask import Flask, Response, after_this_request, g, request

flask = Flask("leaky")
numbers = count(1)


class Order:
    def __init__(self, number: int) -> None:
        self.number = number


# Flask, leaking

answered: list[dict[str, Any]] = []
sessions: dict[int, Order] = {}
paid = Signal()


@flask.get("/leaky/list")
def leaky_list() -> str:
    """What was answered is noted, for nobody."""
    answered.append({"path": request.path, "number": next(numbers)})
    return "noted"


@flask.get("/leaky/sessions")
def leaky_sessions() -> str:
    """A global dict of sessions that nobody ends."""
    number = next(numbers)
    sessions[number] = Order(number)
    return "session begun"


@flask.get("/leaky/signal")
def leaky_signal() -> str:
    """A closure is connected to a signal for each request."""
    number = next(numbers)

    def hear(sender: object) -> int:
        return number

    paid.connect(hear, weak=False)
    return "connected"


@flask.get("/leaky/logger")
def leaky_logger() -> str:
    """A handler is added to a logger each time that it is used."""
    logger = logging.getLogger("leaky.of.a.test")
    logger.addHandler(logging.NullHandler())
    return "logged"


@cache
def page_of(path: str) -> bytes:
    return os.urandom(2_000)


@flask.get("/leaky/pages/<int:number>")
def leaky_pages(number: int) -> bytes:
    """A cache by path, without a limit; its values are bytes, which the garbage collector does not know."""
    return page_of(request.path)


@cache
def price_of(order: Order) -> int:
    return order.number * 2


@flask.get("/leaky/cached")
def leaky_cached() -> str:
    """A cached function whose argument is another object each time."""
    return str(price_of(Order(next(numbers))))


# Bare WSGI, leaking

Start = Callable[..., Any]
Environ = dict[str, Any]
buried: list[object] = []
waiting = threading.Event()
"""Set when the tests of this module are over."""
opened: list[int] = []
here = threading.local()


class Undead:
    """A cycle whose finalizer keeps it."""

    def __init__(self) -> None:
        self.me = self

    def __del__(self) -> None:
        buried.append(self)


def leaky_cycle(environ: Environ) -> None:
    Undead()


def leaky_thread(environ: Environ) -> None:
    """A thread that waits for what does not come."""
    threading.Thread(target=waiting.wait, daemon=True).start()


def leaky_file(environ: Environ) -> None:
    """A file that stays open."""
    opened.append(os.open(os.devnull, os.O_RDONLY))


def leaky_local(environ: Environ) -> None:
    """Something for each request in a variable of its thread."""
    if not hasattr(here, "requests"):
        here.requests = []
    here.requests.append(environ)


# Bare ASGI, leaking

Scope = dict[str, Any]
hung: set[asyncio.Task[Any]] = set()
contexts: list[contextvars.Context] = []
current: contextvars.ContextVar[Order] = contextvars.ContextVar("current")


async def leaky_task(scope: Scope) -> None:
    """A task that nobody awaits, which waits for a queue that nobody fills."""
    hung.add(asyncio.create_task(asyncio.Queue[int]().get()))


async def leaky_context(scope: Scope) -> None:
    """The context of each request is kept, with what its variables hold."""
    current.set(Order(next(numbers)))
    contexts.append(contextvars.copy_context())


# Clean

recent: OrderedDict[int, Order] = OrderedDict()
last: deque[dict[str, int]] = deque(maxlen=30)
connections: deque[tuple[socket.socket, socket.socket]] = deque()
known: dict[str, list[Order]] = {}
alive: weakref.WeakSet[Order] = weakref.WeakSet()
locks: dict[int, threading.Lock] = {}
filled: list[Order] = []


@lru_cache(maxsize=32)
def name_of(number: int) -> str:
    return f"order {number}" * 3


@flask.get("/clean/bounded")
def clean_bounded() -> str:
    """A cache with a limit, a ring, and an LRU cache, all with other keys each time."""
    number = next(numbers)
    recent[number] = Order(number)
    while len(recent) > 20:
        recent.popitem(last=False)
    last.append({"number": number})
    return name_of(number)


@flask.get("/clean/flask")
def clean_flask() -> Response:
    """What Flask itself keeps during a request, and an answer that streams."""
    g.order = Order(next(numbers))

    @after_this_request
    def mark(response: Response) -> Response:
        response.headers["X-Order"] = str(g.order.number)
        return response

    return Response(str(part) for part in range(5))


@flask.get("/clean/signal")
def clean_signal() -> str:
    """A listener for the time of a request."""
    with paid.connected_to(lambda sender: None):
        paid.send("test")
    return "sent"


def clean_pool(environ: Environ) -> None:
    """A pool of connections that is filled by the first request."""
    here, there = connections.popleft() if connections else socket.socketpair()
    here.sendall(b"select 1")
    assert there.recv(8) == b"select 1"
    connections.append((here, there))


def clean_cycle(environ: Environ) -> None:
    """Cycles, and what is known by weak references only."""
    first, second = Order(1), Order(2)
    first.__dict__["other"], second.__dict__["other"] = second, first
    alive.add(first)
    with contextlib.suppress(ValueError):
        raise ValueError(first)  # whose traceback holds this frame


def clean_file(environ: Environ) -> None:
    """Files and a thread that end with the request."""
    with tempfile.TemporaryFile() as file:
        thread = threading.Thread(target=file.write, args=(b"report",))
        thread.start()
        thread.join()


async def clean_late(scope: Scope) -> None:
    """A cache that is filled long after the start, once; and one that fills while it is measured, up to its end."""
    number = next(late)
    if number == 40:
        known["all"] = [Order(each) for each in range(500)]
    if len(filled) < 60:
        filled.append(Order(number))


late = count(1)


async def clean_task(scope: Scope) -> None:
    """Tasks and a context that end with the request."""
    current.set(Order(next(numbers)))
    await asyncio.gather(asyncio.sleep(0), asyncio.to_thread(gc.isenabled))


BARE: dict[str, Callable[[Environ], None]] = {
    "/leaky/cycle": leaky_cycle, "/leaky/thread": leaky_thread, "/leaky/file": leaky_file, "/leaky/local": leaky_local,
    "/clean/pool": clean_pool, "/clean/cycle": clean_cycle, "/clean/file": clean_file,
}  # fmt: skip
ASYNC: dict[str, Callable[[Scope], Any]] = {
    "/leaky/task": leaky_task, "/leaky/context": leaky_context, "/clean/late": clean_late, "/clean/task": clean_task,
}  # fmt: skip


def bare(environ: Environ, start_response: Start) -> Iterable[bytes]:
    view = BARE.get(environ["PATH_INFO"])
    if view is None:
        start_response("404 Not Found", [])
        return []
    view(environ)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]


async def over_asgi(scope: Scope, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        view = ASYNC.get(scope["path"])
        if view is not None:
            await view(scope)
        status = 404 if view is None else 200
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b"done"})


def let_go() -> None:
    """Of all that the leaking ones hold."""
    waiting.set()
    for descriptor in opened:
        os.close(descriptor)
    for connection in chain.from_iterable(connections):
        connection.close()
    for task in hung:
        if not task.get_loop().is_closed():
            task.cancel()
    for each in (opened, connections, hung, answered, sessions, buried, contexts):
        each.clear()
    logging.getLogger("leaky.of.a.test").handlers.clear()
    page_of.cache_clear()
    price_of.cache_clear()
    paid.receivers.clear()
