"""What an application adds to the supervision of its processes: rules, parts of its own, plugins.

Declared on `App`, kept in `Supervised`, composed by `employ`: plugins start before every role and stop after it, parts
start after the roles and stop before them. All of them are children of the one supervisor that has the roles.
Not here: what a supervisor does (`skerry.supervision`).
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

from skerry import plugins
from skerry.errors import DeclarationError
from skerry.injection import Plan, Resolve
from skerry.kernel.role import Role
from skerry.kernel.runtime import Runtime
from skerry.supervision.children import Child, TaskChild
from skerry.supervision.policy import Intensity
from skerry.supervision.rules import Rules, SolverPlugin
from skerry.supervision.solvers import Solver


class ProcessPlugin(Protocol):
    """Something that begins and ends with each process of an application: `app.plug(plugin)`. Both may be `async`;
    parameters of `start` are services, injected by their types. A plugin may have `rules()` as well."""

    @property
    def start(self) -> Callable[..., Awaitable[object] | object]: ...
    @property
    def stop(self) -> Callable[[], Awaitable[object] | object]: ...


@dataclass(frozen=True, slots=True)
class Part:
    """A supervised part: a coroutine function, or what makes an object that starts and stops. `roles`: in which
    processes."""

    name: str
    make: Callable[..., Any]
    roles: tuple[str, ...] = ("server",)
    intensity: Intensity | None = None
    ends: bool = False

    def plan(self, resolve: Resolve) -> Plan:
        """How it is called. Raises DeclarationError for a parameter that nothing fills."""
        return Plan(self.make, f"supervised part {self.name}", (), (), resolve)


@dataclass(slots=True)
class Supervised:
    """Of one application, in the order of declaration."""

    rules: list[tuple[type[BaseException], tuple[Solver, ...]]] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    plugins: list[object] = field(default_factory=list)

    def add_rule(self, kind: type[BaseException], solvers: tuple[Solver, ...]) -> None:
        """Raises SupervisionError for a malformed rule."""
        Rules().add(kind, solvers)
        self.rules.append((kind, solvers))

    def add_part(self, part: Part) -> None:
        """Raises DeclarationError for a second one of its name, and for what cannot be a part."""
        if part.name in {*plugins.names(plugins.ROLES), *(each.name for each in self.parts)}:
            raise DeclarationError(f"two parts are named {part.name!r}: give one another name=")
        made = part.make
        if inspect.isclass(made) and not (hasattr(made, "start") and hasattr(made, "stop")):
            raise DeclarationError(f"supervised part {part.name}: it needs the methods start() and stop()")
        if inspect.isasyncgenfunction(made) or inspect.isgeneratorfunction(made):
            raise DeclarationError(f"supervised part {part.name}: a generator cannot be supervised")
        if part.ends and not inspect.iscoroutinefunction(made):
            raise DeclarationError(f"supervised part {part.name}: ends= is for an async def")
        self.parts.append(part)

    def include(self, others: Supervised) -> None:
        """Take over what a part of the application declares. Raises DeclarationError."""
        for kind, solvers in others.rules:
            self.add_rule(kind, solvers)
        for part in others.parts:
            self.add_part(part)

    def add_plugin(self, plugin: object) -> None:
        """Raises DeclarationError for what has neither rules nor start and stop."""
        begins = [callable(getattr(plugin, name, None)) for name in ("start", "stop")]
        if not (all(begins) or (not any(begins) and _rules_of(plugin))) or inspect.isclass(plugin):
            raise DeclarationError(
                f"{plugin!r} is no plugin: an object with rules(), with start() and stop(), or with all three"
            )
        if any(_named(plugin) == _named(each) for each in self.plugins):
            raise DeclarationError(f"two plugins are named {_named(plugin)!r}: give one another `name`")
        if rules := _rules_of(plugin):
            Rules().plug(rules)
        self.plugins.append(plugin)


def rehearse_parts(supervised: Supervised, promise: Resolve) -> None:
    """Whether everything that is supervised gets what it asks for. Raises DeclarationError."""
    for part in supervised.parts:
        part.plan(promise)
    for plugin in supervised.plugins:
        if hasattr(plugin, "start"):
            Plan(plugin.start, _named(plugin), (), (), promise)


def employ(
    supervised: Supervised, runtime: Runtime, names: Sequence[str], resolve: Resolve, roles: Sequence[Role]
) -> None:
    """Give `runtime` the rules and plugins, then its `roles`, then the parts of a process with roles of these `names`.
    Raises DeclarationError, and what the making of a part raises."""
    for kind, solvers in supervised.rules:
        runtime.supervisor.rule(kind, *solvers)
    for plugin in supervised.plugins:
        if rules := _rules_of(plugin):
            runtime.supervisor.plug(rules)
        if hasattr(plugin, "start"):
            begins = cast(ProcessPlugin, plugin)
            start = Plan(begins.start, _named(plugin), (), (), resolve).compile()
            runtime.add(Started(_named(plugin), start, begins.stop))
    for role in roles:
        runtime.add(role)
    for part in supervised.parts:
        if not set(part.roles) & set(names):
            continue
        make = part.plan(resolve).compile()
        if inspect.iscoroutinefunction(part.make):
            child: Child = TaskChild(part.name, make, runtime.report, ends=part.ends)
            runtime.add(Started(part.name, child.start, child.stop), intensity=part.intensity)
        else:
            runtime.add(
                _started(part.name, make()),
                make=lambda name=part.name, make=make: _started(name, make()),  # type: ignore[misc]
                intensity=part.intensity,
            )


class Started:
    """Anything that starts and stops, as a role of a process. `held`: what knows `hold` and `resume` too."""

    def __init__(
        self,
        name: str,
        start: Callable[[], Awaitable[object] | object],
        stop: Callable[[], Awaitable[object] | object],
        held: object = None,
    ) -> None:
        self.name = name
        self._start, self._stop, self._held = start, stop, held

    async def start(self) -> None:
        await _done(self._start())

    async def stop(self) -> None:
        await _done(self._stop())

    async def hold(self) -> None:
        """While the process is being mended: for parts that know it; others go on."""
        if callable(hold := getattr(self._held, "hold", None)):
            await _done(hold())

    async def resume(self) -> None:
        if callable(resume := getattr(self._held, "resume", None)):
            await _done(resume())


def _started(name: str, made: Any) -> Started:
    if not (callable(getattr(made, "start", None)) and callable(getattr(made, "stop", None))):
        raise DeclarationError(
            f"supervised part {name}: it is an async def, or makes an object with start() and stop(); "
            f"it made {type(made).__name__}"
        )
    return Started(name, made.start, made.stop, made)


async def _done(result: Awaitable[object] | object) -> None:
    if inspect.isawaitable(result):
        await result


def _rules_of(plugin: object) -> SolverPlugin | None:
    return cast(SolverPlugin, plugin) if callable(getattr(plugin, "rules", None)) else None


def _named(plugin: object) -> str:
    return f"plugin {getattr(plugin, 'name', None) or type(plugin).__name__}"


def checked_roles(roles: Iterable[str]) -> tuple[str, ...]:
    """Raises DeclarationError for a role that there is not."""
    found = tuple(roles)
    known = plugins.names(plugins.ROLES)
    for role in found:
        if role not in known:
            raise DeclarationError(f"supervise(roles=...): {role!r} is none of {', '.join(known)}")
    return found
