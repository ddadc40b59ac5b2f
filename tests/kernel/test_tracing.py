"""One trace from a request to its last consequence, as OpenTelemetry sees it; nothing where it is not asked for."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from skerry import App, Command, CommandBus, Event, HttpWrites, Projection, Record, Request, Response, Unit
from skerry.errors import Rejected
from skerry.http import Problem
from skerry.otel import OpenTelemetry
from skerry.testing import World, running
from skerry.tracing import Span, Tracer

CLIENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Order(Command):
    key: str


class Ordered(Event):
    key: str


class Note(Command):
    key: str


class Noted(Event):
    key: str


class Orders(Projection):
    ephemeral = True

    def __init__(self) -> None:
        self.keys: list[str] = []

    def clear(self) -> None:
        self.keys.clear()

    @Projection.applies(Ordered)
    def ordered(self, event: Ordered, record: Record) -> None:
        self.keys.append(event.key)


class Traces:
    """An application that is traced, and what the exporter got."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.noted = asyncio.Event()
        self.app = shop(self.noted)
        self.app.traces(OpenTelemetry(provider))

    def spans(self) -> dict[str, ReadableSpan]:
        return {span.name: span for span in self.exporter.get_finished_spans()}


def shop(noted: asyncio.Event) -> App:
    app = App("shop")

    @app.handles(Order)
    def order(command: Order, unit: Unit) -> None:
        if command.key == "none":
            raise Rejected("there is none")
        if command.key == "broken":
            raise KeyError(command.key)
        unit.emit(Ordered(command.key))

    @app.handles(Note)
    def note(command: Note, unit: Unit) -> None:
        unit.emit(Noted(command.key))

    app.projection(Orders)

    @app.reactor("notes", Ordered)
    async def write_down(event: Ordered, commands: CommandBus) -> None:
        await commands.send(Note(event.key))

    @app.on(Noted)
    def heard(event: Noted) -> None:
        noted.set()

    @app.put("/orders/{key}")
    def put(request: Request, key: str, writes: HttpWrites) -> Any:
        return writes.send(request, Order(key), lambda receipt: Response(b"ordered"))

    @app.get("/orders")
    def listed(orders: Orders) -> list[str]:
        return orders.keys

    @app.get("/later")
    async def later() -> str:
        raise OSError("away")

    @app.get("/missing")
    def missing() -> str:
        raise Problem(404)

    return app


async def ordered(traces: Traces, world: World, key: str = "tea") -> None:
    await world.client.put(f"/orders/{key}", headers={"traceparent": CLIENT})


async def test_one_trace_from_the_request_to_the_listener() -> None:
    """The client's trace goes on through view, decision, memory, reactor, its command and the listener of that."""
    traces = Traces()
    async with running(traces.app) as world:
        await ordered(traces, world)
        await traces.noted.wait()
        await asyncio.sleep(0)
    spans = traces.spans()
    chain = ["PUT /orders/{key}", "decide order", "react notes", "decide note", "hear heard"]
    assert {f"{span.context.trace_id:032x}" for span in spans.values() if span.context} == {
        CLIENT.split("-")[1]
    }
    first = spans[chain[0]]
    assert first.parent is not None
    assert f"{first.parent.span_id:016x}" == CLIENT.split("-")[2]
    for parent, child in pairwise(chain):
        above, below = spans[parent].context, spans[child].parent
        assert above is not None
        assert below is not None
        assert below.span_id == above.span_id, f"{child} is not a part of {parent}"
    applied, decided = spans["apply Orders"].parent, spans["decide order"].context
    assert applied is not None
    assert decided is not None
    assert applied.span_id == decided.span_id


async def test_spans_say_what_they_were_about() -> None:
    """Kind, route, command, offset: what one looks for in a trace."""
    traces = Traces()
    async with running(traces.app) as world:
        await ordered(traces, world)
        await traces.noted.wait()
        records = await world.events()
    spans = traces.spans()
    view, decided, reacted = (spans[name] for name in ("PUT /orders/{key}", "decide order", "react notes"))
    assert [span.kind for span in (view, decided)] == [SpanKind.SERVER, SpanKind.CONSUMER]
    assert dict(view.attributes or {})["url.path"] == "/orders/tea"
    assert dict(decided.attributes or {})["skerry.key"] == "tea"
    assert dict(reacted.attributes or {})["skerry.offset"] == "1"
    assert decided.context is not None
    assert records[0].trace.split("-")[2] == f"{decided.context.span_id:016x}"


@pytest.mark.parametrize(
    ("path", "method", "name", "failed"),
    [
        ("/orders/broken", "PUT", "decide order", True),
        ("/orders/none", "PUT", "decide order", False),
        ("/later", "GET", "GET /later", True),
        ("/missing", "GET", "GET /missing", False),
        ("/orders", "GET", "GET /orders", False),
    ],
)
async def test_only_faults_are_errors(path: str, method: str, name: str, failed: bool) -> None:
    """A handler or a view that breaks is an error; a rule that refuses, and an answer below 500, is none."""
    traces = Traces()
    async with running(traces.app) as world:
        await world.client.request(method, path)
    status = traces.spans()[name].status.status_code
    assert status is (StatusCode.ERROR if failed else StatusCode.UNSET)


async def test_untraced_applications_call_nothing_of_it() -> None:
    """Without a tracer a view is composed as it was, and what the request brings is only passed on."""
    app = shop(asyncio.Event())
    async with running(app) as world:
        await world.client.put("/orders/tea", headers={"traceparent": CLIENT})
        [record, *_] = await world.events()
        assert record.trace == CLIENT
        routes = world.client.server.application.table.routes
    assert {getattr(route.call, "__name__", "") for route in routes}.isdisjoint({"answer", "answer_later"})


async def test_a_tracer_of_one_s_own_needs_no_package() -> None:
    """`Tracer` gives finished spans to a function; a malformed traceparent begins a trace."""
    spans = list[Span]()
    app = shop(asyncio.Event())
    app.traces(Tracer(lambda: 1.0, spans.append))
    async with running(app) as world:
        await world.client.get("/orders", headers={"traceparent": "nonsense"})
    [span] = spans
    assert (span.name, span.kind, span.parent_id, span.error) == ("GET /orders", "server", None, None)
