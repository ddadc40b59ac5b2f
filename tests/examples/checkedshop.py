"""The shop's App with one view more, at two paths: what this server has in memory, and what this host process has."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from storefront.live import Sold, app  # type: ignore[import-not-found]

from skerry import Query
from skerry.hosting import ask

__all__ = ["app"]


class Checked(Query[dict[str, Any]]):
    """What this process's memory has, of one moment."""


@app.answers(Checked)  # type: ignore[untyped-decorator]
def checked(query: Checked, sold: Sold) -> dict[str, Any]:
    mirrors = app.declaration.mirrors
    rows = {name: [[each.id, each] for each in mirror.values()] for name, mirror in mirrors.items()}
    return {"pid": os.getpid(), "rows": rows, "sold": sorted(sold.pieces.items())}


@app.get("/checked", rights=None)  # type: ignore[untyped-decorator]
def of_this_server() -> dict[str, Any]:
    found: dict[str, Any] = ask(Checked())
    return found


def of_this_host(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """A WSGI application, so that a host process answers it."""
    start_response("200 OK", [("Content-Type", "application/json")])
    return [msgspec.json.encode(ask(Checked()))]


app.host("/checked-host", of_this_host)
