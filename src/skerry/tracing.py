"""Spans: pieces of work that took time, each a part of one that caused it, across processes by W3C Trace Context.

    tracer = Tracer(clock.monotonic, spans.append)          # or skerry.otel.OpenTelemetry()
    with tracer.span("price of tea", table="prices") as span:
        ask(headers={"traceparent": span.traceparent})

An application turns them on with `app.traces(tracer)`. Then there is a span for each request to a view or a mounted
application, command that is sent and decided, commit, event that a projection applies, reactor and listener, in one
trace from the request on. Without it, nothing of this is called.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal, Protocol

from skerry.provenance import is_traceparent

Kind = Literal["server", "producer", "consumer", "internal"]
"""What OpenTelemetry calls the kind of a span."""
_current: ContextVar[str | None] = ContextVar("skerry_span", default=None)


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of work that ended: when it began (seconds, on the tracer's clock), how long it took, what it is part of.
    `error`: the class of the exception that ended it. `links`: the `traceparent` of each span that also caused it."""

    name: str
    kind: Kind
    trace_id: str
    span_id: str
    parent_id: str | None
    began: float
    seconds: float
    attributes: dict[str, str]
    error: str | None
    links: tuple[str, ...] = ()


class OpenSpan(Protocol):
    """A span that has begun."""

    @property
    def traceparent(self) -> str:
        """The W3C header field that makes work elsewhere a part of it."""
        ...

    def current(self) -> AbstractContextManager[object]:
        """Within this block, spans without a parent of their own are parts of it. The block does not end it."""
        ...

    def end(self, error: BaseException | None = None) -> None:
        """It has ended, with this exception if any."""
        ...


class Tracer:
    """Tells `sink` of every span that ends. `monotonic` is the clock (`Clock.monotonic`)."""

    def __init__(self, monotonic: Callable[[], float], sink: Callable[[Span], None]) -> None:
        self._monotonic, self._sink = monotonic, sink

    def begin(
        self,
        name: str,
        parent: str | None = None,
        kind: Kind = "internal",
        links: Sequence[str] = (),
        **attributes: str,
    ) -> OpenSpan:
        """A span that begins now and ends with its `end()`. `parent`: the `traceparent` of a span in another process;
        without one the current span, else it begins a trace. `links`: those of spans that caused it too."""
        parent = parent or _current.get()
        return _Open(self._monotonic, self._sink, name, parent, kind, tuple(links), attributes)

    @contextmanager
    def span(
        self, name: str, parent: str | None = None, kind: Kind = "internal", **attributes: str
    ) -> Iterator[OpenSpan]:
        """A block as a span, which is the current one within it."""
        span = self.begin(name, parent, kind, (), **attributes)
        try:
            with span.current():
                yield span
        except BaseException as error:
            span.end(error)
            raise
        span.end()


class _Open:
    __slots__ = (
        "_attributes",
        "_began",
        "_kind",
        "_links",
        "_monotonic",
        "_name",
        "_parent_id",
        "_sink",
        "_span_id",
        "_trace_id",
    )

    def __init__(
        self,
        monotonic: Callable[[], float],
        sink: Callable[[Span], None],
        name: str,
        parent: str | None,
        kind: Kind,
        links: tuple[str, ...],
        attributes: dict[str, str],
    ) -> None:
        self._monotonic, self._sink, self._name = monotonic, sink, name
        self._kind, self._links, self._attributes = kind, links, attributes
        self._parent_id: str | None = None
        self._trace_id = f"{random.getrandbits(128) or 1:032x}"
        self._span_id = f"{random.getrandbits(64) or 1:016x}"
        if parent is not None and is_traceparent(parent):
            _, self._trace_id, self._parent_id, _ = parent.split("-")
        self._began = monotonic()

    @property
    def traceparent(self) -> str:
        return f"00-{self._trace_id}-{self._span_id}-01"

    @contextmanager
    def current(self) -> Iterator[None]:
        token = _current.set(self.traceparent)
        try:
            yield
        finally:
            _current.reset(token)

    def end(self, error: BaseException | None = None) -> None:
        seconds = self._monotonic() - self._began
        failed = None if error is None else type(error).__name__
        ids = self._trace_id, self._span_id, self._parent_id
        self._sink(
            Span(self._name, self._kind, *ids, self._began, seconds, self._attributes, failed, self._links)
        )
