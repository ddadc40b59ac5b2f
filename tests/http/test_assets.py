"""A page's own files: from memory, with their hash, for everybody; a page that runs nothing but them."""

from __future__ import annotations

import pytest

from skerry.errors import DeclarationError
from skerry.http.application import Application
from skerry.http.assets import page_headers, serve_assets, serve_skerry_js
from skerry.http.headers import Headers
from skerry.http.lane import Answer
from skerry.http.reply import Response
from skerry.http.request import Request


def ask(application: Application, path: str, *fields: tuple[bytes, bytes]) -> Answer:
    application.compile()
    request = Request("GET", path.encode(), Headers(fields))
    found = application.table.find("GET", path.encode())
    return application.lane.answer(found.route, request, found.raw)  # type: ignore[union-attr]


def test_skerry_js_is_served_with_its_hash() -> None:
    """The module and its types are there; asked again with the hash it is 304."""
    application = Application()
    assert serve_skerry_js(application) == [
        f"/_skerry/{name}" for name in ("rows.d.ts", "rows.js", "skerry.d.ts", "skerry.js")
    ]
    first = ask(application, "/_skerry/skerry.js")
    assert isinstance(first, Response)
    assert b"export function connect" in first.body
    headers = dict(first.headers())
    assert headers["Content-Type"].startswith("text/javascript")
    assert headers["Cache-Control"] == "no-cache"
    again = ask(application, "/_skerry/skerry.js", (b"if-none-match", headers["ETag"].encode()))
    assert isinstance(again, Response)
    assert again.status == 304


def test_what_cannot_be_served_is_found_at_start() -> None:
    """A directory that is not there is a declaration error."""
    with pytest.raises(DeclarationError, match="no directory nowhere"):
        serve_assets(Application(), "/static", "skerry.http", "nowhere")


def test_the_policy_allows_own_scripts_only() -> None:
    """Nothing inline, nothing foreign; a gateway's address may be added to what scripts talk to."""
    policy = page_headers(["ws://localhost:9001"])["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy
    assert "connect-src 'self' ws://localhost:9001;" in policy
