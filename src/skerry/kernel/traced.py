"""Commands that are sent and decided, commits, events that are applied, reactors and listeners as spans, each part of
the trace that its command or event carries. Used only where an application is traced (`App.traces`)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

from skerry.bus.bus import SendPack
from skerry.bus.decider import Decider
from skerry.errors import SkerryError
from skerry.journal.journal import Batch, Record, Status, Writes
from skerry.journal.projection import Projection
from skerry.journal.unit import Overlay
from skerry.messages.envelope import Envelope
from skerry.messages.message import Event
from skerry.provenance import TRACE, carried, provenance
from skerry.tracing import Kind, OpenSpan, Tracer

MOST_LINKS = 128
"""Of a span, as OpenTelemetry limits them: a batch may have more commands."""


class TracedDecider(Decider):
    """Decides each command within a span, which the command's events carry on; commits a batch within another."""

    def __init__(self, tracer: Tracer, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._tracer = tracer

    async def decide(
        self, envelope: Envelope, overlay: Overlay, batch: Batch, at: float, epoch: str
    ) -> list[Any]:
        span = _of_command(self._tracer, "decide", envelope, "consumer")
        part = _within(span, envelope)
        try:
            with span.current():
                hooks = await super().decide(part, overlay, batch, at, epoch)
        except BaseException as error:
            span.end(error)
            raise
        outcome = overlay.writes.outcomes[-1]
        span.end(SkerryError(outcome.reason) if outcome.status is Status.FAILED else None)
        return hooks

    async def commit(self, batch: Batch, writes: Writes, envelopes: Collection[Envelope]) -> int:
        """Part of the trace of its command; with several it is a trace of its own, with a link to each of theirs."""
        causes = [envelope.headers[TRACE] for envelope in envelopes if TRACE in envelope.headers]
        parent, links = (causes[0], []) if len(causes) == len(envelopes) == 1 else (None, causes[:MOST_LINKS])
        sizes = {"skerry.commands": str(len(envelopes)), "skerry.events": str(len(writes.events))}
        span = self._tracer.begin("commit", parent, "internal", links, **sizes)
        try:
            base = await super().commit(batch, writes, envelopes)
        except BaseException as error:
            span.end(error)
            raise
        span.end()
        return base


def traced_send(send: SendPack, tracer: Tracer) -> SendPack:
    """How commands are sent, each within a span that ends when the queue has it."""

    def sent(pack: list[Envelope], partition: int) -> asyncio.Future[None]:
        spans = [_of_command(tracer, "send", envelope, "producer") for envelope in pack]

        def ended(done: asyncio.Future[None]) -> None:
            error = TimeoutError("sending was given up") if done.cancelled() else done.exception()
            for span in spans:
                span.end(error)

        try:
            parts = [_within(span, envelope) for span, envelope in zip(spans, pack, strict=True)]
            future = asyncio.ensure_future(send(parts, partition))
        except Exception as error:
            for span in spans:
                span.end(error)
            raise
        future.add_done_callback(ended)
        return future

    return sent


def _of_command(tracer: Tracer, verb: str, envelope: Envelope, kind: Kind) -> OpenSpan:
    attributes = {
        "skerry.command": envelope.name,
        "skerry.command_id": envelope.id,
        "skerry.key": envelope.key,
    }
    return tracer.begin(f"{verb} {envelope.name}", envelope.headers.get(TRACE), kind, **attributes)


def _within(span: OpenSpan, envelope: Envelope) -> Envelope:
    """The envelope as part of the span."""
    return replace(envelope, headers={**envelope.headers, TRACE: span.traceparent})


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
