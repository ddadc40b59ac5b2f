"""Values that are answered from what is kept: the same as those that are computed, whatever happens in between."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest

from livekv import app
from livekv.messages import Value
from livekv.values import Values
from skerry import HttpReads
from skerry.backends.memory.journal import MemoryJournal
from skerry.http.kept import KeptAnswers
from skerry.journal.journal import Correction
from skerry.journal.memory import Stopped
from skerry.testing.app import World, running
from skerry.testing.journal_samples import MemoryStandby


def kept_of(world: World) -> KeptAnswers:
    return world.kernel.application.lane.kept


async def test_an_answer_is_kept_until_an_event() -> None:
    """Repeated requests are answered from what was kept, and counted as others are; not the one after a write of its
    key, nor one that comes with a tag. After a write of another key it is the same with another position."""
    async with running(app) as world:
        client, kept = world.client, kept_of(world)
        first = await client.put("/values/a", body="1")
        answers = [await client.get("/values/a") for _ in range(4)]
        assert len(kept.answers) == 1
        assert {(each.status, each.body, each.etag) for each in answers} == {
            (200, b'{"key":"a","value":"1"}', first.etag)
        }
        route = next(each for each in world.kernel.application.table.routes if each.keep)
        assert route.counts == {200: 4}
        assert (await client.get("/values/a", headers={"If-None-Match": first.etag or ""})).status == 304
        written = await client.put("/values/b", body="2")
        assert len(kept.answers) == 1
        again = [await client.get("/values/a") for _ in range(3)]
        assert {each.headers["skerry-position"] for each in again} == {written.headers["skerry-position"]}
        assert {each.etag for each in again} == {first.etag}
        assert len(kept.answers) == 1
        second = await client.put("/values/a", body="3")
        assert not kept.answers
        assert {(await client.get("/values/a")).etag for _ in range(3)} == {second.etag}


@pytest.mark.parametrize("seed", range(4))
async def test_no_answer_is_stale(seed: int) -> None:
    """Random writes, deletes, rewritten histories, promotions that lose events, and reads: each read shows what memory
    has, with its tag and position."""
    chance, hits = random.Random(seed), 0
    async with running(app) as world:
        client, kept = world.client, kept_of(world)
        journal = world.journal
        assert isinstance(journal, MemoryJournal)
        values, reads = world.service(Values), world.service(HttpReads)
        for step in range(300):
            key = chance.choice("abcd")
            match chance.choices(("get", "put", "delete", "epoch", "lose"), (80, 10, 5, 3, 2))[0]:
                case "put":
                    await client.put(f"/values/{key}", body=str(step))
                case "delete":
                    await client.delete(f"/values/{key}")
                case "epoch":
                    await journal.new_epoch()
                    await client.put("/values/z", body="told")  # the write by which memory learns of it
                case "lose":
                    standby = MemoryStandby(journal)
                    await client.put(f"/values/{key}", body="lost")
                    await standby.promote()
                    await client.put("/values/z", body="told")
                case _:
                    hits += len(kept.answers) > 0
                    for _ in range(3):
                        answer = await client.get(f"/values/{key}")
                        assert answer.headers["skerry-position"] == str(reads.position)
                        entry = values.get(key)
                        if entry is None:
                            assert answer.status == 404
                        else:
                            assert answer.json() == {"key": key, "value": entry.value}
                            assert answer.etag == f'"{reads.etag(entry.offset)}"'
        assert hits > 100


async def test_answers_stay_under_writes_of_other_keys() -> None:
    """Each is asked for again and again between steady writes of others, and computed once."""
    computed: list[str] = []
    async with running(app) as world:
        client, kept = world.client, kept_of(world)
        offer = kept.offer

        def noting(request: bytes, *rest: Any) -> None:
            computed.append(rest[-1])
            offer(request, *rest)

        kept.offer = noting  # type: ignore[method-assign, assignment]
        for key in "ab":
            await client.put(f"/values/{key}", body=key)
        for number in range(20):
            written = await client.put("/values/other", body=str(number))
            for key in "ab":
                answer = await client.get(f"/values/{key}")
                assert answer.json() == {"key": key, "value": key}
                assert answer.headers["skerry-position"] == written.headers["skerry-position"]
        assert sorted(computed) == ["a", "b"]


async def test_a_correction_drops_everything() -> None:
    """What an operator corrects may be of any key."""
    async with running(app) as world:
        client, kept = world.client, kept_of(world)
        await client.put("/values/a", body="1")
        for _ in range(3):
            await client.get("/values/a")
        assert kept.answers
        row = msgspec.json.encode(Value("corrected")).decode()
        await world.journal.correct(Correction("row", "as a test", "test", "key_value", "b", data=row))
        await client.put("/values/z", body="told")
        assert not kept.answers


async def test_nothing_is_kept_while_a_projection_is_stopped() -> None:
    """A read that would be refused is not answered from before."""
    async with running(app) as world:
        await world.client.put("/values/a", body="1")
        for _ in range(3):
            await world.client.get("/values/a")
        assert kept_of(world).answers
        world.kernel.projector.stopped["Values"] = Stopped(
            "Values", 1, "event 2", "why", "a cure"
        )  # as if it had
        world.kernel.projector.events.emit("failure", "Values", None, ValueError())
        assert [(await world.client.get("/values/a")).status for _ in range(3)] == [503] * 3
