"""How a role is made known: its name, what it needs, what makes it.

    HOST = RoleKind("host", lambda context: HostRole(context.declaration.http, context.settings), listens="bind")

It stands in `skerry.plugins` (group `skerry.roles`); a role of another distribution is named by an entry point of that
group. Then `skerry run TARGET --role host` has it, and `compose(..., roles=("host",))`. One that needs more than a name
says is given as it is: `compose(..., roles=(tars_kind(service, ...),))`. A role can do more than the contract asks:
`Listening`, `Draining`, `Deciding`, `Reporting`, `Checking` of kernel/role.py.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from skerry.errors import SettingsError
from skerry.kernel.declaration import Declaration
from skerry.kernel.kernel import Kernel
from skerry.kernel.role import Role
from skerry.kernel.runtime import Runtime
from skerry.kernel.services import Services
from skerry.kernel.settings import Settings
from skerry.plugins import ROLES, find, names


@dataclass(frozen=True, slots=True)
class RoleContext:
    """What a role is made from. Nothing of it is opened yet."""

    name: str
    """Of the process."""
    declaration: Declaration
    settings: Settings
    runtime: Runtime
    """Its supervisor is the parent of a role's own; its `reasons` say why the process is not ready."""
    services: Services
    """What the application and Skerry make, by type."""
    known: Kernel | None = None
    shared: bool = False
    """Whether several processes may decide on the journal."""
    all_metrics: Callable[[], Awaitable[str]] | None = None
    """The numbers of all processes of a `skerry up` as text."""

    @property
    def kernel(self) -> Kernel:
        """Buses, memory and services; only for kinds with a `journal`."""
        assert self.known is not None, "a role that needs the journal says so in its RoleKind"
        return self.known


@dataclass(frozen=True, slots=True)
class RoleKind:
    """One role. `journal`: "reads" keeps the application's memory, "decides" has the journal's writing end, "" has
    neither journal nor broker opened for it. `listens`: the setting with its address, for a role that is `Listening`.
    `apart`: roles that cannot be in the same process, and why. `includes`: roles whose work is a part of this one, so
    that what the application supervises there runs here. `first`: it starts before all others."""

    name: str
    make: Callable[[RoleContext], Role]
    journal: Literal["", "reads", "decides"] = ""
    listens: str = ""
    apart: Mapping[str, str] = field(default_factory=dict)
    includes: tuple[str, ...] = ()
    first: bool = False


def role_kinds(chosen: Sequence[str | RoleKind]) -> list[RoleKind]:
    """The kinds of these roles, in the order in which they start: those that decide first. Raises SettingsError for one
    that there is not, or that cannot be beside another."""
    kinds: list[RoleKind] = []
    for name in chosen:
        kind = find(ROLES, name) if isinstance(name, str) else name
        if not isinstance(kind, RoleKind):
            raise SettingsError("role", f"{name!r} is none of {', '.join(names(ROLES))}")
        kinds.append(kind)
    for kind in kinds:
        for other in kind.apart.keys() & {each.name for each in kinds}:
            raise SettingsError("role", kind.apart[other])
    return sorted(kinds, key=lambda kind: (not kind.first, kind.journal != "decides"))
