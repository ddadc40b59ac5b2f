"""What an application declares, as plain lists: written by `skerry.App`, read by roles. It starts nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass, field, fields, replace
from typing import Any

from skerry.bus.handlers import Handlers, place_of
from skerry.bus.pipeline import Middleware
from skerry.errors import DeclarationError, SkerryError
from skerry.http.application import Application
from skerry.injection import Scoped
from skerry.journal.migration import Migrations
from skerry.journal.mirror import Mirror, MirrorRows
from skerry.journal.projection import Projection
from skerry.journal.reactor import Reactor
from skerry.journal.table import AnyTable
from skerry.kernel.supervised import Supervised
from skerry.messages.message import Event, MessageTypes

Render = Callable[..., Mapping[str, Any]]
"""Of an event, its record and services."""


@dataclass(slots=True)
class Live:
    """The application's stream of events: its path, and which projection gives the snapshot (a callable on the
    resolved services, yielding JSON payloads)."""

    path: str = "/events"
    snapshot: Callable[..., Any] | None = None


@dataclass(slots=True)
class Declaration:
    """One application. `namespace` is the default prefix of its queues and tables."""

    name: str
    http: Application
    handlers: Handlers = field(default_factory=Handlers)
    mirrors: dict[str, Mirror[Any]] = field(default_factory=dict)
    messages: MessageTypes = field(default_factory=MessageTypes)
    foreign: set[str] = field(default_factory=set)
    """Names of the events that the application's own transactions may leave (`skerry.hosting.emit`)."""
    middlewares: list[Middleware] = field(default_factory=list)
    tables: dict[str, AnyTable] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)
    """By the name of a table: which application or router declares it."""
    projections: list[type[Projection]] = field(default_factory=list)
    reactors: list[Reactor] = field(default_factory=list)
    services: dict[type, Callable[..., Any] | Scoped] = field(default_factory=dict)
    renderers: dict[type[Event], Render] = field(default_factory=dict)
    live: Live | None = None
    migrations: Migrations | None = None
    supervised: Supervised = field(default_factory=Supervised)
    settings: tuple[Any, ...] = ()
    """Records of settings that the application declares: what no other source sets."""
    unfinished: dict[object, str] = field(default_factory=dict)
    """Decorators that were made and decorated nothing: what was meant."""

    def check(self) -> None:
        """Raises DeclarationError for what can only be told when everything is declared."""
        for cure in self.unfinished.values():
            raise DeclarationError(cure)

    def sealed(self) -> Declaration:
        """What is declared by now, for a process that is composed of it: what is declared later is not in it."""
        return replace(self, **{each.name: _copied(getattr(self, each.name)) for each in fields(self)})

    @property
    def namespace(self) -> str:
        words = re.findall(r"[a-z0-9]+", self.name.lower())
        text = "_".join(words) if words and words[0][0].isalpha() else "_".join(["app", *words])
        return text[:20].rstrip("_")

    def mirrored_events(self) -> dict[str, str]:
        """The names of the events of mirrors, with the mirror that each is of."""
        return {
            kind.message_name: mirror.name
            for mirror in self.mirrors.values()
            for kind in (mirror.Put, mirror.Deleted)
        }

    def add_projection(self, projection: type[Projection]) -> None:
        """Learn a projection. Raises DeclarationError for one that cannot be kept, or of a name that there is."""
        projection.check_declaration()
        for other in self.projections:
            if other.__name__ == projection.__name__:
                raise DeclarationError(
                    f"two projections are named {other.__name__}: {place_of(other)} and {place_of(projection)}"
                )
        for event in projection.applied_events():
            self.messages.add(event)
        for table in projection.source_tables():
            self.use_table(table)
        self.projections.append(projection)

    def add_reactor(self, reactor: Reactor) -> None:
        """Learn a reactor. Raises DeclarationError for one of a name that there is."""
        for other in self.reactors:
            if other.name == reactor.name:
                places = f"{place_of(other.react)} and {place_of(reactor.react)}"
                raise DeclarationError(f"two reactors are named {reactor.name!r}: {places}")
        for event in reactor.events:
            self.messages.add(event)
        self.reactors.append(reactor)

    def add_renderer(self, event: type[Event], render: Render) -> None:
        """Learn how an event looks. Raises DeclarationError when it is known."""
        self.messages.add(event)
        other = self.renderers.setdefault(event, render)
        if other is not render:
            raise DeclarationError(
                f"two functions render {event.__name__}: {place_of(other)} and {place_of(render)}"
            )

    def add_service(self, kind: type, factory: Callable[..., Any] | Scoped) -> None:
        """Learn what makes a service. Raises DeclarationError when something else makes it."""
        other = self.services.setdefault(kind, factory)
        if other is not factory:
            places = " and ".join(
                place_of(each.factory if isinstance(each, Scoped) else each) for each in (other, factory)
            )
            raise DeclarationError(f"two factories make the service {kind.__name__}: {places}")

    def include(self, part: Declaration, prefix: str, tags: tuple[str, ...]) -> None:
        """Learn everything that a part of the application declares. Raises DeclarationError."""
        try:
            self._learn(part)
            self.http.include(part.http, prefix, tags)
        except SkerryError as error:
            raise DeclarationError(f"router {part.name}, included in {self.name}: {error}") from error

    def _learn(self, part: Declaration) -> None:
        for mirror in part.mirrors.values():
            self.use_mirror(mirror)
        for table in part.tables.values():
            self.use_table(table, part.owners[table.name])
        for message in part.messages:
            self.messages.add(message)
        for projection in part.projections:
            if not issubclass(projection, MirrorRows):
                self.add_projection(projection)
        for reactor in part.reactors:
            self.add_reactor(reactor)
        for event, render in part.renderers.items():
            self.add_renderer(event, render)
        for kind, factory in part.services.items():
            self.add_service(kind, factory)
        self.handlers.include(part.handlers)
        self.supervised.include(part.supervised)
        self.foreign |= part.foreign
        self.unfinished |= part.unfinished

    def use_mirror(self, mirror: Mirror[Any]) -> None:
        """Learn a mirror. Raises DeclarationError when a table or another one has its name."""
        if mirror.name in self.mirrors or mirror.name in self.tables:
            raise DeclarationError(f"two tables or mirrors are named {mirror.name!r}")
        self.mirrors[mirror.name] = mirror
        self.projections.append(mirror.projection)
        for kind in (mirror.Put, mirror.Deleted):
            self.messages.add(kind)

    def use_table(self, table: AnyTable, owner: str = "") -> None:
        """Learn a table, which `owner` declares (by default this). Raises DeclarationError when another one has its
        name."""
        owner = owner or self.name
        if isinstance(table, Mirror):
            if self.mirrors.get(table.name) is not table:
                raise DeclarationError(f"{table!r} is a mirror of another application")
            return
        if self.tables.setdefault(table.name, table) is not table:
            first = self.owners[table.name]
            places = f": one of {first}, one of {owner}" if first != owner else ""
            raise DeclarationError(f"two tables are named {table.name!r}{places}")
        self.owners.setdefault(table.name, owner)
        for kind in (*table.puts, *table.deletes):
            self.messages.add(kind)


def _copied(value: Any) -> Any:
    """The same, in containers of its own."""
    if isinstance(value, Application):
        return value.copy()
    if isinstance(value, dict):
        return {key: _copied(each) for key, each in value.items()}
    if isinstance(value, list | set):
        return copy(value)
    if isinstance(value, Handlers | MessageTypes | Supervised):
        made = copy(value)
        for name in [f.name for f in fields(value)] if isinstance(value, Supervised) else vars(value):
            setattr(made, name, _copied(getattr(value, name)))
        return made
    return value
