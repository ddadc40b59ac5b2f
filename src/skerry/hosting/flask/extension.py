"""The extension: the live stream in Jinja templates, and the commands where entry points are not looked at.

skerry = Skerry(app)                  # or Skerry() and later init_app(app)
{{ skerry_live("/events", snapshot=True) }}
"""

from __future__ import annotations

from flask import Flask, g, request
from markupsafe import Markup

from skerry.hosting.flask.commands import skerry, tars
from skerry.hosting.page import address, live_script, module_address


class Skerry:
    """Takes the application, or none for `init_app`."""

    def __init__(self, app: Flask | None = None) -> None:
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Add the names `skerry_js`, `skerry_events` and `skerry_live` to its templates, and the commands."""
        app.extensions["skerry"] = self
        app.jinja_env.globals.update(
            skerry_js=self.skerry_js, skerry_events=self.skerry_events, skerry_live=self.skerry_live
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
        """A script element that follows a stream and dispatches what it tells. `nonce`: that of the page's
        Content-Security-Policy; by default `csp_nonce` of the request (flask-talisman) or of `flask.g`."""
        found = nonce or getattr(request, "csp_nonce", "") or g.get("csp_nonce", "")
        return Markup(
            live_script(
                request.script_root, path, prefix=prefix, snapshot=snapshot, since=since, nonce=str(found)
            )
        )
