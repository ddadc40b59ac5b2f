"""`{% load skerry %}`: a page of Django that follows the live stream of the App that hosts it.

    {% skerry_live "/events" prefix="order-" %}

opens the stream and dispatches on `document` what comes: `skerry:event` (`detail` is the event), `skerry:snapshot`
(`detail.rows`, `detail.position`) and `skerry:state` (`detail.phase`). A page with a module of its own takes the
addresses from `{% skerry_js %}` and `{% skerry_events "/events" %}`.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote, urlencode

from django import template
from django.urls import get_script_prefix
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

register = template.Library()

MODULE = "_skerry/skerry.js"
ESCAPES = {
    ord(">"): "\\u003E",
    ord("<"): "\\u003C",
    ord("&"): "\\u0026",
    0x2028: "\\u2028",
    0x2029: "\\u2029",
}
"""What must not stand in a script element as it is (as Django's `json_script`)."""

SCRIPT = """
import {{ connect }} from {module};
const tell = (name, detail) => document.dispatchEvent(new CustomEvent("skerry:" + name, {{ detail }}));
connect({events}, {{
  ...{options},
  onEvent: (event) => tell("event", event),
  onSnapshot: (rows, position) => tell("snapshot", {{ rows, position }}),
  onState: (state) => tell("state", state),
}});
"""


@register.simple_tag  # type: ignore[untyped-decorator]
def skerry_js() -> str:
    """The address of the module `skerry.js`, under the path that the project lies at."""
    return _under_root(MODULE)


@register.simple_tag  # type: ignore[untyped-decorator]
def skerry_events(path: str = "/events", prefix: str = "") -> str:
    """The address of a stream (`app.live(path)`), of events whose key begins with `prefix` if given."""
    query = f"?{urlencode({'prefix': prefix})}" if prefix else ""
    return _under_root(path) + query


@register.simple_tag(takes_context=True)  # type: ignore[untyped-decorator]
def skerry_live(
    context: Any, path: str = "/events", prefix: str = "", snapshot: bool = False, since: str = ""
) -> SafeString:
    """A script element that follows a stream and dispatches what it tells. `snapshot`: begin with the current values;
    `since`: with what happened after that position. Under a Content-Security-Policy its nonce is the page's:
    `csp_nonce` of the context (Django 6) or of the request (django-csp)."""
    options = {
        name: value for name, value in (("prefix", prefix), ("snapshot", snapshot), ("since", since)) if value
    }
    script = SCRIPT.format(module=_js(skerry_js()), events=_js(_under_root(path)), options=_js(options))
    nonce = context.get("csp_nonce") or getattr(context.get("request"), "csp_nonce", "")
    given = format_html(' nonce="{}"', str(nonce)) if nonce else ""
    return format_html('<script type="module"{}>{}</script>', given, mark_safe(script))


def _under_root(path: str) -> str:
    """An address of this site; never one of another (`//other`)."""
    prefix: str = get_script_prefix()
    return prefix + quote(path.lstrip("/\\"), safe="/:@!$&'()*+,;=~-._%")


def _js(value: Any) -> str:
    return json.dumps(value).translate(ESCAPES)
