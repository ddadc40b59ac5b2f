"""Makes a process's App known to the code that runs beside it: `skerry.hosting.emit`, `send` and `ask` find it."""

from __future__ import annotations

import os

from skerry.bridge.site import Site
from skerry.kernel.kernel import Kernel


def site_of(kernel: Kernel) -> Site:
    """To be called in the loop."""
    strict = os.environ.get("SKERRY_HOST_STRICT", "").lower() in ("1", "true", "yes", "on")
    journal = getattr(kernel.reader, "dialect", "") or kernel.settings.journal.partition(":")[0]
    return Site(
        kernel.namespace, journal, kernel.commands, kernel.queries, kernel.projector,
        kernel.transport, kernel.declaration.foreign, strict=strict,
    )  # fmt: skip
