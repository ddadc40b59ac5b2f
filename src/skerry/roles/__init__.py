"""What a process does: server, consumer, gateway, balancer. A laptop runs them together, production apart.

These names are what a role of another distribution is made of. They are loaded when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from skerry.faces import lazily

if TYPE_CHECKING:
    from skerry.roles.kind import RoleContext as RoleContext
    from skerry.roles.kind import RoleKind as RoleKind

_HOME = {
    "RoleContext": "skerry.roles.kind",
    "RoleKind": "skerry.roles.kind",
}

__all__ = sorted(_HOME)
__getattr__ = lazily(__name__, _HOME)
