"""The page: the first values rendered from memory, everything after that by the live stream."""

from __future__ import annotations

from itertools import islice
from urllib.parse import quote

import msgspec
from jinja2 import PackageLoader
from markupsafe import Markup, escape

from livekv.values import Values
from skerry import App, HttpReads, Request, Response, Settings
from skerry.http import Templates, live_address, page_headers, serve_assets, serve_skerry_js

ROWS = 200
SHOWN_CHARACTERS = 2000


def exact(value: object) -> Markup:
    """Text that a script reads back: escaped, and a carriage return survives the HTML parser."""
    return Markup(str(escape(value)).replace("\r", "&#13;"))


templates = Templates(PackageLoader("livekv", "pages"))
templates.environment.filters["exact"] = exact


class Row(msgspec.Struct, frozen=True):
    """One line of the table. A value too long for a cell is left out and its `size` given, in bytes of UTF-8."""

    key: str
    value: str
    size: int | None
    position: str
    url: str


def declare_page(app: App) -> None:
    """GET / and the files it needs."""
    app.get("/", name="page")(page)
    serve_assets(app.http, "/static", "livekv", "pages")
    serve_skerry_js(app.http)


def page(request: Request, values: Values, reads: HttpReads, settings: Settings) -> Response:
    """The page, as of this server's memory."""
    position = reads.position
    root = request.url_path("")
    path = "/events" if settings.live_url else root + "/events"
    events_url, sources = live_address(settings.live_url, request.host, request.scheme, path)
    rows = [_row(values, key, position.epoch, root) for key in islice(values.ordered(), ROWS)]
    text = templates.text(
        "index.html",
        rows=rows,
        total=len(values),
        position=str(position),
        events_url=events_url,
        root=root,
        origin=f"{request.scheme}://{request.host}{root}",
    )
    return Response.html(text, headers=page_headers(sources))


def _row(values: Values, key: str, epoch: str, root: str) -> Row:
    entry = values.entries[key]
    long = len(entry.value) > SHOWN_CHARACTERS
    return Row(
        key,
        "" if long else entry.value,
        len(entry.value.encode()) if long else None,
        f"{epoch}:{entry.offset}",
        f"{root}/values/" + quote(key, safe=""),
    )
