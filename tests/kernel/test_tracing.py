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
from skerry.errors import Disconnected, Overloaded, Rejected
from skerry.http import Problem
from skerry.kernel.traced import traced_send
from skerry.messages.envelope import Envelope
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
    """The client's trace goes on through view, queue, decision, memory, reactor, its command and its listener."""
    traces = Traces()
    async with running(traces.app) as world:
        await ordered(traces, world)
        await traces.noted.wait()
        await asyncio.sleep(0)
    spans = traces.spans()
    chain = [
        "PUT /orders/{key}",
        "send order",
        "decide order",
        "react notes",
        "send note",
        "decide note",
        "hear heard",
    ]
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


def commits(spans: list[Span]) -> list[Span]:
    return [span for span in spans if span.name == "commit"]


async def test_a_commit_of_one_command_is_in_its_trace() -> None:
    """Beside the decision: both were caused by the command that was sent."""
    spans = list[Span]()
    app = shop(asyncio.Event())
    app.traces(Tracer(lambda: 1.0, spans.append))
    async with running(app) as world:
        await world.commands.send(Note("one"))
    [committed] = commits(spans)
    [sent] = [span for span in spans if span.name == "send note"]
    assert (committed.trace_id, committed.parent_id) == (sent.trace_id, sent.span_id)
    assert (sent.kind, sent.error, committed.links) == ("producer", None, ())
    assert committed.attributes == {"skerry.commands": "1", "skerry.events": "1"}


async def test_a_commit_of_several_commands_is_linked_to_each() -> None:
    """It has no single cause: a trace of its own, from which each of theirs is found."""
    spans = list[Span]()
    app = shop(asyncio.Event())
    app.traces(Tracer(lambda: 1.0, spans.append))
    async with running(app) as world:
        await asyncio.gather(*(world.commands.send(Note(key)) for key in "abc"))
    [committed] = commits(spans)
    sent = [span for span in spans if span.name == "send note"]
    assert committed.parent_id is None
    assert committed.links == tuple(f"00-{span.trace_id}-{span.span_id}-01" for span in sent)
    assert committed.attributes["skerry.commands"] == "3"


async def test_links_reach_opentelemetry() -> None:
    """As links of the span, with the trace and the span that they name."""
    traces = Traces()
    async with running(traces.app) as world:
        await asyncio.gather(*(world.commands.send(Note(key)) for key in "ab"))
    found = traces.exporter.get_finished_spans()
    [committed] = [span for span in found if span.name == "commit"]
    sent = {span.context.span_id for span in found if span.name == "send note" and span.context}
    assert {link.context.span_id for link in committed.links} == sent


async def test_a_command_that_cannot_be_sent_is_an_error() -> None:
    """The span of sending says why, whether the queue refuses at once or later."""
    spans = list[Span]()

    def refuses(pack: list[Envelope], partition: int) -> Any:
        raise Overloaded("the window is full")

    async def loses(pack: list[Envelope], partition: int) -> None:
        raise Disconnected("away")

    for send, error in ((refuses, "Overloaded"), (loses, "Disconnected")):
        sent = traced_send(send, Tracer(lambda: 1.0, spans.append))
        with pytest.raises((Overloaded, Disconnected)):
            await sent([Envelope("1", "note", 1, "a")], 0)
        assert spans.pop().error == error
    assert spans == []


@pytest.mark.parametrize("kind", ["asgi", "wsgi"])
async def test_a_mounted_application_is_a_part_of_the_trace(kind: str) -> None:
    """Its request names the span as the cause, in the client's trace; an answer from 500 on is an error."""
    spans, told = list[Span](), list[str]()

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        fields = [value.decode() for name, value in scope["headers"] if name == b"traceparent"]
        told.extend(fields)
        await send({"type": "http.response.start", "status": 500, "headers": []})
        await send({"type": "http.response.body", "body": b"broken"})

    def wsgi(environ: Any, start: Any) -> list[bytes]:
        told.append(environ["HTTP_TRACEPARENT"])
        start("500 Broken", [])
        return [b"broken"]

    app = App("front")
    if kind == "asgi":
        app.mount("/shop", asgi)
    else:
        app.host("/shop", wsgi)
    app.traces(Tracer(lambda: 1.0, spans.append))
    async with running(app) as world:
        answer = await world.client.get("/shop/tea", headers={"traceparent": CLIENT})
    assert answer.status == 500
    [span] = spans
    assert (span.name, span.kind, span.error) == ("GET /shop", "server", "SkerryError")
    assert (span.trace_id, span.parent_id) == tuple(CLIENT.split("-")[1:3])
    assert told == [f"00-{span.trace_id}-{span.span_id}-01"]
    assert span.attributes["url.path"] == "/shop/tea"


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
