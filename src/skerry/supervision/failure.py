"""A failure as a value: who failed, with what, when, how often, and the whole traceback.

It can cross a process border: `to_wire` gives plain values, `from_wire` reads them back. What arrives names its
classes as text and never makes an exception of them, so nobody can have a class instantiated from outside;
rules match by these names as well as by real classes.

Not here: what to do about it (policy, solvers, supervisor).
"""

from __future__ import annotations

import traceback
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from skerry.errors import SkerryError

MOST_TRACEBACK = 65_536
"""A traceback longer than this many characters loses its middle."""


class SupervisionError(SkerryError):
    """A supervisor was asked for something impossible, or gives up."""


class ChildEnded(SupervisionError):
    """A child that is meant to run for ever has returned."""

    def __init__(self, child: str) -> None:
        super().__init__(f"{child} has ended by itself")
        self.child = child


class IntensityExceeded(SupervisionError):
    """A child was restarted as often as it may be."""

    def __init__(self, child: str, reason: str) -> None:
        super().__init__(f"{child}: {reason}")
        self.child, self.reason = child, reason


@dataclass(frozen=True, slots=True)
class Failure:
    """`component` failed. `kinds` are the names of the exception's classes, most specific first."""

    component: str
    kinds: tuple[str, ...]
    message: str
    traceback: str
    at: float
    """Seconds since 1970."""
    count: int = 1
    """The how many-th failure of this kind of this component."""
    generation: int = 0
    """How often the component had been started when it failed; an older failure was dealt with by a restart."""
    cause: Failure | None = None
    """For an escalated failure: what it began with."""
    error: BaseException | None = field(default=None, compare=False, repr=False)
    """The exception itself; None when it happened in another process."""
    operation: Callable[[], Awaitable[object] | object] | None = field(
        default=None, compare=False, repr=False
    )
    """What `retry` does again; None when there is nothing to repeat."""

    @classmethod
    def of(
        cls,
        component: str,
        error: BaseException,
        *,
        at: float,
        cause: Failure | None = None,
        operation: Callable[[], Awaitable[object] | object] | None = None,
    ) -> Failure:
        """The failure of `component` with an exception."""
        kinds = tuple(name_of(kind) for kind in type(error).__mro__ if issubclass(kind, BaseException))
        text = _shortened("".join(traceback.format_exception(error)))
        return cls(component, kinds, str(error), text, at, cause=cause, error=error, operation=operation)

    @property
    def kind(self) -> str:
        """The name of the exception's own class, as `module:Class`."""
        return self.kinds[0]

    @property
    def origin(self) -> Failure:
        """The first failure of the chain."""
        return self if self.cause is None else self.cause.origin

    def distance(self, kind: type[BaseException]) -> int | None:
        """How far `kind` is from the exception's own class (0: itself); None when it is none of its classes."""
        if self.error is not None:
            mro = type(self.error).__mro__
            return mro.index(kind) if kind in mro else None
        name = name_of(kind)
        return self.kinds.index(name) if name in self.kinds else None

    def __str__(self) -> str:
        again = f" (time {self.count})" if self.count > 1 else ""
        return f"{self.component}: {self.kind.rpartition(':')[2]}: {self.message}{again}"

    def to_wire(self) -> dict[str, Any]:
        """Plain values for another process."""
        return {
            "component": self.component,
            "kinds": list(self.kinds),
            "message": self.message,
            "traceback": self.traceback,
            "at": self.at,
            "count": self.count,
            "generation": self.generation,
            "cause": None if self.cause is None else self.cause.to_wire(),
        }

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> Failure:
        """Read what `to_wire` gave. ValueError for anything else."""
        return cls._read(wire, 0)

    @classmethod
    def _read(cls, wire: object, depth: int) -> Failure:
        if depth > 32 or not isinstance(wire, Mapping):
            raise ValueError("not a failure")
        kinds, cause = wire.get("kinds"), wire.get("cause")
        texts = [wire.get(name) for name in ("component", "message", "traceback")]
        numbers = [wire.get(name) for name in ("at", "count", "generation")]
        if (
            not isinstance(kinds, list | tuple)
            or not kinds
            or not all(isinstance(text, str) for text in (*texts, *kinds))
            or not all(isinstance(number, int | float) for number in numbers)
        ):
            raise ValueError("not a failure: fields are missing or of another type")
        component, message, text = (str(each)[:MOST_TRACEBACK] for each in texts)
        at, count, generation = numbers
        return cls(
            component,
            tuple(kinds[:64]),
            message,
            _shortened(text),
            float(at or 0),
            int(count or 0),
            int(generation or 0),
            None if cause is None else cls._read(cause, depth + 1),
        )


def leaves(
    error: BaseException, kept: Callable[[BaseException], bool] = lambda error: False
) -> list[BaseException]:
    """The single errors in an exception group, in order; groups for which `kept` is true stay whole."""
    if not isinstance(error, BaseExceptionGroup) or kept(error):
        return [error]
    return [leaf for one in error.exceptions for leaf in leaves(one, kept)]


def name_of(kind: type[BaseException]) -> str:
    """How a class is named across processes."""
    return f"{kind.__module__}:{kind.__qualname__}"


def _shortened(text: str) -> str:
    if len(text) <= MOST_TRACEBACK:
        return text
    head, tail = MOST_TRACEBACK // 4, MOST_TRACEBACK * 3 // 4 - 100
    return f"{text[:head]}\n... {len(text) - head - tail} characters left out ...\n{text[-tail:]}"
