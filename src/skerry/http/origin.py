"""Whether a page of that origin may listen, and whether it may write. Pure. Browsers say where a request comes from
(`Origin`, `Sec-Fetch-Site`); other programs do not and pass."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from skerry.http.headers import Headers

_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


def allowed(origin: str | None, host: str, extra: Iterable[str] = ()) -> bool:
    """True without an origin, for the page's own host and port, and for what `extra` lists (`*`: everybody, `:PORT`:
    pages of this host on that port).

    The scheme is not compared with ours: behind a proxy that ends TLS it is not known. Everything else is, so a page
    of another host or port does not pass. `null` (a sandboxed frame, a file) passes only by `*`.
    """
    if origin is None:
        return True
    listed = {entry.strip().rstrip("/").lower() for entry in extra}
    if "*" in listed or origin.lower() in listed:
        return True
    try:
        parts = urlsplit(origin)
        port = parts.port or _PORTS[parts.scheme]
        here = urlsplit(f"//{host}")
        here_port = here.port or _PORTS[parts.scheme]
    except (ValueError, KeyError):
        return False
    if not parts.hostname or parts.hostname != here.hostname:
        return False
    return port == here_port or f":{port}" in listed


def may_write(headers: Headers, writers: Iterable[str] = (), host: str | None = None) -> bool:
    """Whether a browser may send this where no token says who it is: from our own pages, from what `writers` lists, or
    not from a page at all. What browsers send without asking first (forms, plain text) stays harmless by this.
    `host`: that of our own pages, where a proxy in front says that it is another one than Host."""
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    if origin is not None and listed(origin, writers):
        return True
    if site is not None:
        return site in ("same-origin", "none")
    return allowed(origin, host or headers.get("host") or "")


def listed(origin: str, entries: Iterable[str]) -> bool:
    """Whether an origin is among `entries`; `*` among them is everybody."""
    return any(entry == "*" or entry.rstrip("/").lower() == origin.lower() for entry in entries)
