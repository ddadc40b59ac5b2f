"""A cache in front, a real nginx with `proxy_cache`: nobody gets what another one's token opened, and whoever asks for
a position gets it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from tests.roles.oneprocess import one_process

from livekv import app
from skerry.roles.server import ServerRole
from skerry.testing.program import HttpAnswer, HttpConnection
from skerry.testing.reverse_proxies import private_nginx

pytestmark = pytest.mark.service("nginx")

CACHE = """
  proxy_cache_path DIRECTORY/cache keys_zone=kv:1m;
  server {
    listen 127.0.0.1:PORT;
    location / {
      proxy_pass http://127.0.0.1:%d; proxy_set_header Host $http_host; proxy_http_version 1.1;
      proxy_cache kv; proxy_cache_valid 200 303 404 30s; add_header X-Cache $upstream_cache_status always;
      %s
    }
  }
"""
STUBBORN = "proxy_ignore_headers Cache-Control Expires;"
"""A cache whose operator has switched Cache-Control off; it still obeys Vary."""


@dataclass
class Site:
    """A server behind a cache."""

    cached: int

    async def ask(self, method: str, path: str, body: bytes = b"", **fields: str) -> HttpAnswer:
        """Through the cache."""
        connection = HttpConnection(self.cached)
        try:
            return await connection.ask(method, path, body, **fields)
        finally:
            connection.close()


@asynccontextmanager
async def site(more: str = "", **settings: Any) -> AsyncIterator[Site]:
    async with one_process(app, **settings) as process:
        await process.serve(ServerRole)
        nginx = private_nginx(CACHE % (process.port, more))
        started = await asyncio.to_thread(nginx.__enter__)
        try:
            yield Site(started.port)
        finally:
            await asyncio.to_thread(nginx.__exit__, None, None, None)


@pytest.mark.parametrize("more", ["", STUBBORN], ids=["obedient", "stubborn"])
async def test_nobody_gets_what_anothers_token_opened(more: str) -> None:
    """Asked with a token, then without: 401, and the cache kept nothing for everybody. Values, lists and the page."""
    async with site(more, tokens="read:r,write:w") as here:
        await here.ask("PUT", "/values/s", b"secret", Authorization="Bearer w")
        for path in ("/values/s", "/values", "/openapi.json", "/values/none"):
            for _ in range(2):
                known = await here.ask("GET", path, Authorization="Bearer r")
                assert known.status == (404 if path == "/values/none" else 200)
            unknown = await here.ask("GET", path)
            assert (unknown.status, b"secret" in unknown.body) == (401, False)
            assert (await here.ask("GET", path, Cookie="skerry_session=x")).status == 401
            assert (await here.ask("GET", path, Authorization="Bearer r")).status == known.status


@pytest.mark.parametrize("more", ["", STUBBORN], ids=["obedient", "stubborn"])
async def test_a_read_of_a_position_is_not_answered_from_before_it(more: str) -> None:
    """Read your own write through a cache that has an older answer, even one that ignores Cache-Control; an obedient
    one never tells anything old."""
    async with site(more) as here:
        for path in ("/values/k", "/values"):
            await here.ask("PUT", "/values/k", b"one")
            for _ in range(2):
                first = await here.ask("GET", path)
                assert b"one" in first.body
            written = await here.ask("PUT", "/values/k", b"two")
            after = await here.ask("GET", path, Skerry_Position=written.headers["Skerry-Position"])
            assert b"two" in after.body
            plain = await here.ask("GET", path)
            if more:
                assert (plain.headers["X-Cache"], b"one" in plain.body) == ("HIT", True), (
                    "the cache does keep things"
                )
            else:
                assert b"two" in plain.body
        gone = await here.ask("GET", "/values/new")
        assert gone.status == 404
        written = await here.ask("PUT", "/values/new", b"there")
        found = await here.ask("GET", "/values/new", Skerry_Position=written.headers["Skerry-Position"])
        assert found.status == 200


async def test_a_value_is_revalidated_by_its_tag() -> None:
    """What is there already is 304, through the cache as without it (nginx takes the condition out unless told)."""
    async with site("proxy_set_header If-None-Match $http_if_none_match;") as here:
        await here.ask("PUT", "/values/k", b"one")
        first = await here.ask("GET", "/values/k")
        again = await here.ask("GET", "/values/k", If_None_Match=first.headers["ETag"])
        assert (again.status, again.headers["Cache-Control"]) == (304, "no-cache")
        assert "Skerry-Position" in again.headers["Vary"]
