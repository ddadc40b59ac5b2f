"""Where commands travel and the journal is kept, by technology. Drivers are imported here and nowhere else.

These names are what a backend of another distribution is made of. They are loaded when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from skerry.faces import lazily

if TYPE_CHECKING:
    from skerry.bus.backend import Access as Access
    from skerry.bus.backend import Backend as Backend
    from skerry.bus.backend import Finding as Finding
    from skerry.bus.backend import Infra as Infra
    from skerry.bus.backend import JournalSide as JournalSide
    from skerry.bus.backend import Look as Look
    from skerry.bus.backend import OpenableJournal as OpenableJournal
    from skerry.bus.backend import Opening as Opening
    from skerry.bus.backend import Parts as Parts
    from skerry.bus.backend import Place as Place
    from skerry.bus.backend import TransportSide as TransportSide

_HOME = dict.fromkeys(
    (
        "Access", "Backend", "Finding", "Infra", "JournalSide", "Look", "OpenableJournal", "Opening", "Parts",
        "Place", "TransportSide",
    ),
    "skerry.bus.backend",
)  # fmt: skip

__all__ = sorted(_HOME)
__getattr__ = lazily(__name__, _HOME)
