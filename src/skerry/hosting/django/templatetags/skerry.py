"""`{% load skerry %}`: a page of Django that follows the live stream of the App that hosts it.

    {% skerry_live "/events" prefix="order-" %}

opens the stream and dispatches what comes on `document` (see `skerry.hosting.page`). A page with a module of its own
takes the addresses from `{% skerry_js %}` and `{% skerry_events "/events" %}`.
"""

from __future__ import annotations

from typing import Any

from django import template
from django.urls import get_script_prefix
from django.utils.safestring import SafeString, mark_safe

from skerry.hosting.page import address, live_script, module_address

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
    `since`: with what happened after that position. Under a Content-Security-Policy its nonce is the page's:
    `csp_nonce` of the context (Django 6) or of the request (django-csp)."""
    nonce = context.get("csp_nonce") or getattr(context.get("request"), "csp_nonce", "") or ""
    root = get_script_prefix()
    return mark_safe(live_script(root, path, prefix=prefix, snapshot=snapshot, since=since, nonce=str(nonce)))
