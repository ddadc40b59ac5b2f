"""The client of a request, and what it may do. Pure values; how they are found is `http.authentication`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, Protocol

Right = Literal["read", "write"]
Source = Literal["token", "session", "application"]
IDENTITY = "skerry_identity"
"""Where the `state` of an ASGI scope has the Identity (`request.state.skerry_identity` in Starlette)."""
NO_CLAIMS: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Identity:
    """An authenticated client and its rights.

    `subject`: unique and stable: events, logs and idempotency keys name it. `name`: for people, the subject unless
    given. `rights`: `read`, `write` (which includes `read`), and further ones of the application. `claims`: other
    data, such as the claims of a JWT. `expires`: seconds since 1970, after which it is no proof any more. `source`: a
    token, a browser that logged in with one (`session`), or `app.authenticate`. `session`: the id of that browser's
    session, "" without one. Raises ValueError for an empty subject.
    """

    subject: str
    name: str = ""
    rights: Collection[str] = frozenset({"read"})
    claims: Mapping[str, Any] = field(default_factory=lambda: NO_CLAIMS, hash=False)
    expires: float | None = None
    source: Source = "application"
    session: str = ""

    def __post_init__(self) -> None:
        if type(self.subject) is not str or not self.subject:
            raise ValueError(f"an identity needs a subject, a text, got {self.subject!r}")
        given = (self.rights,) if isinstance(self.rights, str) else self.rights
        rights = frozenset(given)
        object.__setattr__(self, "rights", rights | {"read"} if "write" in rights else rights)
        if not self.name:
            object.__setattr__(self, "name", self.subject)

    def may(self, right: str) -> bool:
        """Whether this right is among theirs."""
        return right in self.rights

    @property
    def right(self) -> Right:
        """`write` or `read`, whichever is more."""
        return "write" if "write" in self.rights else "read"

    @property
    def by_cookie(self) -> bool:
        """Whether a browser that logged in with a token sent it."""
        return self.source == "session"

    @property
    def scope(self) -> str:
        """The scope of its idempotency keys: those of other identities differ."""
        return self.subject if self.source != "application" else f"application {self.subject}"


class Guarded(Protocol):
    """A route, as far as it asks for a right."""

    @property
    def right(self) -> str | None: ...


class Remembered:
    """The identity that a header block proved. It counts while the generation is the same, and `until` (seconds since
    1970; None: as long as the generation) has not passed. `route`: the last one that it was found to open."""

    __slots__ = ("generation", "identity", "route", "until")

    def __init__(self, identity: Identity, generation: int, until: float | None) -> None:
        self.identity, self.generation = identity, generation
        self.until = None if until is None else float(until)  # two of a kind are compared faster
        self.route: Guarded | None = None

    def opens(self, route: Guarded) -> bool:
        """Whether the identity has the right that this route asks for."""
        if route.right not in self.identity.rights:
            return False
        self.route = route
        return True
