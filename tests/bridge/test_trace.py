"""The trace of a request is that of the events that a hosted application emits for it, and of what it sends."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import psycopg
import pytest
import sqlalchemy
from bridgeshop import OrderPaid, Refund, shop  # type: ignore[import-not-found]
from sqlalchemy.orm import Session

from skerry import App
from skerry.backends.postgres.journal import PostgresJournal
from skerry.hosting import emit, send
from skerry.kernel.settings import Settings
from skerry.testing.app import World, running
from skerry.tracing import Span, Tracer

CLIENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def pays_in_a_thread(app: App, dsn: str) -> None:
    """A WSGI application; it also sends a command after a session's commit, and one at once."""
    engine = sqlalchemy.create_engine(dsn.replace("postgresql:", "postgresql+psycopg:"))

    def pay(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        with Session(engine) as session, session.begin():
            emitted = emit(OrderPaid(1), session=session)
            send(Refund(1), after_commit=True, session=session)
        emitted.wait(30)
        send(Refund(2), wait=30)
        engine.dispose()
        start_response("200 OK", [])
        return [b"paid"]

    app.host("/pay", pay)


def pays_in_the_loop(app: App, dsn: str, *, covered: bool = False) -> None:
    """An ASGI application."""

    async def pay(scope: Any, receive: Any, answer: Any) -> None:
        assert scope["type"] == "http"
        async with await psycopg.AsyncConnection.connect(dsn) as connection:
            emitted = await emit(OrderPaid(1), connection=connection)
        await emitted.visible(30)
        await asyncio.gather(send(Refund(1)), send(Refund(2)))
        await answer({"type": "http.response.start", "status": 200, "headers": []})
        await answer({"type": "http.response.body", "body": b"paid"})

    app.host("/pay", pay, kind="asgi")
    if covered:
        app.http.middleware(lambda inner: inner)


def pays_behind_middleware(app: App, dsn: str) -> None:
    pays_in_the_loop(app, dsn, covered=True)


async def paid(world: World, **fields: str) -> list[str]:
    """The traces of the three events that one request has left."""
    before = len(await world.events())
    answer = await world.client.get("/pay", headers=fields)
    assert (answer.status, answer.body) == (200, b"paid")
    async with asyncio.timeout(30):
        while len(records := (await world.events())[before:]) < 3:  # noqa: ASYNC110 - a command that nobody awaits
            await asyncio.sleep(0.01)
    assert sorted(record.name for record in records) == ["order_paid", "refunded", "refunded"]
    return [record.trace for record in records]


@pytest.mark.service("postgresql")
@pytest.mark.parametrize("pays", [pays_in_a_thread, pays_in_the_loop, pays_behind_middleware])
async def test_events_are_in_the_trace_of_the_request(dsn: str, pays: Any) -> None:
    """And no request leaves its trace to the next one."""
    app = shop()
    pays(app, dsn)
    settings = Settings(journal=dsn, transport="memory:", warm_start=False, namespace="shop")
    async with running(app, settings=settings, journal=PostgresJournal(dsn, "shop")) as world:
        assert await paid(world, traceparent=CLIENT) == [CLIENT] * 3
        assert await paid(world) == [""] * 3
        assert await paid(world, traceparent="nonsense") == [""] * 3


@pytest.mark.service("postgresql")
@pytest.mark.parametrize("pays", [pays_in_a_thread, pays_in_the_loop])
async def test_spans_of_a_traced_application_lead_there(dsn: str, pays: Any) -> None:
    """Where the App makes spans, events and commands are caused by the span of the request, in the client's trace."""
    app, spans = shop(), list[Span]()
    pays(app, dsn)
    app.traces(Tracer(lambda: 1.0, spans.append))
    settings = Settings(journal=dsn, transport="memory:", warm_start=False, namespace="shop")
    async with running(app, settings=settings, journal=PostgresJournal(dsn, "shop")) as world:
        traces = await paid(world, traceparent=CLIENT)
    [request] = [span for span in spans if span.kind == "server"]
    assert (request.trace_id, request.parent_id) == tuple(CLIENT.split("-")[1:3])
    assert f"00-{request.trace_id}-{request.span_id}-01" in traces
    assert {trace.split("-")[1] for trace in traces} == {request.trace_id}
    caused = [span for span in spans if span.name in ("apply Paid", "send refund", "decide refund")]
    assert {span.trace_id for span in caused} == {request.trace_id}
    assert len(caused) == 5
