"""One bad row or event stops one projection, and a correction brings it back while everything runs: on every pair."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from typing import Any

import pytest
from pairworld import Pair, Process, until  # type: ignore[import-not-found]
from test_stopped import EVENTS, application, follow, write  # type: ignore[import-not-found]

from skerry.journal.journal import Correction, JournalWriter, Writes


async def put_row(journal: JournalWriter, table: str, key: str, data: bytes) -> None:
    """A row as no handler of this release would have written it."""
    async with journal.batch([], []) as (batch, _):
        await batch.commit(Writes(puts={table: {key: (data, 0)}}))


async def served(process: Process, path: str) -> Any:
    answer = await process.client.get(path)
    return json.loads(answer.body) if answer.status == 200 else answer.status


async def test_a_bad_row_is_named_and_mended_while_it_runs(pair: Pair) -> None:
    """Who starts on it serves everything else; readiness names table, key and cure; after the row was put right the
    projection is there again, without a restart."""
    app = application()
    async with AsyncExitStack() as stack:
        first, journal = await stack.enter_async_context(pair.running(app))
        assert (await first.client.put("/ns/a?n=1")).status == 200
        assert (await first.client.put("/others/x")).status == 200
        await put_row(journal, "ns", "bad", b'{"n":"one"}')
        if pair.name == "memory":  # there is one process: it loads everything anew
            epoch = (await journal.new_epoch()).epoch
            await until(lambda: first.kernel.projector.position.epoch == epoch)
            late = first
        else:
            late = await stack.enter_async_context(pair.process(app, "server-2", decides=False))

        ready = await late.client.get("/health/ready")
        assert ready.status == 503
        assert "Ns stopped at row 'bad' of table ns" in ready.text
        assert "skerry row put" in ready.text
        assert (await late.client.get("/health/ready?for=traffic")).status == 200
        assert await served(late, "/others") == ["x"]
        assert await served(late, "/ns") == 503
        assert (await late.client.put("/ns/b?n=2")).status == 202
        assert (await late.client.put("/others/y")).status == 200

        at = await journal.correct(Correction("row", "a slip", "ann", "ns", "bad", data='{"n":3}'))
        await follow(late, at.offset)
        await until(lambda: not late.kernel.projector.stopped)
        assert await served(late, "/ns") == {"a": 1, "b": 2, "bad": 3}
        assert (await late.client.get("/health/ready")).status == 200
        assert (await late.client.put("/ns/b?n=4")).status == 200
        if late is not first:  # it had that row not, and has it now
            await follow(first, at.offset)
            await until(lambda: not first.kernel.projector.stopped)
            assert await served(first, "/ns") == {"a": 1, "b": 4, "bad": 3}


@pytest.mark.parametrize("data", [None, '{"key":"a","n":5}'], ids=["skip", "amend"])
async def test_a_bad_event_is_mended_while_it_runs(pair: Pair, data: str | None) -> None:
    """A position that was skipped or amended is applied as that, by who stopped there and by who comes later; offsets
    stay gapless, and listeners see nothing of who corrected it and why."""
    async with pair.running(application()) as (server, journal):
        assert (await server.client.put("/ns/a?n=1")).status == 200
        await write(journal, ("n_set", 1, b'{"key":"a"}'))
        await follow(server, 2)
        assert await served(server, "/ns") == 503
        at = await journal.correct(Correction("event", "it has no n", "ann", offset=2, data=data))
        await follow(server, at.offset)
        await until(lambda: not server.kernel.projector.stopped)
        assert await served(server, "/ns") == {"a": 1}  # the rows say so: only the event was wrong
        assert (await server.client.get("/health/ready")).status == 200
        answer = await server.client.put("/ns/b?n=2")
        assert answer.status == 200
        epoch = at.epoch
        async with server.client.stream("GET", f"/events?since={epoch}:1", headers=EVENTS) as stream:
            told = b""
            async with asyncio.timeout(20):
                while f"id: {epoch}:4".encode() not in told:
                    told += await anext(stream)
        assert b"ann" not in told
        assert b"it has no n" not in told
        assert (b'"n":5' in told) == (data is not None)
