"""Files of an answer: sent by the system or read by us, whole, in their place in the order, and closed."""

from __future__ import annotations

import asyncio
import os
import ssl
import subprocess
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import FileResponse

from skerry.http.application import Application

Start = Callable[..., Awaitable[Any]]
DATA = os.urandom(1000) * 3_000


def application(path: Path, headers: Sequence[tuple[bytes, bytes]] = ()) -> Application:
    """Names its file by the extension `http.response.pathsend`."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise RuntimeError("no lifespan")
        assert "http.response.pathsend" in scope["extensions"]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.pathsend", "path": str(path)})

    found = Application()
    found.mount("/file", app)
    found.mount("/starlette", FileResponse(path))
    return found


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(DATA)
    return path


def open_on(path: Path) -> int:
    """How often this process has it open."""
    found = 0
    for number in os.listdir("/proc/self/fd"):
        try:
            found += os.readlink(f"/proc/self/fd/{number}") == str(path)
        except OSError:
            continue
    return found


async def test_a_file_is_the_rest_of_an_answer(start: Start, file: Path) -> None:
    """With a length as it is, without one as a chunk; what is asked behind it is answered behind it."""
    length = (b"content-length", b"%d" % len(DATA))
    for headers in ((), (length,)):
        running = await start(application(file, headers))
        reader, writer = await running.connect()
        for method in (b"GET", b"HEAD", b"GET"):
            writer.write(method + b" /file HTTP/1.1\r\nHost: a\r\n\r\n")
        for body in (True, False, True):
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            assert head.startswith(b"http/1.1 200")
            if not body:
                continue
            if headers:
                assert b"chunked" not in head
                assert await reader.readexactly(len(DATA)) == DATA
            else:
                assert int(await reader.readline(), 16) == len(DATA)
                assert await reader.readexactly(len(DATA)) == DATA
                assert await reader.readexactly(7) == b"\r\n0\r\n\r\n"
        writer.close()
        await running.until(lambda: open_on(file) == 0)


async def test_starlette_names_its_files(start: Start, file: Path) -> None:
    """Its FileResponse, and with it the static files of an application, takes that way by itself."""
    running = await start(application(file))
    reader, writer = await running.connect()
    writer.write(b"GET /starlette HTTP/1.1\r\nHost: a\r\n\r\n")
    assert b"content-length: %d" % len(DATA) in (await reader.readuntil(b"\r\n\r\n")).lower()
    assert await reader.readexactly(len(DATA)) == DATA
    writer.close()


async def test_a_file_of_another_length_breaks_the_answer_off(start: Start, file: Path) -> None:
    """Before anything of it was sent."""
    running = await start(application(file, [(b"content-length", b"5")]))
    found = await running.ask(b"GET /file HTTP/1.1\r\nHost: a\r\n\r\n")
    assert found.endswith((b"\r\n\r\n<end>", b"\r\n\r\n<reset>"))
    assert open_on(file) == 0


async def test_a_client_that_leaves_closes_the_file(start: Start, tmp_path: Path) -> None:
    """In the middle of it, whether it reads or not; the application hears of it."""
    path = tmp_path / "large"
    with path.open("wb") as large:
        large.truncate(200_000_000)
    running = await start(application(path))
    for _ in range(2):
        reader, writer = await running.connect()
        writer.write(b"GET /file HTTP/1.1\r\nHost: a\r\n\r\n")
        await reader.readexactly(1000)
        assert open_on(path) == 1
        writer.transport.abort()
        await running.until(lambda: open_on(path) == 0)
    await running.until(lambda: not running.server.state.tasks)


async def test_a_client_that_takes_nothing_of_it_is_cut(start: Start, tmp_path: Path) -> None:
    """As with any other answer."""
    path = tmp_path / "large"
    with path.open("wb") as large:
        large.truncate(200_000_000)
    running = await start(application(path), stall_seconds=0.2)
    reader, writer = await running.connect()
    writer.transport.pause_reading()
    writer.write(b"GET /file HTTP/1.1\r\nHost: a\r\n\r\n")
    await running.until(lambda: open_on(path) == 1)
    await running.until(lambda: open_on(path) == 0)
    assert not running.server.state.connections
    writer.close()
    del reader


@pytest.mark.service("openssl")
async def test_over_tls_it_is_read(start: Start, file: Path, tmp_path: Path) -> None:
    """The system cannot encrypt it; the answer is the same."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    made = f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout {key} -out {cert}"
    subprocess.run(made.split(), check=True, capture_output=True)  # noqa: ASYNC221  # before the server runs
    running = await start(application(file), tls_cert=cert, tls_key=key)
    context = ssl.create_default_context(cafile=str(cert))
    context.check_hostname = False
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port, ssl=context)
    for _ in range(2):
        writer.write(b"GET /file HTTP/1.1\r\nHost: a\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        await reader.readline()
        assert await reader.readexactly(len(DATA)) == DATA
        assert await reader.readexactly(7) == b"\r\n0\r\n\r\n"
    writer.close()


async def test_foreign_applications_get_fields_that_cannot_be_mistaken(start: Start) -> None:
    """Names with an underscore are left out for what is mounted, cookies are one line."""
    seen: list[tuple[bytes, bytes]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.extend(scope.get("headers", ()))
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    found = Application()
    found.mount("/m", app)
    running = await start(found)
    await running.ask(
        b"GET /m HTTP/1.1\r\nHost: a\r\nX_Real_IP: evil\r\nCookie: a=1\r\nX-Real-IP: good\r\nCookie: b=2\r\n"
        b"Connection: close\r\n\r\n"
    )
    expected = [(b"cookie", b"a=1; b=2"), (b"x-real-ip", b"good"), (b"connection", b"close")]
    assert seen == [(b"host", b"a"), *expected]
