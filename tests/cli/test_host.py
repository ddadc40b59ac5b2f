"""`skerry host` as a user starts it: applications of Django, Flask and others as they are, in real processes."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from pathlib import Path

import pytest

from skerry.testing.program import HttpConnection, Program, call

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and unix sockets")
BIND = ("--bind", "127.0.0.1:0", "--hosts", "1")

DJANGO = """
import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path

settings.configure(
    ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="of a test", USE_TZ=True,
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
    LOGGING={"version": 1, "disable_existing_loggers": True, "handlers": {"own": {"class": "logging.NullHandler"}},
             "root": {"handlers": ["own"]}},
)

def hello(request, name):
    return HttpResponse(f"hello {name} from {request.get_host()}")

def fails(request):
    raise LookupError("as it should")

urlpatterns = [path("hello/<str:name>", hello), path("fails", fails)]
application = get_wsgi_application()
"""

FLASK = """
from flask import Flask, request

def create_app():
    app = Flask("shop")

    @app.post("/length")
    def length():
        return {"length": len(request.get_data()), "form": request.form.get("a", "")}

    return app
"""

ASGI = """
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        scope["state"]["started"] = b"yes"
        await send({"type": "lifespan.startup.complete"})
        await receive()
        print("lifespan over", flush=True)
        await send({"type": "lifespan.shutdown.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"3")]})
    await send({"type": "http.response.body", "body": scope["state"]["started"]})
"""


async def test_django_moves_in(tmp_path: Path) -> None:
    """A WSGI application of Django, named by its module alone: no journal, no file of ours, own pages under one
    prefix, and our logs although its settings disable those that exist. Ctrl-C ends it with exit code 0."""
    (tmp_path / "mysite.py").write_text(DJANGO)
    async with Program(tmp_path, "host", "mysite", "--access-log", *BIND) as program:
        client = HttpConnection(await program.listening())
        answer = await client.ask("GET", "/hello/caf%C3%A9")
        assert answer.status == 200
        assert answer.body.decode() == "hello café from localhost"
        assert (await client.ask("GET", "/health/ready")).status == 404
        assert (await client.ask("GET", "/-/skerry/health/live")).status == 200
        assert (await client.ask("GET", "/-/skerry/health/ready")).status == 200
        metrics = await client.ask("GET", "/-/skerry/metrics")
        assert b"skerry_host_threads{" in metrics.body
        assert (await client.ask("GET", "/fails")).status == 500
        await program.until(lambda: "GET /hello/caf%C3%A9 200" in program.text)
        assert await program.stop(signal.SIGINT) == 0
    assert sorted(os.listdir(tmp_path)) in (["__pycache__", "mysite.py"], ["mysite.py"])


async def test_flask_is_made_by_its_factory(tmp_path: Path) -> None:
    """`shop:create_app()`, a form, and SIGTERM."""
    (tmp_path / "shop.py").write_text(FLASK)
    async with Program(tmp_path, "host", "shop:create_app()", *BIND) as program:
        client = HttpConnection(await program.listening())
        answer = await client.ask("POST", "/length", b"x" * 300_000)
        assert answer.body == b'{"form":"","length":300000}\n'
        answer = await client.ask("POST", "/length", b"a=1", Content_Type="application/x-www-form-urlencoded")
        assert b'"form":"1"' in answer.body
        assert (await client.ask("GET", "/length")).status == 405
        assert await program.stop(signal.SIGTERM) == 0


async def test_an_asgi_application_is_known_as_one(tmp_path: Path) -> None:
    """With its lifespan and state."""
    (tmp_path / "api.py").write_text(ASGI)
    async with Program(tmp_path, "host", "api", *BIND) as program:
        client = HttpConnection(await program.listening())
        assert (await client.ask("GET", "/")).body == b"yes"
        assert await program.stop() == 0
        assert "lifespan over" in program.lines


async def test_reload_replaces_one_process(tmp_path: Path) -> None:
    """With --reload there is one process unless the user says otherwise, so that a page is not new and old in turns."""
    (tmp_path / "api.py").write_text(ASGI)
    async with Program(tmp_path, "host", "api", "--reload", "--bind", "127.0.0.1:0") as program:
        await program.until(lambda: "(2 processes)" in program.text)  # it, and the balancer
        client = HttpConnection(int(program.text.partition("ready on http://127.0.0.1:")[2].split()[0]))
        assert (await client.ask("GET", "/")).body == b"yes"
        (tmp_path / "api.py").write_text(ASGI.replace('b"yes"', 'b"new"'))
        await program.until(lambda: "every process was replaced" in program.text)
        assert (await client.ask("GET", "/")).body == b"new"
        assert await program.stop() == 0


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("nowhere:app", "TARGET: there is no module 'nowhere' here"),
        ("shop:create_app", "if it makes an application, write shop:create_app()"),
        ("shop", "module 'shop' has neither 'application' nor 'app'"),
    ],
)
async def test_a_wrong_target_is_told_in_one_line(tmp_path: Path, target: str, said: str) -> None:
    """Exit code 2, the cause and the cure."""
    (tmp_path / "shop.py").write_text(FLASK)
    done = await call(tmp_path, "host", target, *BIND)
    assert done.code == 2
    assert said in done.error
    assert len(done.error.splitlines()) == 1


STUCK = """
import os, threading

def application(environ, start_response):
    if environ["PATH_INFO"] == "/pid":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [str(os.getpid()).encode()]
    start_response("404 Not Found", [])
    return []
"""


async def test_several_processes_are_supervised(tmp_path: Path) -> None:
    """One that is killed costs its own connections only and comes back; files beside the application; Ctrl-C."""
    (tmp_path / "site_of_several.py").write_text(STUCK)
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a.css").write_text("css")
    arguments = ("--hosts", "2", "--static", "/static=files", "--bind", "127.0.0.1:0")
    async with Program(tmp_path, "host", "site_of_several", *arguments) as program:
        await program.until(lambda: "ready on http" in program.text)
        [port] = {int(found) for found in re.findall(r"ready on http://127\.0\.0\.1:(\d+)", program.text)}

        async def ask(path: str) -> bytes:
            client = HttpConnection(port)
            try:
                return (await client.ask("GET", path)).body
            except ConnectionError:  # it was with the one that was killed
                return b"0"
            finally:
                client.close()

        assert await ask("/static/a.css") == b"css"
        killed = int(await ask("/pid"))
        os.kill(killed, signal.SIGKILL)
        async with asyncio.timeout(60):
            while len({int(await ask("/pid")) for _ in range(8)} - {0, killed}) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.05)  # the others answer; there is no event of its return
        assert await program.stop(signal.SIGINT) == 0


async def test_a_missing_directory_is_told(tmp_path: Path) -> None:
    """Exit code 2."""
    (tmp_path / "site_of_several.py").write_text(STUCK)
    done = await call(tmp_path, "host", "site_of_several", "--static", "/static=nowhere", *BIND)
    assert (done.code, "there is no directory 'nowhere' here" in done.error) == (2, True)
