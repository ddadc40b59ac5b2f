"""Users that are logged in to Django may listen: what `app.authenticate` is given, so that the live stream and views
of the App beside a project are for those that the project knows.

    app.authenticate(by_session(lambda user: user.is_staff))
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from importlib import import_module
from typing import Any

import django
from django.conf import settings
from django.contrib.auth import get_user
from django.db import connections
from django.http import HttpRequest, parse_cookie

from skerry.http.identity import Identity
from skerry.http.request import Request


def by_session(
    may: Callable[[Any], bool] = lambda user: True, *, rights: Collection[str] = ("read",)
) -> Callable[[Request], Awaitable[Identity | None]]:
    """For `app.authenticate`: the active user whose session cookie a request has, if `may(user)` allows it. The subject
    is the user's primary key. Asks the database, in a thread; what it found is remembered for some seconds."""

    async def identify(request: Request) -> Identity | None:
        cookie = _session_of(request)
        return await asyncio.to_thread(_identity, cookie, may, rights) if cookie else None

    return identify


def _session_of(request: Request) -> str:
    django.setup(set_prefix=False)
    return str(parse_cookie(request.headers.get("cookie") or "").get(settings.SESSION_COOKIE_NAME, ""))


def _identity(cookie: str, may: Callable[[Any], bool], rights: Collection[str]) -> Identity | None:
    request = HttpRequest()
    request.session = import_module(settings.SESSION_ENGINE).SessionStore(cookie)
    try:
        user = get_user(request)
        if not user.is_authenticated or not user.is_active or not may(user):
            return None
        return Identity(str(user.pk), user.get_username(), rights)
    finally:
        connections.close_all()  # the thread is a pool's: it has no request of Django that would do it
