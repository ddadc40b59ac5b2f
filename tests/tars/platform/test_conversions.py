"""What becomes of requests and answers of Django, Flask and FastAPI under the node: nothing but what HTTP says."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import random
import sys
from collections.abc import AsyncIterator
from http.cookies import SimpleCookie
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from skerry.testing.tars.node import FakeNode, configuration_for

HERE = Path(__file__).parent
OBJECTS = ("DjangoObj", "FlaskObj", "FastObj")
DATA = random.Random(1).randbytes(3_000_000)
BIG = random.Random(2).randbytes(5_000_000)
DIGEST = hashlib.sha256(DATA).hexdigest()

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Sites:
    """The service under its node: `client(name)` is an HTTP client of one of its objects."""

    def __init__(self, node: FakeNode) -> None:
        self.node = node
        self.bases = {
            each.object_name: f"http://127.0.0.1:{each.endpoint.port}" for each in node.configuration.adapters
        }

    def client(self, name: str) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.bases[name], timeout=60, trust_env=False)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sites(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sites]:
    folder = tmp_path_factory.mktemp("converted")
    big = folder / "big.bin"
    big.write_bytes(BIG)
    environment = {"PYTHONPATH": str(HERE), "CONVERTED_BIG": str(big), "CONVERTED_DB": str(folder / "db")}
    configuration = configuration_for(
        "PyServer", [], web=OBJECTS, environment=environment, deactivating_seconds=20.0
    )
    threads = tuple(dataclasses.replace(each, threads=2) for each in configuration.adapters)
    command = [sys.executable, "-m", "skerry", "tars", "run", "converted:service", "--workers", "1"]
    async with FakeNode(folder, configuration.changed(adapters=threads), command) as node:
        await node.start()
        await node.until_active()
        yield Sites(node)


@pytest.mark.parametrize("name", OBJECTS)
async def test_forms_of_every_method(sites: Sites, name: str) -> None:
    """POST, PUT, PATCH and DELETE: fields more than once, any text, nothing lost."""
    async with sites.client(name) as client:
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            answer = await client.request(method, "/form", data={"a": ["1", "2"], "b": "Grüße & =;"})
            assert answer.json() == {
                "method": method, "fields": {"a": ["1", "2"], "b": ["Grüße & =;"]}, "files": {},
                "tags": "" if name == "FastObj" else None,
            }  # fmt: skip


@pytest.mark.parametrize("name", OBJECTS)
async def test_a_method_that_a_header_asks_for(sites: Sites, name: str) -> None:
    """A middleware of the application may override it: nobody has read the request before."""
    async with sites.client(name) as client:
        answer = await client.post("/form", data={"a": "1"}, headers={"X-HTTP-Method-Override": "PATCH"})
        assert (answer.json()["method"], answer.json()["fields"]) == ("PATCH", {"a": ["1"]})


@pytest.mark.parametrize("name", OBJECTS)
@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_uploads(sites: Sites, name: str, method: str) -> None:
    """A file beside fields, beyond what frameworks keep in memory, whole; sent in chunks or with its length."""

    async def chunks(body: bytes) -> AsyncIterator[bytes]:
        for at in range(0, len(body), 100_000):
            yield body[at : at + 100_000]

    async with sites.client(name) as client:
        made = client.build_request(
            method, "/form", data={"a": "1"}, files={"file": ("Bild 1.png", DATA, "image/png")}
        )
        body = b"".join([part async for part in made.stream])  # type: ignore[union-attr]
        for content in (body, chunks(body)):
            answer = await client.request(
                method, "/form", content=content, headers={"Content-Type": made.headers["content-type"]}
            )
            assert answer.json()["files"] == {"file": ["Bild 1.png", len(DATA), DIGEST]}
            assert answer.json()["fields"] == {"a": ["1"]}


@pytest.mark.parametrize("name", OBJECTS)
async def test_cookies_and_fields(sites: Sites, name: str) -> None:
    """Each cookie is a field of its own with all its attributes; fields that are there twice arrive twice, in order; a
    request's repeated field is one list; the reason of a status is the application's."""
    async with sites.client(name) as client:
        answer = await client.get("/answer")
        assert answer.status_code == 201
        assert answer.extensions["reason_phrase"] == (b"Created" if name == "FastObj" else b"Made Just So")
        lines = answer.headers.get_list("set-cookie")
        assert [line.partition("=")[0] for line in lines] == ["a", "b", "gone"]
        cookie = SimpleCookie(lines[0])["a"]
        assert cookie.value == "1 2;3"
        assert (cookie["max-age"], cookie["path"], cookie["domain"]) == ("60", "/shop", "shop.example")
        assert (cookie["secure"], cookie["httponly"], cookie["samesite"].lower()) == (True, True, "lax")
        if name != "DjangoObj":  # has no field twice, but cookies
            assert answer.headers.get_list("link") == ["</a>; rel=next", "</b>; rel=prev"]
        fields = [("X-Tag", "1"), ("X-Tag", "2"), ("Content-Type", "application/x-www-form-urlencoded")]
        assert (await client.post("/form", headers=fields)).json()["tags"] in ("1,2", "1, 2")


@pytest.mark.parametrize("name", OBJECTS)
async def test_streams_are_streamed(sites: Sites, name: str) -> None:
    """The first part is here while the second has not been made."""
    assert "begun" in await sites.node.send_command("begin")
    async with sites.client(name) as client, client.stream("GET", "/stream") as answer:
        parts = answer.aiter_bytes()
        assert await anext(parts) == b"begun"
        assert (await client.get("/go")).status_code == 200
        assert b"".join([part async for part in parts]) == b", ended"


@pytest.mark.parametrize("name", OBJECTS)
async def test_files_are_streamed(sites: Sites, name: str) -> None:
    """Whole, with their length; a part of it where the framework knows ranges; nothing of it for HEAD."""
    async with sites.client(name) as client:
        answer = await client.get("/file")
        assert (answer.content == BIG, answer.headers["content-length"]) == (True, str(len(BIG)))
        if name != "DjangoObj":
            part = await client.get("/file", headers={"Range": "bytes=10-19"})
            assert (part.status_code, part.content) == (206, BIG[10:20])
        if name != "FastObj":  # which declares no HEAD for a GET
            head = await client.head("/file")
            assert (head.content, head.headers["content-length"]) == (b"", str(len(BIG)))


async def test_nothing_of_a_request_is_in_the_next(sites: Sites) -> None:
    """Sessions, globals, context variables, transactions and caches: the same threads serve everybody."""
    async with sites.client("DjangoObj") as client:
        seen = []
        for _ in range(6):
            client.cookies.clear()
            seen.append((await client.get("/leave?transaction")).json())
        async with asyncio.timeout(60):  # one may still be closing when the next request is here
            while (await client.get("/leave")).json()["closed"] < len(seen):
                pass
    assert all((each["variable"], each["session"], each["open"]) == ("nothing", None, False) for each in seen)
    assert [each["opened"] for each in seen] == list(range(6))  # no connection is kept
    async with sites.client("FlaskObj") as client:
        for _ in range(6):
            client.cookies.clear()
            assert (await client.get("/leave?context")).json() == {
                "variable": "nothing",
                "g": None,
                "session": None,
            }
    async with sites.client("FastObj") as client:
        for _ in range(6):
            assert (await client.get("/leave")).json() == {"variable": "nothing", "state": None}
    log = sites.node.log
    assert "has left a transaction open" in log
    assert "has left a context of Flask" in log


@pytest.mark.parametrize("name", OBJECTS)
async def test_memory_is_flat(sites: Sites, name: str) -> None:
    """After the first requests, none leaves an object behind."""

    async def objects_after(requests: int) -> int:
        async with sites.client(name) as client:
            for _ in range(requests):
                client.cookies.clear()
                await client.get("/leave")
        said = await sites.node.send_command("tars.gc")
        return int(said.partition(" ms, ")[2].partition(" ")[0])

    before = await objects_after(30)
    grown = await objects_after(100) - before
    assert grown < 50, f"{grown} objects more after 100 requests"
