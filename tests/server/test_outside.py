"""A server behind proxies: forwarded fields, PROXY heads and a root path on real connections."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
from pathlib import Path

import pytest
from tests.server.conftest import Start

from skerry.http.application import Application
from skerry.http.request import Request
from skerry.http.trusted import Trusted
from skerry.loop.proxy_head import LOCAL_HEAD, head_of

LOCAL = Trusted(["127.0.0.1"])
OTHERS = Trusted(["192.0.2.0/24"])
CLIENT, PUBLIC = ("198.51.100.7", 4711), ("203.0.113.1", 443)
V1 = b"PROXY TCP4 198.51.100.7 203.0.113.1 4711 443\r\n"
V2 = head_of(CLIENT, PUBLIC)


def who() -> Application:
    """Says who asks, on the lane, on the ASGI side and to a mounted application."""
    app = Application()

    def told(request: Request) -> dict[str, object]:
        client = None if request.client is None else request.client[0]
        return {"client": client, "scheme": request.scheme, "host": request.host, "root": request.root_path,
                "path": request.path}  # fmt: skip

    @app.get("/lane/{name}")
    def lane(request: Request, name: str) -> dict[str, object]:
        return told(request)

    @app.get("/asgi/{name}")
    async def asgi(request: Request, name: str) -> dict[str, object]:
        return told(request)

    async def mounted(scope, receive, send):  # type: ignore[no-untyped-def]
        kept = {name: scope[name] for name in ("client", "scheme", "server", "root_path", "path")}
        fields = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        await send({"type": "http.response.body", "body": json.dumps(kept).encode()})

    app.mount("/mounted", mounted)
    return app


def get(path: str, *fields: str) -> bytes:
    lines = "".join(f"{field}\r\n" for field in ("Host: inner:1", *fields))
    return f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode()


def last(path: str, *fields: str) -> bytes:
    return get(path, *fields, "Connection: close")


def told(answers: bytes) -> list[dict[str, object]]:
    """The JSON bodies of answers in a row."""
    decoder, found, at = json.JSONDecoder(), [], answers.find(b"{")
    text = answers.decode()
    while at >= 0:
        value, end = decoder.raw_decode(text, at)
        found.append(value)
        at = text.find("{", end)
    return found


@pytest.mark.parametrize("path", ["/lane/a", "/asgi/a"])
async def test_each_request_has_the_client_that_its_proxy_names(start: Start, path: str) -> None:
    """On one kept connection of a proxy, with repeated heads as well as with others."""
    running = await start(who(), trusted=LOCAL)
    one, two = ("X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: https"), ("X-Forwarded-For: 192.0.2.2",)
    reader, writer = await running.connect()
    found = []
    for fields in (one, one, two, two, (), one):
        writer.write(get(path, *fields))
        found += told(await reader.readuntil(b"}"))
    writer.close()
    first, second = ("192.0.2.1", "https"), ("192.0.2.2", "http")
    expected = [first, first, second, second, ("127.0.0.1", "http"), first]
    assert [(each["client"], each["scheme"]) for each in found] == expected
    piped = await running.ask(get(path, *one) + get(path, *two) + last(path, *one))
    assert [each["client"] for each in told(piped)] == ["192.0.2.1", "192.0.2.2", "192.0.2.1"]


async def test_a_repeated_head_is_known_behind_a_proxy_too(start: Start) -> None:
    """What a proxy repeats, byte for byte, takes the short cut of the lane with the client that it names; the next
    client on the same connection is another one, and comes back as itself."""
    running = await start(who(), trusted=LOCAL)
    state = running.server.state
    reader, writer = await running.connect()
    looked_up = 0
    find = state._find

    def counting(method: str, path: bytes) -> object:
        nonlocal looked_up
        looked_up += 1
        return find(method, path)

    state._find = counting  # type: ignore[assignment]

    async def ask(name: str, client: str, *fields: str) -> dict[str, object]:
        writer.write(get(f"/lane/{name}", f"X-Forwarded-For: {client}", *fields))
        answer = await reader.readuntil(b"}")
        return told(answer)[0]

    for client in ("198.51.100.7", "198.51.100.8", "198.51.100.7"):
        before = looked_up
        for number in range(4):
            found = await ask(f"n{number}", client)
            assert (found["client"], found["path"]) == (client, f"/lane/n{number}")
        assert looked_up == before + 1
    writer.close()


async def test_the_short_cut_is_not_taken_below_a_root_path(start: Start) -> None:
    """A prefix that a proxy names may look like the beginning of a route: what stands below it is looked up."""
    app = who()

    @app.get("/kv/{name}")
    def kv(name: str) -> dict[str, object]:
        return {"kv": name}

    @app.get("/{name}")
    def top(name: str) -> dict[str, object]:
        return {"top": name}

    running = await start(app, trusted=LOCAL)
    prefixed = get("/kv/a", "X-Forwarded-Prefix: /kv")
    assert told(await running.ask(*[get("/kv/a")] * 3, *[prefixed] * 3, *[get("/kv/a")] * 3)) == [
        *[{"kv": "a"}] * 3, *[{"top": "a"}] * 3, *[{"kv": "a"}] * 3,
    ]  # fmt: skip


async def test_hosts_and_prefixes(start: Start) -> None:
    """The path below the prefix is what routes see, whether the proxy leaves it or takes it away."""
    running = await start(who(), trusted=LOCAL)
    fields = ("X-Forwarded-Host: kv.example", "X-Forwarded-Proto: https", "X-Forwarded-Prefix: /kv")
    for path in ("/kv/lane/a", "/lane/a", "/kv/asgi/a", "/asgi/a"):
        (found,) = told(await running.ask(last(path, *fields)))
        assert found == {"client": "127.0.0.1", "scheme": "https", "host": "kv.example", "root": "/kv",
                         "path": path.removeprefix("/kv")}  # fmt: skip
    (found,) = told(await running.ask(last("/kv/mounted/x", *fields)))
    assert (found["root_path"], found["path"], found["server"]) == (
        "/kv/mounted",
        "/kv/mounted/x",
        ["kv.example", 443],
    )


async def test_a_root_path_needs_no_proxy_that_tells(start: Start) -> None:
    """SKERRY_ROOT_PATH alone."""
    running = await start(who(), root_path="/kv")
    for path in ("/kv/lane/a", "/lane/a", "/kv/lane/a"):
        (found,) = told(await running.ask(last(path)))
        assert (found["root"], found["path"]) == ("/kv", "/lane/a")
    (found,) = told(await running.ask(last("/mounted/x")))
    assert (found["root_path"], found["path"]) == ("/kv/mounted", "/kv/mounted/x")


async def test_others_are_not_believed(start: Start) -> None:
    """Fields of somebody else are taken out; a PROXY head of somebody else is refused, and said why."""
    running = await start(who(), trusted=OTHERS)
    (found,) = told(
        await running.ask(last("/lane/a", "X-Forwarded-For: 192.0.2.1", "X-Forwarded-Host: evil.example"))
    )
    assert (found["client"], found["host"]) == ("127.0.0.1", "inner:1")
    for head in (V1, V2):
        answer = await running.ask(head + last("/lane/a"))
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b"SKERRY_TRUSTED" in answer


@pytest.mark.parametrize("head", [V1, V2], ids=["v1", "v2"])
@pytest.mark.parametrize("path", ["/lane/a", "/asgi/a"])
async def test_a_proxy_that_passes_bytes_says_who_its_client_is(start: Start, head: bytes, path: str) -> None:
    """Once, for all requests of the connection; however its bytes arrive."""
    running = await start(who(), trusted=LOCAL)
    whole = await running.ask(head + get(path) + last(path))
    assert [each["client"] for each in told(whole)] == ["198.51.100.7"] * 2
    pieces = [head[at : at + 1] for at in range(len(head))]
    assert [each["client"] for each in told(await running.ask(*pieces, last(path)))] == ["198.51.100.7"]


async def test_a_health_check_is_the_proxys_own(start: Start) -> None:
    """LOCAL and UNKNOWN name nobody: the connection's own address counts. And a connection without a head goes on."""
    running = await start(who(), trusted=LOCAL)
    for head in (LOCAL_HEAD, b"PROXY UNKNOWN\r\n", b""):
        (found,) = told(await running.ask(head + last("/lane/a")))
        assert found["client"] == "127.0.0.1"
    (found,) = told(await running.ask(b"\r", b"\n", last("/lane/a")))
    assert found["client"] == "127.0.0.1", "an empty line before a request is no head (RFC 9112 section 2.2)"


async def test_who_speaks_through_a_head_has_to_be_trusted_itself(start: Start) -> None:
    """Behind a proxy that passes bytes, fields come from its client: a stranger, or another proxy."""
    running = await start(who(), trusted=LOCAL)
    field = "X-Forwarded-For: 192.0.2.9"
    (found,) = told(await running.ask(V2 + last("/lane/a", field)))
    assert found["client"] == "198.51.100.7"
    (found,) = told(await running.ask(head_of(("127.0.0.1", 1), PUBLIC) + last("/lane/a", field)))
    assert found["client"] == "192.0.2.9"


async def test_a_broken_head_ends_the_connection(start: Start) -> None:
    """Nobody knows who that is; silence ends it too, in the time that a request's head may take."""
    running = await start(who(), trusted=LOCAL, head_seconds=0.2)
    for head in (b"PROXY TCP4 nobody\r\n", b"PROXY "):
        reader, writer = await running.connect()
        writer.write(head)
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(), 30) == b""
        writer.close()
    await running.until(lambda: running.server.connections == 0)


async def test_a_head_comes_before_tls(start: Start, certificate: tuple[Path, Path]) -> None:
    """The proxy passes the client's TLS on; what it says stands before the handshake."""
    cert, key = certificate
    running = await start(who(), trusted=LOCAL, tls_cert=cert, tls_key=key)

    def ask() -> bytes:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with socket.create_connection(("127.0.0.1", running.port), 30) as plain:
            plain.sendall(V2)
            with context.wrap_socket(plain) as sock:
                sock.sendall(last("/lane/a"))
                return b"".join(iter(lambda: sock.recv(65_536), b""))

    (found,) = told(await asyncio.to_thread(ask))
    assert (found["client"], found["scheme"]) == ("198.51.100.7", "https")


async def test_it_holds_and_goes_on(start: Start) -> None:
    """Accepting by hand ends and begins like the loop's own."""
    running = await start(who(), trusted=LOCAL)
    await running.server.hold()
    waiting = asyncio.create_task(running.ask(V1 + last("/lane/a")))
    await asyncio.sleep(0)
    assert not running.server.connections
    await running.server.resume()
    assert told(await waiting)[0]["client"] == "198.51.100.7"
