"""Whether a page of that origin may listen. Pure. Browsers send `Origin`; other programs do not and pass."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

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
