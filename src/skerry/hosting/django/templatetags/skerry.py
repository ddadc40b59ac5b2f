"""`{% load skerry %}`: a page of Django that follows the live stream of the App that hosts it.

    <skerry-rows {% skerry_rows "shop_product" %}> ... a table that Django renders ... </skerry-rows>
    {% skerry_rows_script %}

keeps its rows as they are now (see `skerry/http/static/rows.js`).

    {% skerry_live "/events" prefix="order-" %}

opens the stream and dispatches what comes on `document` (see `skerry.hosting.page`). A page with a module of its own
takes the addresses from `{% skerry_js %}` and `{% skerry_events "/events" %}`.
"""

from __future__ import annotations

from typing import Any

from django import template
from django.urls import get_script_prefix
from django.utils.safestring import SafeString, mark_safe

from skerry.hosting.page import (
    BEGUN_AT,
    address,
    live_script,
    module_address,
    rows_attributes,
    rows_script,
)

register = template.Library()


@register.simple_tag  # type: ignore[untyped-decorator]
def skerry_js() -> str:
    """The address of the module `skerry.js`, under the path that the project lies at."""
    return module_address(get_script_prefix())


@register.simple_tag  # type: ignore[untyped-decorator]
def skerry_events(path: str = "/events", prefix: str = "") -> str:
    """The address of a stream (`app.live(path)`), of events whose key begins with `prefix` if given."""
    return address(get_script_prefix(), path, prefix)


@register.simple_tag(takes_context=True)  # type: ignore[untyped-decorator]
def skerry_live(
    context: Any, path: str = "/events", prefix: str = "", snapshot: bool = False, since: str = ""
) -> SafeString:
    """A script element that follows a stream and dispatches what it tells. `snapshot`: begin with the current values;
    `since`: with what happened after that position. Without either it begins where the request began. Under a
    Content-Security-Policy its nonce is the page's: `csp_nonce` of the context (Django 6) or of the request
    (django-csp)."""
    since = since or ("" if snapshot else _begun_at(context))
    root = get_script_prefix()
    script = live_script(root, path, prefix=prefix, snapshot=snapshot, since=since, nonce=_nonce(context))
    return mark_safe(script)


@register.simple_tag(takes_context=True)  # type: ignore[untyped-decorator]
def skerry_rows(
    context: Any,
    table: str,
    path: str = "/events",
    prefix: str = "",
    order: str = "",
    limit: int = 0,
    since: str = "",
    **where: Any,
) -> SafeString:
    """The attributes of a `<skerry-rows>` element, whose rows follow a table. `order`: a column, `-` before it for the
    largest first; `limit`: so many rows; further names are columns whose rows have that value. It begins where the
    request began (`since`), so that what happens while the page is rendered is not lost."""
    found = rows_attributes(
        get_script_prefix(), table, path,
        since=since or _begun_at(context), prefix=prefix, order=order, limit=limit, where=where,
    )  # fmt: skip
    return mark_safe(found)


@register.simple_tag(takes_context=True)  # type: ignore[untyped-decorator]
def skerry_rows_script(context: Any) -> SafeString:
    """The script element that makes the `<skerry-rows>` of a page live; once a page."""
    return mark_safe(rows_script(get_script_prefix(), _nonce(context)))


def _begun_at(context: Any) -> str:
    """The position at the request's beginning; empty without a request, and where no App runs."""
    request = context.get("request")
    of_asgi = getattr(request, "scope", None)
    return str((of_asgi if of_asgi is not None else getattr(request, "META", {})).get(BEGUN_AT, ""))


def _nonce(context: Any) -> str:
    return str(context.get("csp_nonce") or getattr(context.get("request"), "csp_nonce", "") or "")
