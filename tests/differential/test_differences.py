"""What is not as under uvicorn, by choice: the whole list, each with its reason and shown on both sides."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from twoservers import Log, Make, Talk, both  # type: ignore[import-not-found]

OK = {"type": "http.response.start", "status": 200, "headers": []}
SHAKE = (
    b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


@dataclass(frozen=True, slots=True)
class Difference:
    """`saw` picks what differs out of what client and application noted."""

    name: str
    reason: str
    make: Make
    talk: Callable[[Talk], Awaitable[None]]
    saw: Callable[[list[Any], list[Any]], Any]
    uvicorn: Any
    ours: Any


def http(log: Log) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        while (await receive()).get("more_body"):
            pass
        log.add(sorted(scope["headers"]))
        if scope["path"] == "/raises":
            raise ValueError("secret")
        await send(OK)
        await send({"type": "http.response.body", "body": b"hello"})

    return app


def websocket(how: str) -> Make:
    def make(log: Log) -> Any:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] != "websocket":
                return
            await receive()
            if how == "raises before":
                raise ValueError("secret")
            await send({"type": "websocket.accept"})
            log.add("accepted")
            if how == "raises after":
                raise ValueError("secret")
            if how == "waits":
                log.add((await receive())["code"])
                log.add("over")

        return app

    return make


def says(data: bytes) -> Callable[[Talk], Awaitable[None]]:
    async def talk(client: Talk) -> None:
        await client.say(data)
        await client.ended()

    return talk


async def shakes(client: Talk) -> None:
    await client.say(SHAKE)
    await client.reader.readuntil(b"\r\n\r\n")
    with contextlib.suppress(ConnectionError):
        client.notes.append(await client.reader.read(100))


async def raises(client: Talk) -> None:
    await client.ask(b"GET /raises")
    client.notes[:] = [client.notes[0][1], dict(client.notes[0][2])[b"content-type"]]
    await client.afterwards()


async def breaks_off(client: Talk) -> None:
    await client.say(SHAKE)
    await client.log.until("accepted")
    await client.reset()
    await client.log.until("over")


def client_saw(notes: list[Any], log: list[Any]) -> Any:
    return notes


def application_saw(notes: list[Any], log: list[Any]) -> Any:
    return log


def status(notes: list[Any], log: list[Any]) -> Any:
    return notes[0][1].split(b" ")[1] if notes[0] != "ended" else None


def answers(begin: dict[str, Any], body: bytes = b"hello") -> Make:
    def make(log: Log) -> Any:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                await send({"type": "http.response.start", **begin})
                await send({"type": "http.response.body", "body": body})

        return app

    return make


async def one(client: Talk) -> None:
    await client.ask(b"GET /")
    await client.afterwards()


def status_and_fate(notes: list[Any], log: list[Any]) -> Any:
    return notes[0][1], notes[-1]


DIFFERENCES = [
    Difference(
        "an answer without a length to HTTP/1.0",
        "an old client knows no chunks (RFC 9112 section 7.1): the end of the connection is the end of the body",
        http, says(b"GET / HTTP/1.0\r\nHost: h\r\n\r\n"), client_saw,
        [
            ("ended", b"HTTP/1.1 200 OK\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"
             b"5\r\nhello\r\n0\r\n\r\n"),
        ],
        [("ended", b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhello")],
    ),
    Difference(
        "an exception before the answer",
        "it is a problem like every other, with the request's id, and the connection is as good as before",
        http, raises, client_saw,
        [500, b"text/plain; charset=utf-8", "closed"], [500, b"application/problem+json", "kept"],
    ),
    Difference(
        "a length beside an answer that has no body",
        "it is the length of what a GET would have got (RFC 9110 section 8.6); the connection is as good as before",
        answers({"status": 304, "headers": [(b"content-length", b"5")]}, b""), one, status_and_fate,
        (304, "closed"), (304, "kept"),
    ),
    Difference(
        "a body for an answer that has none",
        "it is left out, and the connection is as good as before",
        answers({"status": 204, "headers": []}), one, status_and_fate, (204, "closed"), (204, "kept"),
    ),
    Difference(
        "a length beside chunks",
        "a message has one of the two (RFC 9112 section 6.1)",
        answers({"status": 200, "headers": [(b"content-length", b"5"), (b"transfer-encoding", b"chunked")]}), one,
        lambda notes, log: b"content-length" in dict(notes[0][2]), True, False,
    ),
    Difference(
        "a field that would break the message",
        "the answer has not begun: it is a 500, not a broken connection",
        answers({"status": 200, "headers": [(b"x-name", b"a\r\nb: c")]}), one,
        lambda notes, log: notes[0][1] if notes[0][0] == "head" else notes[0][0], "broken off", 500,
    ),
    Difference(
        "an interim status for the answer",
        "the client would wait for the final one, and take the next answer for it: a 500, as of other slips",
        answers({"status": 103, "headers": []}), one,
        lambda notes, log: notes[0][1] if notes[0][0] == "head" else notes[0][0], "interim", 500,
    ),
    Difference(
        "trailers",
        "a field behind the body could pass for one of the head (RFC 9110 section 6.5.1), past every check of it",
        http,
        says(
            b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
            b"0\r\nX-Remote-User: a\r\n\r\n"
        ),
        lambda notes, log: (b"x-remote-user", b"a") in log[0],
        True, False,
    ),
    Difference(
        "a request without a Host",
        "exactly one Host (RFC 9112 section 3.2)",
        http, says(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n"), status, b"200", b"400",
    ),
    Difference(
        "two Hosts",
        "exactly one Host (RFC 9112 section 3.2)",
        http, says(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n"), status, b"200", b"400",
    ),
    Difference(
        "a websocket whose connection breaks",
        "1006 is the code of a connection that ended without a close frame (RFC 6455 section 7.1.5)",
        websocket("waits"), breaks_off, application_saw, ["accepted", 1005, "over"], ["accepted", 1006, "over"],
    ),
    Difference(
        "a websocket view that returns without closing",
        "the client is told with a close frame, 1000",
        websocket("returns"), shakes, client_saw, [b""], [b"\x88\x02\x03\xe8"],
    ),
    Difference(
        "a websocket view that fails",
        "the client is told with a close frame, 1011",
        websocket("raises after"), shakes, client_saw, [b""], [b"\x88\x10\x03\xf3internal error"],
    ),
    Difference(
        "a websocket view that fails before it accepts",
        "a 500 without a body: there is nothing to say",
        websocket("raises before"), shakes, client_saw, [b"Internal Server Error"], [b""],
    ),
]  # fmt: skip


@pytest.mark.parametrize("difference", DIFFERENCES, ids=lambda difference: difference.name)
async def test_what_differs_by_choice(difference: Difference) -> None:
    """Each is still there, on both sides as it is written here; what is not in this list is a fault."""
    found = await both(difference.make, difference.talk)
    assert difference.saw(*found["uvicorn"]) == difference.uvicorn
    assert difference.saw(*found["ours"]) == difference.ours
    assert difference.reason
