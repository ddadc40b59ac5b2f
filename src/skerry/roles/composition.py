"""The one composition of a process: from what is declared, what is set and which backends, to what runs.

`skerry run`, the children of `skerry up` and `skerry.testing.running` all use it, so that what is tested is what runs.
Nothing is opened or started by it, and what cannot work is told: `rehearse` composes, before a process waits for
anything, what it will do, and throws that away. A successor that is to take over from a process that works must not
find its mistakes afterwards. Every process rehearses everything, also what only others do, so that the first one that
is replaced finds the mistakes of all.

Not here: how backends are opened (wiring.py), the life of a process (running.py), trying the application's own tables
(`skerry.journal.migration.rehearse`).
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from skerry.bus.bus import QueryBus
from skerry.bus.decider import Decider
from skerry.bus.handlers import Handler, bind, event_arguments
from skerry.clock import Clock, SystemClock
from skerry.http.health import Finding, Health
from skerry.kernel.checks import process_checks
from skerry.kernel.declaration import Declaration
from skerry.kernel.kernel import Kernel, render_plan
from skerry.kernel.metrics import register_memory_metrics
from skerry.kernel.role import Checking, Deciding, Listening, Reporting, Role
from skerry.kernel.runtime import Limits, Runtime
from skerry.kernel.services import Services
from skerry.kernel.sessions import declare_sessions
from skerry.kernel.settings import REPLACED_SECONDS, Settings
from skerry.kernel.supervised import employ, rehearse_parts
from skerry.roles.kind import RoleContext, RoleKind, role_kinds
from skerry.roles.wiring import Parts
from skerry.telemetry import Metric, Registry


@dataclass(frozen=True, slots=True)
class Composition:
    """What a process is made of, before anything of it is opened. `kernel` is None where no role needs the journal."""

    name: str
    declaration: Declaration
    settings: Settings
    kernel: Kernel | None
    runtime: Runtime
    kinds: tuple[RoleKind, ...]
    roles: tuple[Role, ...]
    listening: tuple[tuple[RoleKind, Listening], ...]
    """The roles that connections come to."""
    registry: Registry
    health: Health

    @property
    def stopped(self) -> list[str]:
        """The projections that do not follow the journal any more, and why."""
        if self.kernel is None:
            return []
        return [f"{name} stopped at {why}" for name, why in self.kernel.projector.stopped.items()]

    def metrics(self) -> list[Metric]:
        """The numbers of this process."""
        roles = (role for role in self.roles if isinstance(role, Reporting))
        return [*self.registry.collect(), *(metric for role in roles for metric in role.collect())]

    def gauges(self) -> dict[str, float | str]:
        """What `skerry ps` shows of this process."""
        found: dict[str, float | str] = {}
        for role in self.roles:
            if isinstance(role, Reporting):
                found |= role.gauges()
        return found


def compose(
    declaration: Declaration,
    settings: Settings,
    roles: Sequence[str | RoleKind],
    parts: Parts | None = None,
    *,
    name: str = "",
    clock: Clock | None = None,
    replace: Mapping[type, object] | None = None,
    all_metrics: Callable[[], Awaitable[str]] | None = None,
    hard_exit: Callable[[int], object] = os._exit,
) -> Composition:
    """Make everything that needs nothing opened, and check the rest: a process that says that it stands by for another
    one must not fail for a mistake of its code when it gets what it waits for.

    `parts`: its backends, None where no role needs any. `replace`: services, by type, instead of those that the
    application or Skerry would make. `hard_exit`: what ends a process that cannot end itself.
    Raises SettingsError, DeclarationError, and what the making of a service or part raises.
    """
    declaration, kinds = sealed(declaration, settings), role_kinds(roles)
    settings = settings.over(declaration.settings)
    name = name or settings.process or named(roles)
    replace = replace or {}
    given: Any = replace.get(Clock, clock)
    chosen: Clock = SystemClock() if given is None else given
    kernel = None
    if parts is not None:
        kernel = Kernel(
            declaration, settings, parts.transport, parts.reader, parts.writer,
            clock=chosen, name=name, replace=replace,
        )  # fmt: skip
        register_memory_metrics(kernel)
    registry = Registry() if kernel is None else kernel.registry
    runtime = Runtime(name, clock=chosen, registry=registry, limits=_limits(settings), hard_exit=hard_exit)
    services = _plain_services(declaration, settings, chosen, replace) if kernel is None else kernel.services
    services.add(runtime.loop)
    services.add(runtime.supervisor)
    shared = parts is not None and parts.shared
    context = RoleContext(name, declaration, settings, runtime, services, kernel, shared, all_metrics)
    made = [kind.make(context) for kind in kinds]
    doing = [name for kind in kinds for name in (kind.name, *kind.includes)]
    employ(declaration.supervised, runtime, doing, services.resolve, made)
    if kernel is not None:
        rehearse(kernel, decides=any(kind.journal == "decides" for kind in kinds))
        runtime.watch("projector", kernel.projector.events)
        runtime.watch("events", kernel.events)
    health = _health(kernel, runtime, kinds, made)
    listening = tuple(
        (kind, cast(Listening, role)) for kind, role in zip(kinds, made, strict=True) if kind.listens
    )
    return Composition(
        name, declaration, settings, kernel, runtime, tuple(kinds), tuple(made), listening, registry, health
    )


def named(roles: Sequence[str | RoleKind]) -> str:
    """What a process is called that has these roles and no other name."""
    return "-".join(each if isinstance(each, str) else each.name for each in roles)


def sealed(declaration: Declaration, settings: Settings) -> Declaration:
    """What is declared by now, with what the settings make Skerry declare: sessions that end early, with tokens."""
    found = declaration.sealed()
    if settings.tokens:
        declare_sessions(found)
    return found


def _limits(settings: Settings) -> Limits:
    longest = max(REPLACED_SECONDS, settings.drain)
    return Limits(role_seconds=max(longest + 20.0, settings.start_timeout), stop_seconds=2 * longest + 30.0)


def _plain_services(
    declaration: Declaration, settings: Settings, clock: Clock, replace: Mapping[type, object]
) -> Services:
    """The services of a process without journal and buses."""
    services = Services()
    services.add(settings)
    services.add(clock, Clock)
    for kind, factory in declaration.services.items():
        services.add_factory(kind, factory)
    services.replace(replace)
    return services


def _health(
    kernel: Kernel | None, runtime: Runtime, kinds: Sequence[RoleKind], roles: Sequence[Role]
) -> Health:
    def reasons() -> tuple[str, ...]:
        return runtime.reasons

    if kernel is None:
        health = Health()
        health.add("runtime", lambda: Finding(not (found := reasons()), "; ".join(found)))
    else:
        deciding = next((role for role in roles if isinstance(role, Deciding)), None)
        health = process_checks(
            kernel,
            reasons,
            reads=any(kind.journal == "reads" for kind in kinds),
            troubles=None if deciding is None else lambda: deciding.troubles,
        )
    for role in roles:
        if isinstance(role, Checking):
            for name, check in role.checks().items():
                health.add(name, check)
    return health


def rehearse(kernel: Kernel, *, decides: bool) -> None:
    """Compose what `kernel` was declared to do, and throw it away. `decides`: whether this process decides commands.
    Services are made only where this process makes them anyway; of the others it is looked whether they could be.
    Raises DeclarationError, and what a service's factory raises."""
    declared, promise = kernel.declaration, kernel.services.promise
    if decides:
        kernel.decider()
    else:
        Decider(declared.handlers.commands, declared.middlewares, kernel.serializer, promise, declared.tables)
    for reactor in declared.reactors:
        handler = Handler(reactor.events[0], reactor.react)
        resolve = kernel.services.resolve if decides else promise
        bind(handler, resolve, event_arguments(handler.message))
    for kind, listeners in declared.handlers.events.items():
        for listener in listeners:
            bind(listener, promise, event_arguments(kind))
    for event, render in declared.renderers.items():
        render_plan(event, render, promise)
    QueryBus(declared.handlers.queries).compile(promise)
    declared.http.check(promise)
    rehearse_parts(declared.supervised, promise)
