"""The shop's App with one route more: what this server has in memory."""

from __future__ import annotations

import os
from typing import Any

from storefront.live import Sold, app  # type: ignore[import-not-found]

__all__ = ["app"]


@app.get("/checked", rights=None)  # type: ignore[untyped-decorator]
def checked(sold: Sold) -> dict[str, Any]:
    mirrors = app.declaration.mirrors
    rows = {name: [[each.id, each] for each in mirror.values()] for name, mirror in mirrors.items()}
    return {"pid": os.getpid(), "rows": rows, "sold": sorted(sold.pieces.items())}
