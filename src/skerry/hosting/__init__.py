"""Foreign applications in the resident server, and their way to the App beside them: `emit`, `send`, `ask`,
and `position`, where its memory stands.

Names are loaded when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from skerry.faces import lazily

if TYPE_CHECKING:
    from skerry.bridge.emitting import Emitted as Emitted
    from skerry.bridge.emitting import emit as emit
    from skerry.bridge.sending import ask as ask
    from skerry.bridge.sending import ask_async as ask_async
    from skerry.bridge.sending import send as send
    from skerry.bridge.site import position as position

_HOME = {
    "Emitted": "skerry.bridge.emitting",
    "ask": "skerry.bridge.sending",
    "ask_async": "skerry.bridge.sending",
    "emit": "skerry.bridge.emitting",
    "position": "skerry.bridge.site",
    "send": "skerry.bridge.sending",
}

__all__ = sorted(_HOME)
__getattr__ = lazily(__name__, _HOME)
