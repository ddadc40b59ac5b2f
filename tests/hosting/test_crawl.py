"""Django's admin and Flask-Admin, asked by a crawler: under `skerry host` and under gunicorn every answer is alike. The
long form, with Wagtail, Datasette and sqladmin, is in `make compliance`."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
from compliance.crawl import crawl
from compliance.sites.run import SITES, visit

pytestmark = pytest.mark.timeout(600)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("django-admin", ["POST /admin/login/?next=/admin/ 302", "GET /admin/shelf/book/ 200"]),
        (
            "flask-admin",
            ["POST /admin/author/new/?url=/admin/author/?page_size%3D20 302", "GET /admin/book/ 200"],
        ),
    ],
)
def test_every_answer_is_alike(name: str, expected: list[str], tmp_path: Path) -> None:
    """Login, lists, searches, forms that are sent, static files, redirects: status, fields and bodies."""
    visited: list[str] = []
    outcome = visit(SITES[name], tmp_path, most=35, visited=visited)
    assert outcome.failed == []
    assert set(expected) <= set(visited)


@contextmanager
def served(application: Any) -> Iterator[int]:
    class Quiet(WSGIRequestHandler):
        def log_message(self, *_: Any) -> None: ...

    with make_server("127.0.0.1", 0, application, handler_class=Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def site(**changed: Any) -> Any:
    """A page with a link and a form."""

    def application(environ: dict[str, Any], start: Any) -> list[bytes]:
        if environ["REQUEST_METHOD"] == "POST":
            length = int(environ["CONTENT_LENGTH"])
            start(
                changed.get("status", "302 Found"),
                [("Location", "/"), ("Set-Cookie", changed.get("cookie", "a=1"))],
            )
            return [environ["wsgi.input"].read(length) if "echo" in changed else b""]
        start("200 OK", [("Content-Type", "text/html"), *changed.get("fields", ())])
        link = f"<a href=/{changed.get('link', 'x')}>" if environ["PATH_INFO"] == "/" else ""
        return [f"{link}<form method=post action=/to><input name=n></form>".encode()]

    return application


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, ""),
        ({"status": "200 OK"}, "POST /to: status"),
        ({"cookie": "a=2"}, ""),
        ({"cookie": "a=1; Secure"}, "POST /to: fields"),
        ({"fields": [("X-More", "1")]}, "GET /: fields"),
        ({"link": "y"}, "GET /: body"),
        ({"echo": True}, "POST /to: body"),
    ],
)
def test_the_crawler_notices(changed: dict[str, Any], said: str) -> None:
    """What differs is told, what differs by itself (a secret in a cookie) is not."""
    with served(site(**changed)) as ours, served(site()) as theirs:
        outcome = crawl(ours, theirs, "/", {})
    assert outcome.total >= 3
    assert bool(outcome.failed) == bool(said)
    assert any(each.startswith(said) for each in [*outcome.failed, ""])
