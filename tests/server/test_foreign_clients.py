"""Clients of other ecosystems, as they are, against a real server: what they send by default is understood."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from tests.server.conftest import Start

from skerry.http.application import Application
from skerry.http.request import Request

JAVA = """
import java.io.*;
import java.net.URI;
import java.net.http.*;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.time.Duration;

public class Client {
  public static void main(String[] args) throws Exception {
    HttpClient client = HttpClient.newHttpClient();  // its default asks for an upgrade to h2c
    for (String path : new String[] {"/lane/a", "/asgi/a"}) {
      URI uri = URI.create(args[0] + path);
      HttpRequest.Builder with = HttpRequest.newBuilder(uri).timeout(Duration.ofSeconds(30));
      HttpRequest whole = with.copy().PUT(BodyPublishers.ofString("one")).build();
      System.out.println(client.send(whole, BodyHandlers.ofString()).body());
      InputStream two = new ByteArrayInputStream("two".getBytes());
      HttpRequest chunked = with.copy().PUT(BodyPublishers.ofInputStream(() -> two)).build();
      System.out.println(client.send(chunked, BodyHandlers.ofString()).body());
      HttpRequest expecting = with.copy().expectContinue(true).PUT(BodyPublishers.ofString("three")).build();
      System.out.println(client.send(expecting, BodyHandlers.ofString()).body());
      System.out.println(client.send(with.copy().GET().build(), BodyHandlers.ofString()).body());
    }
  }
}
"""
NODE = """
const out = [];
for (const path of ["/lane/a", "/asgi/a"]) {
  const url = process.argv[2] + path;
  out.push(await (await fetch(url, { method: "PUT", body: "one" })).text());
  const two = new ReadableStream({ start(c) { c.enqueue(new TextEncoder().encode("two")); c.close(); } });
  out.push(await (await fetch(url, { method: "PUT", body: two, duplex: "half" })).text());
  out.push(await (await fetch(url)).text());
}
console.log(out.join("\\n"));
process.exit(0);
"""


def kept() -> Application:
    """Keeps a value, on the lane and on the ASGI side."""
    app = Application()
    values = {"lane": "", "asgi": ""}

    @app.put("/lane/{key}")
    def put_lane(request: Request, key: str) -> str:
        values["lane"] = request.text()
        return "put " + values["lane"]

    @app.get("/lane/{key}")
    def get_lane(key: str) -> str:
        return "got " + values["lane"]

    @app.put("/asgi/{key}")
    async def put_asgi(request: Request, key: str) -> str:
        values["asgi"] = request.text()
        return "put " + values["asgi"]

    @app.get("/asgi/{key}")
    async def get_asgi(key: str) -> str:
        return "got " + values["asgi"]

    return app


async def said(*command: str, cwd: Path | None = None) -> list[str]:
    """The lines of a command that has to succeed."""
    process = await asyncio.create_subprocess_exec(
        *command, cwd=cwd, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "JAVA_TOOL_OPTIONS": ""},
    )  # fmt: skip
    try:
        async with asyncio.timeout(120):
            out, error = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, error.decode()
    return out.decode().splitlines()


@pytest.fixture(scope="module")
def java_client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the compiled client is."""
    directory = tmp_path_factory.mktemp("java")
    (directory / "Client.java").write_text(JAVA)
    subprocess.run(["javac", "Client.java"], cwd=directory, check=True, capture_output=True, timeout=120)
    return directory


@pytest.mark.service("javac")
async def test_javas_default_client(start: Start, java_client: Path) -> None:
    """It asks for HTTP/2 with every first request, body and all; it also sends chunks, and Expect."""
    running = await start(kept())
    java = ("java", "-Xshare:auto", "-XX:TieredStopAtLevel=1", "Client")
    lines = await said(*java, f"http://127.0.0.1:{running.port}", cwd=java_client)
    assert lines == ["put one", "put two", "put three", "got three"] * 2


@pytest.mark.service("node")
async def test_nodes_fetch(start: Start, tmp_path: Path) -> None:
    """undici, as Node has it: kept connections, a body in chunks."""
    running = await start(kept())
    (tmp_path / "client.mjs").write_text(NODE)
    lines = await said("node", str(tmp_path / "client.mjs"), f"http://127.0.0.1:{running.port}")
    assert lines == ["put one", "put two", "got two"] * 2


@pytest.mark.service("curl")
@pytest.mark.parametrize("path", ["/lane/a", "/asgi/a"])
async def test_curl(start: Start, tmp_path: Path, path: str) -> None:
    """--http2 in clear text, an upload from a pipe, HTTP/1.0, and a second request on the same connection."""
    running = await start(kept())
    url = f"http://127.0.0.1:{running.port}{path}"
    (tmp_path / "body").write_text("x" * 5_000)
    curl = ("curl", "-sS", "--max-time", "60", "-w", " %{http_code} %{http_version} %{num_connects}\n")
    assert await said(*curl, "--http2", "-X", "PUT", "-d", "one", url) == ["put one 200 1.1 1"]
    assert await said(*curl, "-T", str(tmp_path / "body"), "-H", "Expect: 100-continue", url) == [
        "put " + "x" * 5_000 + " 200 1.1 1"
    ]
    assert await said(*curl, "-T", str(tmp_path / "body"), "-H", "Transfer-Encoding: chunked", url) == [
        "put " + "x" * 5_000 + " 200 1.1 1"
    ]
    assert await said(*curl, "-0", "-X", "PUT", "-d", "old", url) == ["put old 200 1.1 1"]
    assert await said(*curl, url, url) == ["got old 200 1.1 1", "got old 200 1.1 0"]


async def test_a_coded_body_is_refused(start: Start) -> None:
    """What a view would get are other bytes than those that were meant; a mounted application decides for itself."""
    app = kept()

    async def mounted(scope, receive, send):  # type: ignore[no-untyped-def]
        body = (await receive())["body"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"%d bytes" % len(body)})

    app.mount("/mounted", mounted)
    running = await start(app)

    def put(path: str, coding: str) -> bytes:
        fields = f"Host: x\r\nContent-Length: 3\r\nContent-Encoding: {coding}\r\nConnection: close\r\n"
        return f"PUT {path} HTTP/1.1\r\n{fields}\r\nabc".encode()

    for path in ("/lane/a", "/asgi/a"):
        refused = await running.ask(put(path, "gzip"))
        assert refused.startswith(b"HTTP/1.1 415 ")
        assert b"\r\naccept-encoding: identity\r\n" in refused.lower()
        assert (await running.ask(put(path, "identity"))).startswith(b"HTTP/1.1 200 ")
    assert b"3 bytes" in await running.ask(put("/mounted", "gzip"))
    early = put("/lane/a", "br").replace(b"Connection", b"Expect: 100-continue\r\nConnection")
    assert (await running.ask(early.removesuffix(b"abc"))).startswith(b"HTTP/1.1 415 ")


async def test_clients_write_no_log(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    """Malformed requests and handshakes, also with frames before their answer, are answered, and not logged."""
    running = await start(kept())
    shake = b"GET /none HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    put = b"PUT /lane/%0a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nConnection: close\r\n\r\n"
    key = b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x\r\n\r\n"
    odd = (b"\0\1\2\r\n\r\n", b"GET / HTTP/9.9\r\nHost: x\r\n\r\n", b"PROXY TCP4 1 2 3 4\r\n")
    for data in (*odd, shake + b"\r\n", shake + key + b"\x89\x00\xff\xff", put + b"\xff"):
        assert re.match(rb"HTTP/1.1 [45]", await running.ask(data)), data
    assert not caplog.records, [json.dumps(record.getMessage()) for record in caplog.records]
