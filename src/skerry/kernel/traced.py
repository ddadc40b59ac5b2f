"""Commands that are decided, events that are applied, reactors and listeners as spans, each part of the trace that its
command or event carries. Used only where an application is traced (`App.traces`)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

from skerry.bus.decider import Decider
from skerry.errors import SkerryError
from skerry.journal.journal import Batch, Record, Status
from skerry.journal.projection import Projection
from skerry.journal.unit import Overlay
from skerry.messages.envelope import Envelope
from skerry.messages.message import Event
from skerry.provenance import TRACE, carried, provenance
from skerry.tracing import Kind, OpenSpan, Tracer


class TracedDecider(Decider):
    """Decides each command within a span; the command's events carry that span on."""

    def __init__(self, tracer: Tracer, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._tracer = tracer

    async def decide(
        self, envelope: Envelope, overlay: Overlay, batch: Batch, at: float, epoch: str
    ) -> list[Any]:
        parent = envelope.headers.get(TRACE)
        attributes = {
            "skerry.command": envelope.name,
            "skerry.command_id": envelope.id,
            "skerry.key": envelope.key,
        }
        span = self._tracer.begin(f"decide {envelope.name}", parent, "consumer", **attributes)
        part = replace(envelope, headers={**envelope.headers, TRACE: span.traceparent})
        try:
            with span.current():
                hooks = await super().decide(part, overlay, batch, at, epoch)
        except BaseException as error:
            span.end(error)
            raise
        outcome = overlay.writes.outcomes[-1]
        span.end(SkerryError(outcome.reason) if outcome.status is Status.FAILED else None)
        return hooks


def traced_projection(projection: Projection, tracer: Tracer) -> None:
    """Let the methods of this projection that apply events be spans."""
    name = type(projection).__name__
    for method in set(projection.applied_events().values()):
        setattr(projection, method, _traced(getattr(projection, method), tracer, "apply", name))


def traced_listener(
    listener: Callable[[Event, Record], Any], tracer: Tracer, name: str
) -> Callable[[Event, Record], Any]:
    """The listener, each call of it a span."""
    return _traced(listener, tracer, "hear", name)


def traced_reactor(
    react: Callable[[Event, Record], Any], tracer: Tracer, name: str
) -> Callable[[Event, Record], Awaitable[None]]:
    """The reactor's function, each try a span; commands that it sends are parts of it."""

    async def reacted(event: Event, record: Record) -> None:
        with _span(tracer, "react", name, record, "consumer") as span:
            token = carried.set(provenance(record.who, span.traceparent))
            try:
                result = react(event, record)
                if isinstance(result, Awaitable):
                    await result
            finally:
                carried.reset(token)

    return reacted


def _traced(
    function: Callable[[Any, Record], Any], tracer: Tracer, verb: str, name: str
) -> Callable[[Any, Record], Any]:
    def called(event: Any, record: Record) -> Any:
        with _span(tracer, verb, name, record, "internal"):
            return function(event, record)

    return called


def _span(
    tracer: Tracer, verb: str, name: str, record: Record, kind: Kind
) -> AbstractContextManager[OpenSpan]:
    attributes = {"skerry.event": record.name, "skerry.offset": str(record.offset), "skerry.key": record.key}
    return tracer.span(f"{verb} {name}", record.trace or None, kind, **attributes)
