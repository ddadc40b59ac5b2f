"""A stopped projection is never behind a 200, and what a listener could not take is told: on every pair of backends."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterable
from typing import Any

import msgspec
import pytest
from pairworld import Pair, Process, until  # type: ignore[import-not-found]

from skerry import (
    App,
    Command,
    Event,
    HttpReads,
    HttpWrites,
    Projection,
    Query,
    QueryBus,
    Record,
    Request,
    Response,
    Table,
    Unit,
)
from skerry.journal.journal import JournalWriter, NewEvent, NewOutcome, Status, Writes

EVENTS = {"Accept": "text/event-stream"}


class Row(msgspec.Struct, frozen=True):
    n: int


class SetN(Command):
    key: str
    n: int


class SetOther(Command):
    key: str


class NSet(Event):
    key: str
    n: int


class OtherSet(Event):
    key: str


class Did(Event):
    key: str
    amount: int


class HowMany(Query[int]):
    pass


ns = Table("ns", key=str, row=Row)
others = Table("others", key=str, row=Row)


class Ns(Projection):
    table = ns

    def __init__(self) -> None:
        self.rows: dict[str, int] = {}

    def clear(self) -> None:
        self.rows.clear()

    def load(self, table: Any, key: str, row: Row, offset: int) -> None:
        self.rows[key] = row.n

    @Projection.applies(NSet)
    def set(self, event: NSet, record: Record) -> None:
        if event.n == 7:
            raise RuntimeError("seven is a secret")
        self.rows[event.key] = event.n


class Others(Projection):
    table = others

    def __init__(self) -> None:
        self.keys: set[str] = set()

    def clear(self) -> None:
        self.keys.clear()

    def load(self, table: Any, key: str, row: Row, offset: int) -> None:
        self.keys.add(key)

    @Projection.applies(OtherSet)
    def set(self, event: OtherSet, record: Record) -> None:
        self.keys.add(event.key)


class Report:
    """A service made from a projection: who reads from it reads from that."""

    def __init__(self, ns: Ns) -> None:
        self.ns = ns


def application() -> App:
    app = App("stopping")
    app.projection(Ns)
    app.projection(Others)
    app.service()(Report)
    heard: list[int] = []

    @app.handles(SetN)
    def set_n(command: SetN, unit: Unit) -> None:
        unit.put(ns, command.key, Row(command.n))
        unit.emit(NSet(command.key, command.n))

    @app.handles(SetOther)
    def set_other(command: SetOther, unit: Unit) -> None:
        unit.put(others, command.key, Row(0))
        unit.emit(OtherSet(command.key))

    @app.answers(HowMany)
    def how_many(query: HowMany, ns: Ns) -> int:
        return len(ns.rows)

    @app.on(NSet)
    def hear(event: NSet, record: Record) -> None:
        heard.append(event.n)

    @app.put("/ns/{key}")
    def put_n(request: Request, key: str, n: int, writes: HttpWrites) -> Any:
        return writes.send(request, SetN(key, n), lambda receipt: {"n": n}, {"key": key})

    @app.put("/others/{key}")
    def put_other(request: Request, key: str, writes: HttpWrites) -> Any:
        return writes.send(request, SetOther(key), lambda receipt: {"key": key})

    @app.get("/ns")
    def get_ns(request: Request, ns: Ns, reads: HttpReads) -> Any:
        return reads.at(request, lambda: reads.json(json.dumps(ns.rows).encode()))

    @app.get("/slow")
    async def slow_ns(ns: Ns) -> dict[str, int]:
        return dict(ns.rows)

    @app.get("/report")
    def report(report: Report) -> dict[str, int]:
        return dict(report.ns.rows)

    @app.get("/asked")
    def asked(queries: QueryBus) -> int:
        return queries.ask(HowMany())

    @app.get("/old", stale=True)
    def old(request: Request, ns: Ns, queries: QueryBus, reads: HttpReads) -> Any:
        def answer() -> Response:
            return reads.json(json.dumps([ns.rows, queries.ask(HowMany())]).encode())

        return reads.at(request, answer)

    @app.get("/old-slow", stale=True)
    async def old_slow(ns: Ns) -> dict[str, int]:
        return dict(ns.rows)

    @app.get("/others")
    def get_others(request: Request, others: Others, reads: HttpReads) -> Any:
        return reads.at(request, lambda: reads.json(json.dumps(sorted(others.keys)).encode()))

    def snapshot(ns: Ns) -> Iterable[dict[str, Any]]:
        return [{"event": "n_set", "key": key, "n": n} for key, n in ns.rows.items()]

    app.live("/events", snapshot=snapshot)
    app.declaration.services[list] = lambda: heard
    return app


async def refused(process: Process, path: str, **fields: str) -> bool:
    """Whether it is 503 with Retry-After, and shows nothing of the application's exception."""
    answer = await process.client.get(path, headers={k.replace("_", "-"): v for k, v in fields.items()})
    return answer.status == 503 and "retry-after" in answer.headers and "secret" not in answer.text


async def test_a_stopped_projection_is_never_behind_a_200(pair: Pair) -> None:
    """Writes that it would show are 202 with Location, views, queries and services that read from it 503; a view that
    is declared stale gives its last state and says so; other projections go on; readiness, lag, the gauge agree."""
    async with pair.running(application()) as (server, _):
        client, kernel = server.client, server.kernel
        assert (await client.put("/ns/a?n=1")).status == 200
        assert (await client.get("/ns")).json() == {"a": 1}

        answer = await client.put("/ns/b?n=7")
        assert answer.status == 202
        assert answer.headers["location"] == f"/commands/{answer.headers['skerry-command']}"
        assert answer.json()["message"] == "Accepted"
        position = answer.headers["skerry-position"]
        told = (await client.get(answer.headers["location"])).json()
        assert (told["status"], told["position"]) == ("applied", position)
        assert (await client.put("/ns/a?n=8", headers={"Idempotency-Key": "k"})).status == 202
        assert (await client.put("/ns/a?n=8", headers={"Idempotency-Key": "k"})).status == 202

        for path in ("/ns", "/slow", "/report", "/asked"):
            assert await refused(server, path), path
        assert await refused(server, "/ns", skerry_position=position)

        held = position.rpartition(":")[0] + ":1"
        old = await client.get("/old")
        assert (old.status, old.json()) == (200, [{"a": 1}, 1])
        assert old.headers["skerry-stale"] == f"Ns; position={held}"
        assert old.headers["skerry-position"] == held
        assert (await client.get("/old", headers={"Skerry-Position": held})).status == 200
        assert await refused(server, "/old", skerry_position=position)
        slow = await client.get("/old-slow")
        assert (slow.json(), slow.headers["skerry-stale"]) == ({"a": 1}, f"Ns; position={held}")

        other = await client.put("/others/x")
        assert other.status == 200
        there = await client.get("/others", headers={"Skerry-Position": other.headers["skerry-position"]})
        assert (there.status, there.json()) == (200, ["x"])

        ready = await client.get("/health/ready")
        assert ready.status == 503
        assert "Ns stopped at event 2 (n_set)" in ready.text
        assert "secret" not in ready.text
        assert (await client.get("/health/ready?for=traffic")).status == 200
        assert ready.json()["checks"]["memory"]["lag"] == kernel.projector.behind == 3
        assert "skerry_projections_stopped 1.0" in (await client.get("/metrics")).text


async def test_a_read_that_waits_is_not_answered_from_what_stops_meanwhile(pair: Pair) -> None:
    """The event that it waits for is the one that stops its projection."""
    async with pair.running(application()) as (server, _):
        first = await server.client.put("/ns/a?n=1")
        epoch, _, offset = first.headers["skerry-position"].rpartition(":")
        wanted = {"Skerry-Position": f"{epoch}:{int(offset) + 1}", "Prefer": "wait=20"}
        reading = asyncio.ensure_future(server.client.get("/ns", headers=wanted))
        await until(lambda: server.kernel.projector._waiters._waiting != [])
        assert (await server.client.put("/ns/a?n=7")).status == 202
        assert (await reading).status == 503


async def test_a_snapshot_for_listeners_is_not_taken_from_what_has_stopped(pair: Pair) -> None:
    """They are asked to come again, and not told an old state as the present one."""
    async with pair.running(application()) as (server, _):
        await server.client.put("/ns/a?n=7")
        said = b""
        async with server.client.stream("GET", "/events?snapshot=1", headers=EVENTS) as stream:
            async for part in stream:
                said += part
        assert said == b"retry: 2000\n\n"


async def write(journal: JournalWriter, *events: tuple[str, int, bytes]) -> None:
    """Commit events as another release, or another application, might have written them."""
    writes = Writes()
    for number, (name, version, data) in enumerate(events, 1):
        command_id = f"{abs(hash((name, data, number))):032x}"[:32]
        writes.events.append(NewEvent(command_id, "a", name, version, data, 1.0, False))
        writes.outcomes.append(NewOutcome(command_id, Status.APPLIED, number, 1))
    async with journal.batch([outcome.command_id for outcome in writes.outcomes], []) as (batch, _):
        await batch.commit(writes)


async def follow(server: Process, offset: int) -> None:
    """Let memory read that far, whether or not somebody has told it."""
    assert await asyncio.wait_for(server.kernel.projector.expect(offset), 20)


async def test_an_event_that_does_not_decode_stops_a_projection_once(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    """One line for it, whatever follows, and the line and readiness say the cure."""
    async with pair.running(application()) as (server, journal):
        bad = [("n_set", 1, b'{"key":"a"}')] * 20
        await write(journal, *[(n, v, d + b" " * i) for i, (n, v, d) in enumerate(bad)])
        await follow(server, 20)
        said = [r for r in caplog.records if r.levelno >= logging.ERROR and "Ns" in r.getMessage()]
        assert len(said) == 1
        ready = await server.client.get("/health/ready")
        assert "Ns stopped at event 1 (n_set): InvalidMessage" in ready.text
        assert "default" in ready.text
        await write(journal, ("n_set", 99, b"{}"))
        assert (await server.client.put("/ns/a?n=1")).status == 202


async def test_an_event_of_a_newer_release_names_the_cure(pair: Pair) -> None:
    """What has to be done is to upgrade, not to mend data."""
    async with pair.running(application()) as (server, journal):
        await write(journal, ("n_set", 99, b"{}"))
        await follow(server, 1)
        ready = await server.client.get("/health/ready")
        assert "upgrade this process" in ready.text


async def test_a_stream_ends_before_an_event_of_a_newer_release(pair: Pair) -> None:
    """Who listens is told what came before it and is sent away, to hear it whole from a process that knows it."""
    async with pair.running(application()) as (server, journal):
        await server.client.put("/others/x")
        told = b""
        async with server.client.stream("GET", "/events", headers=EVENTS) as stream:
            async for part in stream:
                if b"hello" in part:
                    await write(
                        journal,
                        ("other_set", 1, b'{"key":"y"}'),
                        ("n_set", 99, b"{}"),
                        ("other_set", 1, b'{"key":"z"}'),
                    )
                    reading = asyncio.ensure_future(follow(server, 4))
                told += part
        await reading
        assert [b'"key":"%b"' % name in told for name in (b"y", b"z")] == [True, False]
        assert b"n_set" not in told
        assert "live stream of n_set did not get event 3" in (await server.client.get("/health/ready")).text


async def test_no_listener_loses_an_event_silently(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    """An event that only a listener wants and that does not decode: one line in the log, a number, readiness names
    listener and event; later events are heard. Names that nothing declares are counted and shown, and are no fault."""
    app = App("hearing")
    heard: list[int] = []

    @app.on(Did)
    def hear(event: Did) -> None:
        heard.append(event.amount)

    async with pair.running(app) as (server, journal):
        await write(
            journal,
            ("did", 1, b'{"key":"a","amount":1}'),
            ("did", 1, b'{"key":"a"}'),
            ("did", 1, b'{"key":"b"}'),
            ("strange", 1, b"{}"),
            ("did", 1, b'{"key":"a","amount":3}'),
        )
        await follow(server, 5)
        assert heard == [1, 3]
        said = [r for r in caplog.records if r.levelno >= logging.ERROR]
        assert len(said) == 1
        assert "did not get event 2 (did)" in said[0].getMessage()
        ready = await server.client.get("/health/ready")
        assert ready.status == 503
        assert "hear did not get event 2 (did)" in ready.text
        assert "strange (1)" in ready.text
        assert (await server.client.get("/health/ready?for=traffic")).status == 200
        metrics = (await server.client.get("/metrics")).text
        assert 'event="did"} 2.0' in metrics
        assert 'skerry_events_unknown_total{event="strange"} 1.0' in metrics


async def test_unknown_names_alone_are_shown_and_ready(pair: Pair) -> None:
    """A newer release may emit what nobody here has to know."""
    async with pair.running(application()) as (server, journal):
        await write(journal, ("strange", 1, b"{}"))
        await follow(server, 1)
        ready = await server.client.get("/health/ready")
        assert ready.status == 200
        assert "strange (1)" in ready.text


async def test_a_renderer_that_fails_is_named_once(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    """What listeners are shown without its content is a failure with a name, counted, logged once."""
    app = application()

    @app.renders(NSet)
    def render(event: NSet, record: Record) -> Any:
        raise RuntimeError("no picture")

    async with pair.running(app) as (server, _):
        async with server.client.stream("GET", "/events", headers=EVENTS) as stream:
            told = b""
            await anext(stream)
            for n in (1, 2, 3):
                assert (await server.client.put(f"/ns/a?n={n}")).status == 200
            while told.count(b"domain_event") < 3:
                told += await anext(stream)
        said = [r for r in caplog.records if r.levelno >= logging.ERROR]
        assert len(said) == 1
        metrics = (await server.client.get("/metrics")).text
        assert 'skerry_events_lost_total{consumer="renderer of n_set",event="n_set"} 3.0' in metrics
