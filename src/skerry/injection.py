"""What a function is called with: its signature becomes a plan, once, and the plan one callable.

A parameter gets, in this order: one of the call's own values (a message, a request, a path parameter: `sources` say
which), a service of its type, its default, None where the annotation allows it. What nothing fills is a
DeclarationError, with the same sentence for views, handlers, listeners, reactors, renderers, snapshots, middleware and
factories. A service whose factory raises is that error, whatever the parameter's default.

A `Scoped` service is made for each call, once however many parameters want it, and ended with the call: its factory is
a function, or a generator that yields the value and cleans up after the `yield`.

Not here: which values a call has (`http/binding.py`, `bus/handlers.py`), how services are kept (`kernel/services.py`).
"""

from __future__ import annotations

import asyncio
import inspect
import sys
import typing
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Any

from skerry.errors import DeclarationError

EMPTY = inspect.Parameter.empty


Resolve = Callable[[Any], Any]
"""Gives the service of a type, or a `Scoped` one. Raises LookupError when there is none of that type, DeclarationError
when it cannot be made."""


@dataclass(frozen=True, slots=True)
class Scoped:
    """A service that is made for each call. `factory` may be a function, a coroutine function, or a generator function
    of either kind that yields once; its own parameters are injected like any other."""

    factory: Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of the function that `where` names. `annotation` is whole, `plain` without `Annotated` and
    `| None`."""

    where: str
    name: str
    annotation: Any
    plain: Any
    default: Any = EMPTY
    takes_none: bool = False
    keyword_only: bool = False

    @property
    def required(self) -> bool:
        """Whether it has no default."""
        return self.default is EMPTY


@dataclass(frozen=True, slots=True)
class Read:
    """A value that is computed from the call's own: `read(argument)`."""

    read: Callable[[Any], Any]
    argument: str


Source = Callable[[Parameter], "str | Read | None"]
"""Says what fills a parameter: the name of an argument of the call, a `Read` of one, or None: not this source."""


def parameters_of(function: Callable[..., Any], where: str) -> tuple[tuple[Parameter, ...], Any]:
    """The parameters of a function or callable object, and its return annotation. DeclarationError, which begins with
    `where`, for annotations that cannot be resolved and for `*args`."""
    try:
        signature = inspect.signature(function)
        annotated: Any = function
        if inspect.isclass(function):
            annotated = function.__init__
        elif not inspect.isroutine(function):
            annotated = type(function).__call__
        hints = typing.get_type_hints(annotated, include_extras=True)
    except (NameError, TypeError, AttributeError, ValueError) as error:
        raise DeclarationError(f"{where}: its annotations cannot be resolved: {error}") from error
    found = []
    for parameter in signature.parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise DeclarationError(f"{where}: *{parameter.name} cannot be filled; name each parameter")
        annotation = hints.get(parameter.name, EMPTY)
        plain, takes_none = plain_of(annotation)
        keyword_only = parameter.kind is parameter.KEYWORD_ONLY
        found.append(
            Parameter(where, parameter.name, annotation, plain, parameter.default, takes_none, keyword_only)
        )
    return tuple(found), hints.get("return", EMPTY)


def made_by(factory: Callable[..., Any]) -> Any:
    """What a factory returns or, a generator function, yields, by its annotation."""
    made = typing.get_type_hints(factory).get("return")
    if inspect.isgeneratorfunction(factory) or inspect.isasyncgenfunction(factory):
        return next(iter(typing.get_args(made)), None)
    return made


def by_name(names: typing.Collection[str]) -> Source:
    """The source of a call whose values are known by their names."""
    return lambda parameter: parameter.name if parameter.name in names else None


class Plan:
    """How `function` is called with `arguments` (their names), and with what `sources` and `resolve` give for the rest
    of its parameters. `where` begins every error, `otherwise` says in it what a parameter may be besides a service
    (a text, or a sentence about the parameter).

    `parameters`, `result`: its signature. `given`: services of the process by the parameters that take them.
    `is_async`: the composed callable returns an awaitable. Raises DeclarationError for a parameter that nothing fills.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        where: str,
        arguments: Sequence[str],
        sources: Sequence[Source],
        resolve: Resolve,
        *,
        otherwise: str | Callable[[Parameter], str] = "",
    ) -> None:
        self._function, self._arguments, self._sources = function, tuple(arguments), sources
        self._resolve, self._otherwise = resolve, otherwise
        self._steps: list[str] = []
        self._values: dict[str, Any] = {"function": function}
        self._scoped_names: dict[Any, str] = {}
        self._making: list[Any] = []
        self._services: list[Any] = []
        self.given: dict[str, Any] = {}
        self.is_async = inspect.iscoroutinefunction(_called(function))
        self._awaits = self.is_async
        self.parameters, self.result = parameters_of(function, where)
        self._passed = self._all_filled(self.parameters)

    @property
    def services(self) -> Sequence[Any]:
        """The services of the process that it is called with, those that its scoped services need included."""
        return self._services

    def compile(self, body: str = "return {call}", **values: Any) -> Callable[..., Any]:
        """One callable of the arguments. `body` is its text, `{call}` in it the call of the function, `{arguments}` the
        arguments; further names in it are found in `values`."""
        names = ", ".join(self._arguments)
        if body == "return {call}" and not self._steps and self._passed == list(self._arguments):
            return self._function
        call = f"function({', '.join(self._passed)})"
        namespace = {**self._values, **values}
        text = ""
        if self._steps:
            namespace["within"] = _within_async if self.is_async else _within
            lines = "".join(f"\n    {step}" for step in self._steps)
            given = "".join(f", {name}" for name in self._arguments)
            prefix, waits = "async " if self.is_async else "", "await " if self._awaits else ""
            text = f"{prefix}def scoped(stack{given}):{lines}\n    return {waits}{call}\n"
            call = f"within(scoped{given})"
        lines = "".join(f"\n    {line}" for line in body.format(call=call, arguments=names).splitlines())
        # As dataclasses makes __init__: the names are ours, values come in by the namespace.
        exec(f"{text}def call({names}):{lines}", namespace)
        composed: Callable[..., Any] = namespace["call"]
        return composed

    def _all_filled(self, parameters: Sequence[Parameter]) -> list[str]:
        texts = []
        for parameter in parameters:
            text = self._filled(parameter)
            texts.append(f"{parameter.name}={text}" if parameter.keyword_only else text)
        return texts

    def _filled(self, parameter: Parameter) -> str:
        """The text of a parameter's value."""
        for source in self._sources:
            match source(parameter):
                case str() as argument:
                    return argument
                case Read(read, argument):
                    return f"{self._name(read)}({argument})"
        if parameter.annotation is EMPTY:
            if parameter.required:
                what = f"parameter {parameter.name} needs a type to be injected by"
                raise DeclarationError(f"{parameter.where}: {what}{self._hint(parameter)}")
            return self._name(parameter.default)
        try:
            service = self._resolve(parameter.plain)
        except LookupError as error:
            if not parameter.required:
                return self._name(parameter.default)
            if parameter.takes_none:
                return "None"
            what = f"nothing fills parameter {parameter.name}: there is no service {named(parameter.plain)}"
            raise DeclarationError(f"{parameter.where}: {what}{self._hint(parameter)}") from error
        except DeclarationError as error:
            raise DeclarationError(f"{parameter.where}: parameter {parameter.name}: {error}") from error
        if isinstance(service, Scoped):
            return self._scoped(parameter.plain, service)
        self.given.setdefault(parameter.name, service)
        self._services.append(service)
        return self._name(service)

    def _scoped(self, kind: Any, service: Scoped) -> str:
        """The name of a service of the call; the first time with the statements that make it."""
        made = self._scoped_names.get(kind)
        if made is not None:
            return made
        where = f"the service {named(kind)}"
        if kind in self._making:
            circle = " -> ".join(map(named, [*self._making[self._making.index(kind) :], kind]))
            raise DeclarationError(f"{where} needs itself: {circle}")
        self._making.append(kind)
        arguments = ", ".join(self._all_filled(parameters_of(service.factory, where)[0]))
        self._making.pop()
        factory, name = _called(service.factory), f"s{len(self._scoped_names)}"
        if inspect.isasyncgenfunction(factory):
            self.is_async = True
            step = f"await stack.enter_async_context({self._name(asynccontextmanager(factory))}({arguments}))"
        elif inspect.isgeneratorfunction(factory):
            step = f"stack.enter_context({self._name(contextmanager(factory))}({arguments}))"
        elif inspect.iscoroutinefunction(factory):
            self.is_async = True
            step = f"await {self._name(service.factory)}({arguments})"
        else:
            step = f"{self._name(service.factory)}({arguments})"
        self._steps.append(f"{name} = {step}")
        self._scoped_names[kind] = name
        return name

    def _name(self, value: Any) -> str:
        name = f"v{len(self._values)}"
        self._values[name] = value
        return name

    def _hint(self, parameter: Parameter) -> str:
        if callable(self._otherwise):
            return f", and {self._otherwise(parameter)}"
        return f", and it is not {self._otherwise}" if self._otherwise else ""


def _within(body: Callable[..., Any], *arguments: Any) -> Any:
    """Call, and end the scoped services: at once, or when the future that it returned is done."""
    stack = ExitStack()
    try:
        result = body(stack, *arguments)
    except BaseException:
        stack.__exit__(*sys.exc_info())
        raise
    if isinstance(result, asyncio.Future):
        result.add_done_callback(lambda done: stack.close())
    else:
        stack.close()
    return result


async def _within_async(body: Callable[..., Any], *arguments: Any) -> Any:
    stack = AsyncExitStack()
    try:
        result = await body(stack, *arguments)
    except BaseException:
        await stack.__aexit__(*sys.exc_info())
        raise
    await stack.aclose()
    return result


def _called(function: Any) -> Any:
    """What runs when it is called: the function itself, or an object's `__call__`."""
    if inspect.isroutine(function) or inspect.isclass(function):
        return function
    return getattr(function, "__call__", function)  # noqa: B004 - the method is wanted, not whether there is one


def plain_of(annotation: Any) -> tuple[Any, bool]:
    """An annotation without `Annotated`, and without `| None`, of which it is said whether it was there."""
    if typing.get_origin(annotation) is typing.Annotated:
        annotation = annotation.__origin__
    if typing.get_origin(annotation) in (typing.Union, UnionType):
        options = [option for option in typing.get_args(annotation) if option is not NoneType]
        takes_none = len(options) < len(typing.get_args(annotation))
        if takes_none and len(options) == 1:
            return plain_of(options[0])[0], True
        return annotation, takes_none
    return annotation, annotation in (None, NoneType)


def named(kind: Any) -> str:
    """A type in messages."""
    return getattr(kind, "__name__", None) or repr(kind)
