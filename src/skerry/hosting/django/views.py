"""Whether a Django project has asynchronous views. One that has none is better hosted as WSGI: through ASGI each of its
requests costs a thread of its own and two switches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.core.handlers.asgi import ASGIHandler
from django.urls import get_resolver


def is_plain(application: Any) -> bool:
    """Whether it is Django's own ASGI application, with no asynchronous view."""
    return type(application) is ASGIHandler and not any(
        iscoroutinefunction(view) for view in _views(get_resolver().url_patterns)
    )


def _views(patterns: Iterable[Any]) -> Iterator[Any]:
    for each in patterns:
        if hasattr(each, "url_patterns"):
            yield from _views(each.url_patterns)
        else:
            yield each.callback
