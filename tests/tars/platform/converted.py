"""Django, Flask and FastAPI with the same routes, to see what becomes of requests and answers on the way through Tars.

/form       POST, PUT, PATCH, DELETE    what the framework reads of a form: fields, files, the method as it sees it
/answer     cookies with all their attributes, fields more than once, a status of its own
/stream     begins at once, and ends when /go was asked for
/file       BIG, a file on the disk
/leave      leaves behind what it can: a session, globals, a transaction, a cache
"""

from __future__ import annotations

import asyncio
import contextvars
import hashlib
import os
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from http import HTTPMethod
from types import ModuleType
from typing import Annotated, Any

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse as FastFileResponse
from fastapi.responses import JSONResponse, StreamingResponse
from flask import Flask, g, has_app_context, request, send_file, session

from skerry.tars import Service

BIG = os.environ.get("CONVERTED_BIG", "")
COOKIE: dict[str, Any] = {
    "max_age": 60, "path": "/shop", "domain": "shop.example", "secure": True, "httponly": True, "samesite": "Lax",
}  # fmt: skip
go = threading.Event()
left: contextvars.ContextVar[str] = contextvars.ContextVar("left", default="nothing")


def hashed(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# Django

settings = ModuleType("converted_settings")
vars(settings).update(
    SECRET_KEY="x",
    ROOT_URLCONF="converted",
    ALLOWED_HOSTS=["*"],
    MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware", "converted.overriding"],
    SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
    CACHES={"default": {"BACKEND": "converted.ClosedCache"}},
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": os.environ.get("CONVERTED_DB", ":memory:"),
        }
    },
)
sys.modules["converted_settings"] = settings
os.environ["DJANGO_SETTINGS_MODULE"] = "converted_settings"

from django.core.cache import cache  # noqa: E402
from django.core.cache.backends.locmem import LocMemCache  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.db import connection, transaction  # noqa: E402
from django.db.backends.signals import connection_created  # noqa: E402
from django.http import FileResponse, HttpResponse, JsonResponse, QueryDict, StreamingHttpResponse  # noqa: E402
from django.http.multipartparser import MultiPartParser  # noqa: E402
from django.urls import path  # noqa: E402


class ClosedCache(LocMemCache):  # type: ignore[misc]
    """A cache with a connection, as it were: it counts how often it was let go of."""

    closed = 0

    def close(self, **kwargs: Any) -> None:
        ClosedCache.closed += 1
        super().close(**kwargs)


opened: list[int] = []
connection_created.connect(lambda **_: opened.append(1), weak=False)


def overriding(get_response: Any) -> Any:
    """The method that a form or a header asks for, as frameworks in other languages have it built in."""

    def middleware(request: Any) -> Any:
        wanted = request.headers.get("X-HTTP-Method-Override") or request.GET.get("_method")
        if request.method == "POST" and wanted:
            request.method = HTTPMethod(wanted).value
        return get_response(request)

    return middleware


def django_form(request: Any) -> Any:
    if request.content_type == "multipart/form-data" and request.method != "POST":
        fields, files = MultiPartParser(request.META, request, request.upload_handlers).parse()
    else:
        fields, files = request.POST if request.method == "POST" else QueryDict(request.body), request.FILES
    return JsonResponse({
        "method": request.method,
        "fields": {name: fields.getlist(name) for name in fields},
        "files": {name: [each.name, each.size, hashed(each.read())] for name, each in files.items()},
        "tags": request.headers.get("X-Tag"),
    })  # fmt: skip


def django_answer(request: Any) -> Any:
    response = HttpResponse("made", status=201, reason="Made Just So", headers={"X-Kind": "django"})
    response.set_cookie("a", "1 2;3", **COOKIE)
    response.set_cookie("b", "2")
    response.delete_cookie("gone")
    return response


def django_stream(request: Any) -> Any:
    def parts() -> Iterator[bytes]:
        yield b"begun"
        assert go.wait(60)
        yield b", ended"

    return StreamingHttpResponse(parts())


def django_go(request: Any) -> Any:
    go.set()
    return HttpResponse("went")


def django_file(request: Any) -> Any:
    return FileResponse(open(BIG, "rb"))


def django_leave(request: Any) -> Any:
    seen = {
        "variable": left.get(), "session": request.session.get("user"), "open": connection.in_atomic_block,
        "opened": len(opened), "closed": ClosedCache.closed,
    }  # fmt: skip
    cache.set("user", "anna")
    left.set("something")
    request.session["user"] = "anna"
    if "transaction" in request.GET:
        transaction.atomic().__enter__()
    with connection.cursor() as cursor:
        cursor.execute("select 1")
    return JsonResponse(seen)


urlpatterns = [
    path("form", django_form), path("answer", django_answer), path("stream", django_stream),
    path("go", django_go), path("file", django_file), path("leave", django_leave),
]  # fmt: skip
django_application = get_wsgi_application()

# Flask

flask_application = Flask("converted")
flask_application.secret_key = "x"
METHODS = ["POST", "PUT", "PATCH", "DELETE"]


class Overriding:
    """The same for Flask: what Werkzeug's patterns recommend."""

    def __init__(self, application: Any) -> None:
        self._application = application

    def __call__(self, environ: dict[str, Any], start: Any) -> Any:
        if wanted := environ.get("HTTP_X_HTTP_METHOD_OVERRIDE"):
            environ["REQUEST_METHOD"] = HTTPMethod(wanted).value
        return self._application(environ, start)


flask_application.wsgi_app = Overriding(flask_application.wsgi_app)  # type: ignore[assignment, method-assign]


@flask_application.route("/form", methods=METHODS)
def flask_form() -> Any:
    files = {name: (each.filename, each.read()) for name, each in request.files.items()}
    return {
        "method": request.method,
        "fields": {name: request.form.getlist(name) for name in request.form},
        "files": {name: [filename, len(data), hashed(data)] for name, (filename, data) in files.items()},
        "tags": request.headers.get("X-Tag"),
    }


@flask_application.get("/answer")
def flask_answer() -> Any:
    response = flask_application.response_class("made", "201 Made Just So")
    response.headers.add("Link", "</a>; rel=next")
    response.headers.add("Link", "</b>; rel=prev")
    response.set_cookie("a", "1 2;3", **COOKIE)
    response.set_cookie("b", "2")
    response.delete_cookie("gone")
    return response


@flask_application.get("/stream")
def flask_stream() -> Any:
    def parts() -> Iterator[bytes]:
        yield b"begun"
        assert go.wait(60)
        yield b", ended"

    return parts()


@flask_application.get("/go")
def flask_go() -> str:
    go.set()
    return "went"


@flask_application.get("/file")
def flask_file() -> Any:
    return send_file(BIG, conditional=True)


@flask_application.get("/leave")
def flask_leave() -> Any:
    seen = {"variable": left.get(), "g": g.get("user"), "session": session.get("user")}
    left.set("something")
    g.user = session["user"] = "anna"
    response = flask_application.make_response(seen)
    if "context" in request.args:
        response.call_on_close(flask_application.app_context().push)
    return response


@flask_application.before_request
def nothing_is_pushed_before() -> None:
    assert has_app_context()


# FastAPI

fast_application = FastAPI()


@fast_application.middleware("http")
async def fast_overriding(request: Request, call_next: Any) -> Any:
    if wanted := request.headers.get("X-HTTP-Method-Override"):
        request.scope["method"] = HTTPMethod(wanted).value
    return await call_next(request)


@fast_application.api_route("/form", methods=METHODS)
async def fast_form(request: Request) -> Any:
    async with request.form() as form:
        texts = {name: form.getlist(name) for name in form if isinstance(form[name], str)}
        files: dict[str, Any] = {name: form[name] for name in form if name not in texts}
        read = {name: (each.filename, await each.read()) for name, each in files.items()}
    return {
        "method": request.method,
        "fields": texts,
        "files": {name: [filename, len(data), hashed(data)] for name, (filename, data) in read.items()},
        "tags": ",".join(request.headers.getlist("X-Tag")),
    }


@fast_application.get("/answer")
async def fast_answer() -> Any:
    response = JSONResponse("made", 201)
    response.headers.append("Link", "</a>; rel=next")
    response.headers.append("Link", "</b>; rel=prev")
    response.set_cookie("a", "1 2;3", **{**COOKIE, "samesite": "lax"})
    response.set_cookie("b", "2")
    response.delete_cookie("gone")
    return response


@fast_application.get("/stream")
async def fast_stream() -> Any:
    async def parts() -> AsyncIterator[bytes]:
        yield b"begun"
        while not go.is_set():  # noqa: ASYNC110  another request sets it
            await asyncio.sleep(0.01)
        yield b", ended"

    return StreamingResponse(parts())


@fast_application.get("/go")
async def fast_go() -> str:
    go.set()
    return "went"


@fast_application.get("/file")
async def fast_file() -> Any:
    return FastFileResponse(BIG)


@fast_application.get("/leave")
async def fast_leave(request: Annotated[Request, None]) -> Any:
    seen = {"variable": left.get(), "state": getattr(request.state, "user", None)}
    left.set("something")
    request.state.user = "anna"
    return seen


service = Service()
service.http("DjangoObj", django_application)
service.http("FlaskObj", flask_application)
service.http("FastObj", fast_application)


@service.admin("begin")
def begin(arguments: str) -> str:
    """For the next stream."""
    go.clear()
    return "begun"
