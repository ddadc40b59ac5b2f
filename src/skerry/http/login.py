"""The login form for browsers: a token in, a cookie out (HttpOnly, SameSite=Strict), and out again.

A browser's form is believed only when it comes from our own page (Origin or Sec-Fetch-Site), so nobody can log
somebody in from elsewhere; where it leads afterwards is a path of this site.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from html import escape
from math import ceil
from typing import Any
from urllib.parse import parse_qs

from skerry.http.application import Application
from skerry.http.attempts import Attempts
from skerry.http.auth import COOKIE, SESSION_SECONDS, Session, Tokens, same_origin
from skerry.http.documentation import STYLE
from skerry.http.problems import Problem
from skerry.http.reply import Response
from skerry.http.request import Request

logger = logging.getLogger("skerry.http")
POLICY = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
MAX_FORM_BYTES = 4096


Revoke = Callable[[Session], asyncio.Future[None]]
"""Ends a session before its time, everywhere; done when that is known here. May raise SkerryError."""


def install(
    application: Application,
    tokens: Tokens,
    path: str = "/login",
    *,
    attempts: Attempts | None = None,
    revoke: Revoke | None = None,
) -> None:
    """Declare the form at `path` (GET and POST) and `POST logout` beside it; pages that need a token lead there.
    `attempts` limits the failures of a client, `revoke` ends sessions for all processes (else only the cookie goes)."""
    application.login_path = path
    tried, now = attempts or Attempts(), tokens.clock.monotonic

    @application.get(path, rights=None, documented=False)
    def login_form(request: Request) -> Response:
        """The form."""
        return _form(request, path, _local(request, request.query.get("next")))

    @application.post(path, rights=None, documented=False, max_body_bytes=MAX_FORM_BYTES)
    def login(request: Request) -> Response:
        """Trade a token for a cookie."""
        _own_form(request)
        fields = parse_qs(request.text(), keep_blank_values=True, max_num_fields=10)
        target = _local(request, fields.get("next", [""])[0])
        secret, client = fields.get("token", [""])[0], request.client[0] if request.client else ""
        wait = tried.wait_seconds(client, secret, now())
        if wait > 0:
            answer = _form(request, path, target, "Too many attempts: wait a minute.", 429)
            return answer.with_header("Retry-After", str(ceil(wait)))
        session = tokens.session(secret)
        if session is None:
            tried.fail(client, secret, now())
            logger.warning("an unknown token at the login form, from %s", client or "a local socket")
            return _form(request, path, target, "This token is not known here.", 401)
        return Response.redirect(target).with_header("Set-Cookie", _cookie(request, session, SESSION_SECONDS))

    @application.post(
        path.rpartition("/")[0] + "/logout", rights=None, documented=False, max_body_bytes=MAX_FORM_BYTES
    )
    def logout(request: Request) -> Response | asyncio.Future[Response]:
        """Forget the cookie, and end its session."""
        _own_form(request)
        session = tokens.session_of(request.headers)
        if session is None or revoke is None:
            return _out(request, Response.redirect(request.url_path(path)))
        result: asyncio.Future[Response] = asyncio.get_running_loop().create_future()

        def ended(done: asyncio.Future[Any]) -> None:
            if result.done():
                return
            error = done.exception()
            if error is None:
                result.set_result(_out(request, Response.redirect(request.url_path(path))))
                return
            logger.warning("a session could not be ended: %s", error)
            what = "the session could not be ended everywhere: try again"
            result.set_result(Problem(503, what, headers={"Retry-After": "1"}).response())

        revoke(session).add_done_callback(ended)
        return result


def _out(request: Request, answer: Response) -> Response:
    return answer.with_header("Set-Cookie", _cookie(request, "", 0))


def _own_form(request: Request) -> None:
    """Raises Problem 403 for a form of another site. A client that is no browser sends neither field."""
    headers, host = request.headers, request.peer.host
    if (headers.get("origin") or headers.get("sec-fetch-site")) and not same_origin(headers, host):
        raise Problem(403, "this form was sent by another site")


def _local(request: Request, target: str | None) -> str:
    """A path of this site, whatever was asked for."""
    start = request.url_path("/")
    if not target or not target.startswith("/") or target.startswith("//") or "\\" in target:
        return start
    return target if target.isascii() and target.isprintable() else start


def _cookie(request: Request, value: str, seconds: int) -> str:
    secure = "; Secure" if request.scheme == "https" else ""
    path = request.url_path("") or "/"
    return f"{COOKIE}={value}; Path={path}; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}"


def _form(request: Request, path: str, target: str, message: str = "", status: int = 200) -> Response:
    action = escape(request.url_path(path))
    said = f"<p role=alert>{escape(message)}</p>" if message else ""
    text = (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width, initial-scale=1'>"
        f"<title>Log in</title><style>{STYLE}</style><h1>Log in</h1>{said}"
        f"<form method=post action='{action}'><input type=hidden name=next value='{escape(target)}'>"
        "<label>Token <input type=password name=token autocomplete=current-password required autofocus></label> "
        "<button>Log in</button></form>"
    )
    return Response.html(
        text, status, headers={"Content-Security-Policy": POLICY, "Cache-Control": "no-store"}
    )
