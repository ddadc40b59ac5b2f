"""A target says by how it can be called what it is; what does not say gets a sentence with the cure."""

from __future__ import annotations

import functools
from typing import Any

import pytest
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from fastapi import FastAPI
from flask import Flask
from starlette.applications import Starlette

from skerry.errors import SettingsError
from skerry.hosting.detection import kind_of


def wsgi(environ: Any, start_response: Any) -> Any: ...
def wsgi_with_more(environ: Any, start_response: Any, extra: str = "") -> Any: ...
async def asgi(scope: Any, receive: Any, send: Any) -> None: ...
def asgi_by_hand(scope: Any, receive: Any, send: Any) -> Any: ...
def factory() -> Any: ...
def anything(*arguments: Any) -> Any: ...
def one(scope: Any) -> Any: ...


class Middleware:
    def __call__(self, environ: Any, start_response: Any) -> Any: ...


@pytest.mark.parametrize(
    ("application", "kind"),
    [
        (wsgi, "wsgi"),
        (Middleware(), "wsgi"),
        (functools.partial(asgi_by_hand, None), "wsgi"),
        (Flask("x"), "wsgi"),
        (WSGIHandler.__new__(WSGIHandler), "wsgi"),
        (asgi, "asgi"),
        (asgi_by_hand, "asgi"),
        (functools.partial(asgi), "asgi"),
        (Starlette(), "asgi"),
        (FastAPI(), "asgi"),
        (ASGIHandler.__new__(ASGIHandler), "asgi"),
    ],
)
def test_it_is_known_by_its_signature(application: Any, kind: str) -> None:
    """Functions, objects, and the applications of the frameworks."""
    assert kind_of(application, "x:app") == kind


@pytest.mark.parametrize(
    ("application", "said"),
    [
        (factory, r"write x:app\(\)"),
        (anything, "could be WSGI or ASGI: give --kind"),
        (wsgi_with_more, "could be WSGI or ASGI: give --kind"),
        (one, "is neither"),
        (Middleware, "is a class"),
        (3, "is a int, which cannot be called"),
    ],
)
def test_what_it_cannot_be_is_said(application: Any, said: str) -> None:
    """With what to write instead."""
    with pytest.raises(SettingsError, match=said):
        kind_of(application, "x:app")
