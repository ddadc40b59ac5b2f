"""Security defaults: who may do what, what is malformed, and that no client stops or slows the others."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from contractworld import SOAK, Running, free_port, request, skerry, until  # type: ignore[import-not-found]

READ, WRITE = "Bearer reader-token-123", "Bearer writer-token-456"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Tokens, TLS and a gateway; `.env` and `skerry.toml` say so."""
    directory = tmp_path_factory.mktemp("guarded")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "cert.pem",
         "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"],
        cwd=directory, check=True, capture_output=True,
    )  # fmt: skip
    tokens = f"read:{READ.split()[1]},write:{WRITE.split()[1]}"
    (directory / ".env").write_text(
        f"SKERRY_TOKENS={tokens}\nSERVER_PORT={free_port()}\nWEBSOCKET_PORT={free_port()}\n"
    )
    (directory / "skerry.toml").write_text(
        '[skerry]\ntls_cert = "cert.pem"\ntls_key = "key.pem"\nbind = "127.0.0.1:1"\n'
    )
    with skerry(directory, "up", "livekv:app", "--servers", "1", "--gateways", "1") as running:
        running.context = ssl.create_default_context(cafile=str(directory / "cert.pem"))
        yield running


@pytest.mark.parametrize(
    ("method", "target", "nobody", "reader", "writer"),
    [
        ("GET", "/values/none", 401, 404, 404), ("GET", "/values", 401, 200, 200),
        ("PUT", "/values/sec", 401, 403, 200), ("DELETE", "/values/none", 401, 403, 200),
        ("GET", "/metrics", 401, 200, 200), ("GET", "/commands/" + "0" * 32, 401, 404, 404),
        ("GET", "/", 401, 200, 200), ("GET", "/health/live", 200, 200, 200), ("GET", "/health/ready", 200, 200, 200),
        ("HEAD", "/events", 401, 200, 200), ("GET", "/login", 200, 200, 200),
    ],
)  # fmt: skip
def test_rights(guarded: Running, method: str, target: str, nobody: int, reader: int, writer: int) -> None:
    """Reading needs the read right, `/metrics` and `/commands` too; writing the write right; health is open."""
    stream = {"Accept": "text/event-stream"} if target == "/events" else {}
    assert guarded.ask(method, target, **stream).status == nobody
    assert guarded.ask(method, target, **stream, Authorization="Bearer wrong").status == nobody
    assert guarded.ask(method, target, **stream, Authorization=READ).status == reader
    assert guarded.ask(method, target, **stream, Authorization=WRITE).status == writer


def test_a_browser_logs_in(guarded: Running) -> None:
    """A page leads to the form; the form sets a cookie that scripts and other sites cannot use."""
    origin = f"https://localhost:{guarded.port}"
    page = guarded.ask("GET", "/", Accept="text/html")
    assert (page.status, page.headers["location"]) == (303, "/login?next=%2F")
    form = {"Content_Type": "application/x-www-form-urlencoded", "Origin": origin}
    assert guarded.ask("POST", "/login", b"token=wrong", **form).status == 401
    entered = guarded.ask("POST", "/login", f"token={WRITE.split()[1]}&next=//evil".encode(), **form)
    assert (entered.status, entered.headers["location"]) == (303, "/")
    cookie, *attributes = entered.headers["set-cookie"].split("; ")
    assert {"HttpOnly", "SameSite=Strict", "Secure", "Path=/"} <= set(attributes)
    assert WRITE.split()[1] not in cookie
    assert guarded.ask("GET", "/values", Cookie=cookie).status == 200
    assert guarded.ask("PUT", "/values/c", b"1", Cookie=cookie, Origin=origin).status == 200
    assert guarded.ask("PUT", "/values/c", b"1", Cookie=cookie, Origin="https://evil.example").status == 403
    assert guarded.ask("PUT", "/values/c", b"1", Cookie=cookie).status == 403
    foreign = {**form, "Origin": "https://evil.example"}
    assert guarded.ask("POST", "/login", f"token={WRITE.split()[1]}".encode(), **foreign).status == 403
    name, _, value = cookie.partition("=")
    assert guarded.ask("GET", "/values", Cookie=f"{name}={value[:-1]}").status == 401


def test_a_gateway_has_the_stream_for_the_page_and_nobody_else(guarded: Running) -> None:
    """`up --gateways` adds its own origin and the page's `connect-src`; WEBSOCKET_PORT is honoured."""
    port = int(re.findall(r"WEBSOCKET_PORT=(\d+)", (guarded.directory / ".env").read_text())[0])
    policy = guarded.ask("GET", "/", Authorization=READ).headers["content-security-policy"]
    assert f"connect-src 'self' wss://localhost:{port}" in policy
    gateway = Running(guarded.process, guarded.directory, port, guarded.context)
    asked = {"Accept": "text/event-stream", "Authorization": READ}
    assert gateway.ask("HEAD", "/events", **asked, Origin=f"https://localhost:{guarded.port}").status == 200
    assert gateway.ask("HEAD", "/events", Accept="text/event-stream").status == 401
    with socket.create_connection(("127.0.0.1", port), 60) as plain:
        secure = ssl.create_default_context(cafile=str(guarded.directory / "cert.pem"))
        with secure.wrap_socket(plain, server_hostname="localhost") as sock:
            sock.sendall(
                request("GET", "/events", f"Authorization: {READ}", "Origin: https://evil.example",
                        "Accept: text/event-stream")
            )  # fmt: skip
            assert sock.recv(100).startswith(b"HTTP/1.1 403 ")
    assert gateway.ask("GET", "/values/a", Authorization=READ).status == 404

    def told() -> set[str]:
        return set(re.findall(r'process="([^"]+)"', gateway.ask("GET", "/metrics", **asked).body.decode()))

    assert until(lambda: told() == {"balancer", "consumer-1", "gateway-1", "server-1"})


HOST = b"Host: x\r\n"
MALFORMED = {
    "garbage": b"\x00\x01\x02\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "HTTP/9.9": b"GET / HTTP/9.9\r\n" + HOST + b"\r\n",
    "HTTP/2.0": b"GET / HTTP/2.0\r\n" + HOST + b"\r\n",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "no Host": b"GET / HTTP/1.1\r\n\r\n",
    "two Hosts": b"GET / HTTP/1.1\r\n" + HOST + HOST + b"\r\n",
    "odd Host": b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
    "two lengths": b"PUT /values/m HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "list of lengths": b"PUT /values/m HTTP/1.1\r\n" + HOST + b"Content-Length: 1, 1\r\n\r\na",
    "length and coding": b"PUT /values/m HTTP/1.1\r\n" + HOST
    + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "signed length": b"PUT /values/m HTTP/1.1\r\n" + HOST + b"Content-Length: +5\r\n\r\nhello",
    "negative length": b"PUT /values/m HTTP/1.1\r\n" + HOST + b"Content-Length: -1\r\n\r\n",
    "endless length": b"PUT /values/m HTTP/1.1\r\n" + HOST + b"Content-Length: 99999999999999999999\r\n\r\n",
    "obs-fold": b"GET / HTTP/1.1\r\n" + HOST + b"X: a\r\n b\r\n\r\n",
    "space before colon": b"GET / HTTP/1.1\r\nHost : x\r\n\r\n",
    "no colon": b"GET / HTTP/1.1\r\n" + HOST + b"foo\r\n\r\n",
    "NUL in a field": b"GET / HTTP/1.1\r\n" + HOST + b"X: a\x00b\r\n\r\n",
    "bare LF": b"GET / HTTP/1.1\nHost: x\n\n",
    "bare CR": b"GET / HTTP/1.1\r\n" + HOST + b"X: a\rb\r\n\r\n",
    "space in the target": b"GET /a b HTTP/1.1\r\n" + HOST + b"\r\n",
    "fragment": b"GET /#a HTTP/1.1\r\n" + HOST + b"\r\n",
    "odd chunk size": b"PUT /values/m HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    "chunk too long": b"PUT /values/m HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
}  # fmt: skip


@pytest.mark.parametrize("data", MALFORMED.values(), ids=list(MALFORMED))
def test_malformed_requests_get_400(alone: Running, data: bytes) -> None:
    """400 (an unknown HTTP version 400 or 505), and nothing is done."""
    assert alone.status_of(data) in ((400, 505) if b"HTTP/1.1" not in data else (400,))
    assert alone.ask("GET", "/values/m").status == 404


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET /" + b"a" * 10_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (b"GET /" + b"a" * 1_000_000, 414),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 40_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: a\r\n" * 101 + b"\r\n", 431),
        (b"PUT /values/m HTTP/1.1\r\nHost: x\r\nContent-Length: 1048577\r\n\r\n", 413),
    ],
    ids=["request line", "endless request line", "field", "fields", "body"],
)
def test_limits(alone: Running, data: bytes, status: int) -> None:
    """On header size, header count, request line and body."""
    assert alone.status_of(data) == status


def test_time_to_send_a_request_is_limited(tmp_path: Path) -> None:
    """And the number of connections: what is over it is told so at once."""
    options = (
        "--bind",
        "127.0.0.1:0",
        "--journal",
        "memory:",
        "--request-timeout",
        "2",
        "--max-connections",
        "3",
    )
    with skerry(tmp_path, "run", "livekv:app", *options) as running:
        assert running.raw(b"GET / HTTP/1.1\r\nHos").startswith(b"HTTP/1.1 408 ")
        with contextlib.ExitStack() as stack:
            for _ in range(3):
                stack.enter_context(socket.create_connection(("127.0.0.1", running.port)))
            assert running.raw(b"").startswith(b"HTTP/1.1 503 ")
        code, seconds = running.stop()
        assert code == 0
        assert seconds < 5.0 or not SOAK


GET = b"GET /values/%b HTTP/1.1\r\nHost: x\r\n%b\r\n"
HOSTILE = {
    "tags that divide in many ways": GET % (b"calm", b'If-None-Match: "a"' + b",    " * 6000 + b"x\r\n"),
    "tags": GET % (b"calm", b"If-Match: " + b'"",' * 9000 + b"x\r\n"),
    "cookies": GET % (b"calm", b"Cookie: " + b"a=b;" * 7000 + b"\r\n"),
    "accept": b"GET /events HTTP/1.1\r\nHost: x\r\nAccept: " + b"a/b;q=0.1," * 3000 + b"x\r\n\r\n",
    "many small": GET % (b"none", b"") * 5000,
    "large values never read": GET % (b"large", b"") * 3000,
    "lists of large values never read": b"GET /values?limit=1000 HTTP/1.1\r\nHost: x\r\n\r\n" * 1000,
    "pages": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 200,
    "tiny chunks": b"PUT /values/tiny HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    + b"1\r\nx\r\n" * 100_000,
    "unknown commands": b"GET /commands/%b HTTP/1.1\r\nHost: x\r\n\r\n" % (b"0" * 32) * 500,
    "metrics": b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 100,
}


@pytest.mark.parametrize("attack", HOSTILE.values(), ids=list(HOSTILE))
def test_nothing_a_client_sends_slows_others_without_bound(alone: Running, attack: bytes) -> None:
    """While eight connections send it and take no answers, another client is answered, and memory stays bounded."""
    alone.ask("PUT", "/values/calm", b"1")
    if alone.ask("HEAD", "/values/large").status == 404:
        for key in ("large", *(f"large{n}" for n in range(8))):
            alone.ask("PUT", f"/values/{key}", b"x" * (1 << 20))
    before = memory(alone)
    with contextlib.ExitStack() as stack:
        for _ in range(8):
            sock = stack.enter_context(socket.socket())
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.connect(("127.0.0.1", alone.port))
            sock.settimeout(0.5)
            threading.Thread(target=send, args=(sock, attack)).start()
        slowest = 0.0
        for _ in range(20):
            began = time.monotonic()
            assert alone.ask("GET", "/values/calm").status == 200
            slowest = max(slowest, time.monotonic() - began)
        print(f"the slowest answer took {slowest:.2f} s")
        assert slowest < 2.0 or not SOAK
        assert memory(alone) - before < 150


def send(sock: socket.socket, data: bytes) -> None:
    with contextlib.suppress(OSError):
        sock.sendall(data)


def memory(running: Running) -> int:
    """Resident MiB; 0 where the system does not say."""
    status = Path(f"/proc/{running.process.pid}/status")
    if not status.exists():
        return 0
    [line] = [line for line in status.read_text().splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) // 1024
