"""A servant: an object whose functions are called from outside, and how each of them is run.

Looks once, at start, at what was written: which functions of the interface are there, which are coroutines,
which are plain, and what fills parameters beyond those of the interface. Nothing is looked up by reflection when a
request comes. It runs nothing itself: `adapter` does.

- `async def`: a task in the event loop. The usual case.
- plain `def`: a thread of the server's pool, so that it may block.
- plain `def` with `@lane`: called at once inside the loop, without task or thread. For functions that only
  look something up in memory; one that blocks stops the whole server.
"""

from __future__ import annotations

import enum
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from skerry.errors import DeclarationError
from skerry.injection import Plan, Resolve, Scoped, by_name
from skerry.tars.call import Call, current
from skerry.tars.wire.interface import Function, Interface, interface_of

F = TypeVar("F", bound=Callable[..., Any])
_LANE = "__tars_lane__"


def lane(function: F) -> F:
    """Mark a plain function that never blocks: it answers inside the connection's own turn."""
    if inspect.iscoroutinefunction(function):
        raise DeclarationError(f"@lane is for plain functions, {function.__qualname__} is a coroutine")
    setattr(function, _LANE, True)
    return function


def no_services(kind: Any) -> Any:
    """The resolver of a server that has no services."""
    raise LookupError(f"no service {kind!r}")


class Kind(enum.Enum):
    """How a function is run."""

    TASK = "task"
    THREAD = "thread"
    LANE = "lane"


@dataclass(frozen=True, slots=True)
class Method:
    """One function of a servant, ready to be called."""

    function: Function
    call: Callable[..., Any]
    kind: Kind


@dataclass(frozen=True, slots=True)
class Servant:
    """An implementation under its object name `App.Server.Obj`."""

    name: str
    interface: Interface
    methods: dict[str, Method]

    @classmethod
    def of(cls, name: str, instance: object, resolve: Resolve = no_services) -> Servant:
        """Read an implementation. `resolve` gives the services for parameters behind those of the interface; `Call`
        there is the call being served. DeclarationError when it is no servant, lacks functions of its interface, or
        has a parameter that nothing fills."""
        kind = type(instance).__name__
        if isinstance(instance, type):
            raise DeclarationError(f"{name}: pass an instance, {instance.__name__}(), not the class")
        try:
            interface = interface_of(instance)
        except TypeError as error:
            raise DeclarationError(
                f"{name}: {kind} does not derive from an interface of an IDL file"
            ) from error
        if missing := interface.missing(type(instance)):
            raise DeclarationError(f"{name}: {kind} lacks {', '.join(missing)} of {interface.name}")
        methods: dict[str, Method] = {}
        for function in interface.functions.values():
            call = getattr(instance, function.python_name)
            filled = _filled(call, f"{kind}.{function.python_name}", len(function.inputs), resolve)
            methods[function.name] = Method(function, filled, _kind(call))
        return cls(name, interface, methods)

    @property
    def needs_threads(self) -> bool:
        """Whether any function is plain."""
        return any(method.kind is Kind.THREAD for method in self.methods.values())


def _filled(call: Callable[..., Any], where: str, inputs: int, resolve: Resolve) -> Callable[..., Any]:
    """The function with what is injected behind its first parameters, which are the interface's."""
    try:
        parameters = list(inspect.signature(call).parameters.values())
    except ValueError:  # something in C: it does not tell
        return call
    positional = [each for each in parameters if each.kind is not each.VAR_KEYWORD]
    if len(positional) <= inputs or any(each.kind is each.VAR_POSITIONAL for each in positional):
        return call
    names = [each.name for each in positional[:inputs]]

    def service(kind: Any) -> Any:
        return Scoped(current) if kind is Call else resolve(kind)

    otherwise = "one of the interface's parameters, nor tars.Call"
    return Plan(call, where, names, [by_name(names)], service, otherwise=otherwise).compile()


def _kind(call: Callable[..., Any]) -> Kind:
    if inspect.iscoroutinefunction(call) or inspect.iscoroutinefunction(getattr(call, "__call__", None)):  # noqa: B004
        return Kind.TASK
    return Kind.LANE if getattr(call, _LANE, False) else Kind.THREAD
