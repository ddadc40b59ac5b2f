"""Applications of Django and Flask that misbehave: what one request leaves behind, the next does not find."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from skerry.testing.program import HttpConnection, Program

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and unix sockets")

DJANGO = """
import logging, os, sys, tempfile, threading
from django.conf import settings
from django.core.signals import request_finished
from django.core.wsgi import get_wsgi_application
from django.db import connection, transaction
from django.http import FileResponse, HttpResponse, JsonResponse
from django.urls import include, path
from django.utils import translation

settings.configure(
    ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="of a test", DEBUG=False, FILE_UPLOAD_MAX_MEMORY_SIZE=10,
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "shop.db",
                           "CONN_MAX_AGE": int(os.environ.get("AGE", "600"))}},
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"], LANGUAGES=[("en", "en"), ("de", "de")],
)
finished, uploads = [], []
request_finished.connect(lambda **_: finished.append(threading.current_thread().name), weak=False)

def begin(request):
    transaction.atomic().__enter__()
    connection.cursor().execute("insert into orders values ('lost')")
    return HttpResponse("begun")

def off(request):
    transaction.set_autocommit(False)
    connection.cursor().execute("insert into orders values ('lost too')")
    return HttpResponse("off")

def language(request):
    found = translation.get_language()
    translation.activate("de")
    return HttpResponse(found)

def state(request):
    was_open = connection.connection is not None
    cursor = connection.cursor()
    cursor.execute("select count(*) from orders")
    return JsonResponse({
        "atomic": connection.in_atomic_block, "autocommit": connection.autocommit, "orders": cursor.fetchone()[0],
        "was_open": was_open, "finished": len(finished), "threads": len(set(finished)),
        "open": [file.closed for file in uploads].count(False),
    })

def order(request, number):
    with transaction.atomic():
        connection.cursor().execute("insert into orders values ('kept')")
    return HttpResponse("kept")

def upload(request):
    found = request.FILES["file"]
    uploads.append(found.file)
    return HttpResponse(str(found.size))

def file(request):
    return FileResponse(open(__file__, "rb"))

urlpatterns = [
    path("begin", begin), path("off", off), path("state", state), path("language", language),
    path("shop/", include([path("orders/<int:number>", order)])), path("upload", upload), path("file", file),
]
application = get_wsgi_application()
connection.cursor().execute("create table if not exists orders (name text)")
connection.close()
"""

FLASK = """
import tempfile
from flask import Flask, current_app, g, has_request_context, request

app = Flask("shop")
torn = []
seen = []

@app.teardown_appcontext
def teardown(error):
    torn.append(1)

@app.get("/push/<name>")
def push(name):
    app.app_context().push()
    g.name = name
    return "pushed"

@app.get("/state")
def state():
    return {"torn": len(torn), "name": g.get("name")}

@app.post("/upload")
def upload():
    found = request.files["file"]
    found.save(tempfile.TemporaryFile())
    seen.append(found.stream)
    return {"closed": [each.closed for each in seen[:-1]]}
"""
UPLOAD = (
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
    + b"x" * 600_000
    + b"\r\n--b--\r\n"
)
FORM = {"Content_Type": "multipart/form-data; boundary=b"}


@pytest.fixture
async def django(tmp_path: Path) -> AsyncIterator[Program]:
    (tmp_path / "shop.py").write_text(DJANGO)
    arguments = ("host", "shop", "--bind", "127.0.0.1:0", "--threads", "1", "--hosts", "1")
    async with Program(tmp_path, *arguments) as program:
        yield program


async def test_django_finds_no_transaction_of_another_request(django: Program) -> None:
    """One that was begun and not ended is rolled back, the view named; connections are kept for their age all the
    same, signals sent once and in the thread, uploaded files closed, the language is the default again."""
    client = HttpConnection(await django.listening())

    async def state() -> dict[str, int]:
        found: dict[str, int] = json.loads((await client.ask("GET", "/state")).body)
        return found

    assert (await client.ask("GET", "/shop/orders/7")).body == b"kept"
    assert {**await state(), "finished": 1} == {
        "atomic": False, "autocommit": True, "orders": 1, "was_open": True, "finished": 1, "threads": 1, "open": 0,
    }  # fmt: skip
    for path in ("/begin", "/off"):
        assert (await client.ask("GET", path)).status == 200
        found = await state()
        assert (found["atomic"], found["autocommit"], found["orders"]) == (False, True, 1), path
    assert "view shop.begin has left a transaction open on connection 'default' (GET /begin)" in django.text
    assert "rollback failed" not in django.text
    assert [(await client.ask("GET", "/language")).body for _ in range(2)] == [b"en-us", b"en-us"]
    assert (await client.ask("POST", "/upload", UPLOAD, **FORM)).body == b"600000"
    assert (await client.ask("GET", "/file")).body == DJANGO.encode()
    found = await state()
    assert (found["open"], found["threads"]) == (0, 1)
    assert found["finished"] == 10
    metrics = (await client.ask("GET", "/-/skerry/metrics")).body.decode()
    assert re.search(
        r'answers_total\{host="shop",route="/shop/orders/<int:number>",status="200"\} 1', metrics
    )
    assert re.search(r'answers_total\{host="shop",route="/file",status="200"\} 1', metrics)
    assert await django.stop() == 0


async def test_flask_finds_no_context_of_another_request(tmp_path: Path) -> None:
    """One that was pushed and not popped is popped, with its teardown."""
    (tmp_path / "shop.py").write_text(FLASK)
    arguments = ("host", "shop:app", "--bind", "127.0.0.1:0", "--threads", "1", "--hosts", "1")
    async with Program(tmp_path, *arguments) as program:
        client = HttpConnection(await program.listening())
        assert (await client.ask("GET", "/push/a")).status in (200, 500)
        found = json.loads((await client.ask("GET", "/state")).body)
        assert found["name"] is None
        for number in range(3):
            answer = await client.ask("POST", "/upload", UPLOAD, **FORM)
            assert json.loads(answer.body) == {"closed": [True] * number}
        metrics = (await client.ask("GET", "/-/skerry/metrics")).body.decode()
        assert 'route="/push/<name>"' in metrics
        assert await program.stop() == 0
