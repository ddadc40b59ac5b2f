"""The extension: the live stream in Jinja templates, and the commands where entry points are not looked at.

skerry = Skerry(app)                  # or Skerry() and later init_app(app)
{{ skerry_live("/events", snapshot=True) }}
<skerry-rows {{ skerry_rows("poll_choice") }}> ... </skerry-rows> {{ skerry_rows_script() }}
"""

from __future__ import annotations

from typing import Any

from flask import Flask, g, request
from flask.signals import request_started
from markupsafe import Markup

from skerry.hosting import position
from skerry.hosting.flask.commands import skerry, tars
from skerry.hosting.page import (
    BEGUN_AT,
    address,
    live_script,
    module_address,
    rows_attributes,
    rows_script,
)


class Skerry:
    """Takes the application, or none for `init_app`."""

    def __init__(self, app: Flask | None = None) -> None:
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Add the names `skerry_js`, `skerry_events`, `skerry_live`, `skerry_rows` and `skerry_rows_script` to its
        templates, and the commands."""
        app.extensions["skerry"] = self
        request_started.connect(_note_position, app)
        app.jinja_env.globals.update(
            skerry_js=self.skerry_js,
            skerry_events=self.skerry_events,
            skerry_live=self.skerry_live,
            skerry_rows=self.skerry_rows,
            skerry_rows_script=self.skerry_rows_script,
        )
        for command in (skerry, tars):
            app.cli.add_command(command)

    def skerry_js(self) -> str:
        """The address of the module `skerry.js`, under the path that the application lies at."""
        return module_address(request.script_root)

    def skerry_events(self, path: str = "/events", prefix: str = "") -> str:
        """The address of a stream (`app.live(path)`), of events whose key begins with `prefix` if given."""
        return address(request.script_root, path, prefix)

    def skerry_live(
        self,
        path: str = "/events",
        prefix: str = "",
        snapshot: bool = False,
        since: str = "",
        nonce: str = "",
    ) -> Markup:
        """A script element that follows a stream and dispatches what it tells. It begins with the current values
        (`snapshot`), behind a position (`since`), or where the request began. `nonce`: that of the page's
        Content-Security-Policy; by default `csp_nonce` of the request (flask-talisman) or of `flask.g`."""
        since = since or ("" if snapshot else _begun_at())
        return Markup(
            live_script(
                request.script_root, path, prefix=prefix, snapshot=snapshot, since=since, nonce=_nonce(nonce)
            )
        )

    def skerry_rows(
        self,
        table: str,
        path: str = "/events",
        prefix: str = "",
        order: str = "",
        limit: int = 0,
        since: str = "",
        **where: Any,
    ) -> Markup:
        """The attributes of a `<skerry-rows>` element, whose rows follow a table. `order`: a column, `-` before it for
        the largest first; `limit`: so many rows; further names are columns whose rows have that value. It begins where
        the request began (`since`), so that what happens while the page is rendered is not lost."""
        found = rows_attributes(
            request.script_root, table, path,
            since=since or _begun_at(), prefix=prefix, order=order, limit=limit, where=where,
        )  # fmt: skip
        return Markup(found)

    def skerry_rows_script(self, nonce: str = "") -> Markup:
        """The script element that makes the `<skerry-rows>` of a page live; once a page."""
        return Markup(rows_script(request.script_root, _nonce(nonce)))


def _note_position(app: Flask, **_: Any) -> None:
    """Before anything is read for a page: what happens from now on, it has to be told."""
    if (found := position()) is not None:
        request.environ[BEGUN_AT] = str(found)


def _begun_at() -> str:
    """The position at the request's beginning; empty where no App runs."""
    return str(request.environ.get(BEGUN_AT, ""))


def _nonce(given: str) -> str:
    return str(given or getattr(request, "csp_nonce", "") or g.get("csp_nonce", ""))
