"""Services by type: what handlers and views ask for in their annotations.

One object per type, made before the first request. Factories run once, on first need; circles are found.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from skerry.errors import DeclarationError
from skerry.injection import Plan, Resolve, Scoped, named

T = TypeVar("T")
_PROMISED = object()


class Services:
    """Finds objects by their class, or by a base class that only one of them has."""

    def __init__(self) -> None:
        self._made: dict[type, Any] = {}
        self._factories: dict[type, Callable[..., Any]] = {}
        self._making: list[type] = []
        self._made_of: dict[int, list[object]] = {}

    def add(self, service: object, kind: type | None = None) -> None:
        """Offer an object, under its own class unless `kind` is given."""
        self._made[kind or type(service)] = service

    def add_factory(self, kind: type, factory: Callable[..., Any] | Scoped) -> None:
        """Offer what `factory` returns; its parameters are services in turn. Raises DeclarationError for one of the
        process that is asynchronous or yields: what is awaited, or cleaned up, belongs to a call or to a lifespan."""
        if isinstance(factory, Scoped):
            self._made[kind] = factory
            return
        called = _called(factory)
        if inspect.iscoroutinefunction(factory) or inspect.isasyncgenfunction(factory):
            raise DeclarationError(
                f'{called} is async: a service of the process is made by a plain function, one of scope="call" by any'
            )
        if inspect.isgeneratorfunction(factory):
            raise DeclarationError(f'{called} yields: that is for @app.service(scope="call")')
        self._factories[kind] = factory

    def replace(self, services: Mapping[type, object]) -> None:
        """Give these instead of what would be made: whatever asks for that type gets them. Raises DeclarationError when
        there is nothing to replace, or a class is given in place of an object."""
        for kind, service in services.items():
            if isinstance(service, type):
                raise DeclarationError(
                    f"replace {kind.__name__}: give an object, not the class {service.__name__}"
                )
            try:
                known = kind if kind in self._made or kind in self._factories else self._only_one(kind)
            except LookupError as error:
                raise DeclarationError(f"replace {kind.__name__}: {error}") from error
            for each in {kind, known}:
                self._made[each] = service
                self._factories.pop(each, None)

    def resolve(self, kind: type[T]) -> T:
        """The service of that class. Raises LookupError when there is none or more than one candidate, DeclarationError
        when its factory fails."""
        if kind in self._made:
            return self._made[kind]  # type: ignore[no-any-return]
        if kind in self._factories:
            return self._make(kind)  # type: ignore[no-any-return]
        return self.resolve(self._only_one(kind))

    def promise(self, kind: type) -> object:
        """Whether `resolve` would find something: like it, but nothing is made, and what is returned is of no use.
        Raises LookupError, DeclarationError."""
        self._can_make(kind, ())
        made = self._made.get(kind)
        return made if isinstance(made, Scoped) else _PROMISED

    def _can_make(self, kind: type, making: tuple[type, ...]) -> None:
        if kind in self._made:
            return
        if kind not in self._factories:
            self._can_make(self._only_one(kind), making)
            return
        if kind in making:
            raise DeclarationError(_circle(*making, kind))

        def promised(wanted: type) -> object:
            self._can_make(wanted, (*making, kind))
            return _PROMISED

        _plan(self._factories[kind], promised)

    def _only_one(self, kind: type) -> type:
        """The one candidate whose class is below `kind`. Raises LookupError when there is none, or several."""
        candidates = [each for each in {**self._made, **self._factories} if _is_below(each, kind)]
        if len(candidates) != 1:
            names = ", ".join(c.__name__ for c in candidates) or "none"
            wanted = getattr(kind, "__name__", repr(kind))
            raise LookupError(f"no single service of type {wanted} (candidates: {names})")
        return candidates[0]

    def parts(self, service: object) -> Iterator[object]:
        """The service itself, and what its factory was given, down to the last."""
        yield service
        for part in self._made_of.get(id(service), ()):
            yield from self.parts(part)

    def _make(self, kind: type) -> Any:
        if kind in self._making:
            raise DeclarationError(_circle(*self._making, kind))
        self._making.append(kind)
        try:
            factory = self._factories[kind]
            plan = _plan(factory, self.resolve)
            try:
                made = plan.compile()()
            except Exception as error:
                what = f"{_called(factory)} failed to make it: {type(error).__name__}: {error}"
                raise DeclarationError(f"service {kind.__name__}: {what}") from error
        finally:
            self._making.pop()
        self._made[kind] = made
        self._made_of.setdefault(id(made), []).extend(plan.services)
        return made


def _plan(factory: Callable[..., Any], resolve: Resolve) -> Plan:
    """How a service of the process is made. Raises DeclarationError when it asks for one of a call."""

    def lasting(kind: Any) -> Any:
        service = resolve(kind)
        if isinstance(service, Scoped):
            raise DeclarationError(f"{named(kind)} is made for each call, and cannot be kept for the process")
        return service

    return Plan(factory, _called(factory), (), (), lasting)


def _called(factory: Callable[..., Any]) -> str:
    return getattr(factory, "__qualname__", repr(factory))


def _circle(*kinds: type) -> str:
    return f"services need each other in a circle: {' -> '.join(kind.__name__ for kind in kinds)}"


def _is_below(kind: type, other: Any) -> bool:
    """`issubclass`, where it may be asked: not of a Protocol without run-time checks, not of `list[int]`."""
    try:
        return issubclass(kind, other)
    except TypeError:
        return False
