"""A page's own scripts and styles: small files of a package, served from memory with their hash as ETag, on the lane;
and the header fields that keep a page to them. Directories, ranges and large files are `Application.static`'s.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from importlib.resources import files

from skerry.errors import DeclarationError
from skerry.http.application import Application
from skerry.http.reply import Response

MEDIA_TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "ico": "image/x-icon",
    "js": "text/javascript; charset=utf-8",
    "json": "application/json",
    "png": "image/png",
    "svg": "image/svg+xml",
    "ts": "text/plain; charset=utf-8",
    "txt": "text/plain; charset=utf-8",
    "woff2": "font/woff2",
}
# Asked for again each time, answered 304: a new version is never mixed with an old page.
CACHE = {"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}


def page_headers(connect: Iterable[str] = ()) -> dict[str, str]:
    """For an HTML page: a strict Content-Security-Policy (own scripts and styles only, nothing inline, no frames).

    `connect`: further origins that its scripts may talk to, as `wss://live.example`.
    """
    sources = " ".join(("'self'", *connect))
    return {
        "Content-Security-Policy": f"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        f"connect-src {sources}; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        "Referrer-Policy": "same-origin",
        **CACHE,
    }


def live_address(live_url: str, host: str, scheme: str, path: str) -> tuple[str, tuple[str, ...]]:
    """The address of the stream of events for a page, and the sources that the page's policy has to allow.

    `live_url` is the setting: empty for the page's own server, `ws(s)://HOST[:PORT]`, or `:PORT` on the page's host.
    """
    if not live_url:
        return path, ()
    if live_url.startswith(":"):
        name = host.rpartition(":")[0] if ":" in host.rpartition("]")[2] else host
        live_url = f"{'wss' if scheme == 'https' else 'ws'}://{name}{live_url}"
    origin = live_url.rstrip("/")
    return origin + path, (origin, "http" + origin.removeprefix("ws"))  # the fallback is plain HTTP


def serve_assets(application: Application, prefix: str, package: str, directory: str) -> list[str]:
    """Declare a route `prefix/NAME` for each file of the package's directory. Returns the paths.

    Raises DeclarationError when there is no such directory or a file's kind is not known. They are everybody's
    (`rights=None`): a login page needs its style too.
    """
    folder = files(package).joinpath(directory)
    if not folder.is_dir():
        raise DeclarationError(f"package {package} has no directory {directory}")
    paths = []
    for file in sorted(folder.iterdir(), key=lambda each: each.name):
        name, _, suffix = file.name.rpartition(".")
        if (
            not file.is_file() or not name or suffix in ("py", "pyc", "html")
        ):  # html: a template, not to be served
            continue
        if suffix not in MEDIA_TYPES:
            raise DeclarationError(f"{package}/{directory}/{file.name}: no media type is known for .{suffix}")
        path = f"{prefix.rstrip('/')}/{file.name}"
        _declare(application, path, file.read_bytes(), MEDIA_TYPES[suffix])
        paths.append(path)
    return paths


def serve_skerry_js(application: Application) -> list[str]:
    """Declare `/_skerry/skerry.js`, the browser's side of `events`, and `/_skerry/rows.js`, rows that follow them."""
    return serve_assets(application, "/_skerry", "skerry.http", "static")


def _declare(application: Application, path: str, content: bytes, media_type: str) -> None:
    tag = hashlib.sha256(content).hexdigest()[:20]

    def asset() -> Response:
        return Response(content, media_type=media_type, headers=CACHE, etag=tag)

    application.get(path, name=f"file {path}", rights=None, documented=False)(asset)
