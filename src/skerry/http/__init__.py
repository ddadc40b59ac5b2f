"""The HTTP interface of an application: requests, responses, live events, pages.

This is what applications import; `Request`, `Response` and `Problem` are in `skerry` too.

Names are loaded when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from skerry.faces import lazily

if TYPE_CHECKING:
    from skerry.http.application import Application as Application
    from skerry.http.application import ApplicationSettings as ApplicationSettings
    from skerry.http.assets import live_address as live_address
    from skerry.http.assets import page_headers as page_headers
    from skerry.http.assets import serve_assets as serve_assets
    from skerry.http.assets import serve_skerry_js as serve_skerry_js
    from skerry.http.auth import Identity as Identity
    from skerry.http.auth import Right as Right
    from skerry.http.binding import Body as Body
    from skerry.http.conditional import Preconditions as Preconditions
    from skerry.http.events import Events as Events
    from skerry.http.feed import FeedEvent as FeedEvent
    from skerry.http.feed import RingFeed as RingFeed
    from skerry.http.headers import Headers as Headers
    from skerry.http.hub import Hub as Hub
    from skerry.http.listener import LINES as LINES
    from skerry.http.listener import Listener as Listener
    from skerry.http.prefer import Prefer as Prefer
    from skerry.http.problems import Problem as Problem
    from skerry.http.reply import JSON as JSON
    from skerry.http.reply import Response as Response
    from skerry.http.request import Request as Request
    from skerry.http.templates import Templates as Templates

_HOME = {
    "Application": "skerry.http.application",
    "ApplicationSettings": "skerry.http.application",
    "Body": "skerry.http.binding",
    "Events": "skerry.http.events",
    "FeedEvent": "skerry.http.feed",
    "Headers": "skerry.http.headers",
    "Hub": "skerry.http.hub",
    "Identity": "skerry.http.auth",
    "JSON": "skerry.http.reply",
    "LINES": "skerry.http.listener",
    "Listener": "skerry.http.listener",
    "Preconditions": "skerry.http.conditional",
    "Prefer": "skerry.http.prefer",
    "Problem": "skerry.http.problems",
    "Request": "skerry.http.request",
    "Response": "skerry.http.reply",
    "Right": "skerry.http.auth",
    "RingFeed": "skerry.http.feed",
    "Templates": "skerry.http.templates",
    "live_address": "skerry.http.assets",
    "page_headers": "skerry.http.assets",
    "serve_assets": "skerry.http.assets",
    "serve_skerry_js": "skerry.http.assets",
}

__all__ = sorted(_HOME)
__getattr__ = lazily(__name__, _HOME)
