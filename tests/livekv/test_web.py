"""livekv over HTTP, row by row of the contract."""

from __future__ import annotations

import asyncio
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from livekv import app
from livekv.messages import DeleteValue, PutValue
from livekv.values import Values
from skerry.kernel.settings import Settings
from skerry.testing.app import World, running


async def put(world: World, key: str, value: str | bytes, **headers: str) -> tuple[int, dict[str, object]]:
    answer = await world.client.put(f"/values/{quote(key, safe='')}", body=value, headers=headers)
    return answer.status, answer.json()


async def test_put_get_delete() -> None:
    """The three sentences of the contract, to the letter."""
    async with running(app) as world:
        answer = await world.client.put("/values/mykey", body="myvalue")
        assert answer.status == 200
        assert answer.body == b'{"key":"mykey","value":"myvalue","message":"OK"}'
        position = answer.headers["skerry-position"]
        assert answer.etag == f'"{position}"'
        assert len(answer.headers["skerry-command"]) == 32

        found = await world.client.get("/values/mykey")
        assert (found.status, found.body) == (200, b'{"key":"mykey","value":"myvalue"}')
        assert (found.etag, found.headers["skerry-position"]) == (answer.etag, position)
        assert (await world.client.request("HEAD", "/values/mykey")).headers["content-length"] == str(
            len(found.body)
        )

        gone = await world.client.delete("/values/mykey")
        assert (gone.status, gone.body) == (200, b'{"key":"mykey","message":"1"}')
        again = await world.client.delete("/values/mykey")
        assert (again.status, again.body) == (200, b'{"key":"mykey","message":"0"}')
        missing = await world.client.get("/values/mykey")
        assert (missing.status, missing.body) == (404, b"")
        assert [record.name for record in await world.events()] == ["value_put", "value_deleted"]


async def test_conditional_requests() -> None:
    """304 for what the client has; 412 for a write whose precondition does not hold."""
    async with running(app) as world:
        first = (await world.client.put("/values/a", body="1")).etag or ""
        assert (await world.client.get("/values/a", headers={"If-None-Match": first})).status == 304
        assert (await world.client.put("/values/a", body="2", headers={"If-None-Match": "*"})).status == 412
        second = await world.client.put("/values/a", body="2", headers={"If-Match": first})
        assert second.status == 200
        assert (await world.client.put("/values/a", body="3", headers={"If-Match": first})).status == 412
        assert (await world.client.get("/values/a", headers={"If-None-Match": first})).status == 200
        assert (await world.client.delete("/values/a", headers={"If-Match": first})).status == 412
        assert (await world.client.delete("/values/a", headers={"If-Match": "*"})).status == 200
        assert (await world.client.delete("/values/a", headers={"If-Match": "*"})).status == 412
        assert (await world.client.put("/values/a", body="1", headers={"If-None-Match": "*"})).status == 200
        assert (await world.client.put("/values/a", body="1", headers={"If-Match": "nonsense"})).status == 400


async def test_only_one_of_many_compare_and_sets_wins() -> None:
    """Fifty clients that know the same version: one succeeds, all others are told."""
    async with running(app) as world:
        etag = (await world.client.put("/values/a", body="0")).etag or ""
        answers = await asyncio.gather(
            *(world.client.put("/values/a", body=str(n), headers={"If-Match": etag}) for n in range(50))
        )
        assert sorted(a.status for a in answers) == [200] + [412] * 49


async def test_an_idempotency_key_takes_effect_once() -> None:
    """The same answer and position again; another body under the key is refused; another key is another write."""
    async with running(app) as world:
        key = {"Idempotency-Key": "order-1"}
        first = await world.client.put("/values/a", body="1", headers=key)
        again = await world.client.put("/values/a", body="1", headers=key)
        assert (again.status, again.body, again.headers["skerry-position"]) == (
            200, first.body, first.headers["skerry-position"],
        )  # fmt: skip
        assert (await world.client.put("/values/a", body="2", headers=key)).status == 422
        assert (await world.client.put("/values/b", body="2", headers=key)).status == 200
        deleted = await world.client.delete("/values/a", headers=key)
        assert (deleted.json()["message"], (await world.client.delete("/values/a", headers=key)).json()["message"]) == (
            "1", "1",
        )  # fmt: skip
        assert len(await world.events()) == 3
        assert (
            await world.client.put("/values/a", body="1", headers={"Idempotency-Key": "x" * 256})
        ).status == 400


ODD_KEYS = [
    "ü",
    "日本",
    "😀",
    "a b",
    "a/b",
    "a%2Fb",
    "100%",
    "'\"",
    "<script>",
    "a.b",
    "...",
    "~",
    "+",
    "?&=#",
]
ODD_KEYS += ["\u202e", "\u00e9", "e\u0301"]


@pytest.mark.parametrize("key", ODD_KEYS)
async def test_keys_of_every_kind(key: str) -> None:
    """What is put is got under the same key, and under no other one; the journal and the list have it too."""
    async with running(app) as world:
        status, body = await put(world, key, "value")
        assert (status, body["key"]) == (200, key)
        found = await world.client.get(f"/values/{quote(key, safe='')}")
        assert found.json() == {"key": key, "value": "value"}
        assert list(world.service(Values).entries) == [key]
        assert (await world.client.get("/values")).json()["values"] == [{"key": key, "value": "value"}]
        assert (await world.client.get("/values", query={"prefix": key[:1]})).json()["values"]
        assert (await world.events())[0].key == key


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), min_size=1, max_size=40))
async def test_no_two_keys_alias(key: str) -> None:
    """Any key that is one comes back exactly as it was sent."""
    if key in (".", ".."):
        return
    async with running(app) as world:
        status, body = await put(world, key, key)
        assert (status, body) == (200, {"key": key, "value": key, "message": "OK"})


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/values/.", 400),
        ("/values/..", 400),
        ("/values/%2e", 400),
        ("/values/%2E%2E", 400),
        ("/values/a%00b", 400),
        ("/values/%ff", 400),
        ("/values/%c0%af", 400),
        ("/values/%ed%a0%80", 400),
        ("/values/%zz", 400),
        ("/values/" + "a" * 513, 414),
        ("/values/" + "%C3%BC" * 257, 414),
        ("/values/", 404),
    ],
)
async def test_what_is_no_key(path: str, status: int) -> None:
    """Dots, NUL, bytes that are no UTF-8 (overlong and surrogates included), broken escapes, and too long."""
    async with running(app) as world:
        answer = await world.client.request("PUT", path, body="x")
        assert (answer.status, answer.headers["content-type"]) == (status, "application/problem+json")
        read = await world.client.request("GET", path)
        assert read.status in (status, 404)
        assert not await world.events()


async def test_values_of_every_kind() -> None:
    """Empty, `0`, markup, 1 MiB, any content type; too large, not UTF-8 and U+0000 are refused by name."""
    async with running(app) as world:
        for value in ("", "0", "<b>&amp;</b>", "\u2028 \\ \" ' %", "é" * 524_288):
            status, body = await put(world, "a", value, **{"Content-Type": "text/html"})
            assert (status, body["value"]) == (200, value)
            assert (await world.client.get("/values/a")).json()["value"] == value
        assert (await put(world, "a", "x" * (1024 * 1024 + 1)))[0] == 413
        assert (await put(world, "a", b"\xff"))[0] == 415
        assert (await put(world, "a", b"a\x00b"))[0] == 400
        assert len(await world.events()) == 5


async def test_the_list_pages_in_code_point_order() -> None:
    """Prefix, after and limit; `next` leads through everything once; the limits of `limit` are kept."""
    async with running(app) as world:
        keys = [f"k{n:03}" for n in range(250)] + ["ä", "z", "😀", "K"]
        for key in keys:
            await world.commands.send(PutValue(key, "v"))
        await world.commands.send(DeleteValue("k100"))
        expected = sorted(set(keys) - {"k100"})
        seen: list[str] = []
        after = ""
        while True:
            page = (await world.client.get("/values", query={"after": after, "limit": 7})).json()
            seen += [pair["key"] for pair in page["values"]]
            if page["next"] is None:
                break
            after = page["next"]
        assert seen == expected
        assert page["position"] == str(world.kernel.projector.position)
        assert len((await world.client.get("/values")).json()["values"]) == 100
        assert [
            v["key"] for v in (await world.client.get("/values", query={"prefix": "k24"})).json()["values"]
        ] == [f"k24{n}" for n in range(10)]
        for wrong in ("0", "1001", "x"):
            assert (await world.client.get("/values", query={"limit": wrong})).status == 422
        lines = await world.client.get(
            "/values", query={"limit": 2}, headers={"Accept": "application/x-ndjson"}
        )
        assert lines.body == b'{"key":"K","value":"v"}\n{"key":"k000","value":"v"}\n'


async def test_a_page_of_large_values_is_short() -> None:
    """However many are asked for, an answer stays within 4 MiB; `next` leads through all of them, once each."""
    async with running(app) as world:
        for n in range(9):
            await world.commands.send(PutValue(f"k{n}", "x" * (1024 * 1024)))
        await world.commands.send(PutValue("k9", "\x01" * (1024 * 1024)))  # six bytes each in JSON
        seen: list[list[str]] = []
        after: str | None = ""
        while after is not None:
            answer = await world.client.get("/values", query={"after": after, "limit": 1000})
            page = answer.json()
            seen.append([pair["key"] for pair in page["values"]])
            assert len(answer.body) < 4.1 * 1024 * 1024 or seen[-1] == ["k9"]
            after = page["next"]
        assert [len(keys) for keys in seen] == [3, 3, 3, 1]
        assert [key for keys in seen for key in keys] == [f"k{n}" for n in range(10)]


async def test_a_read_waits_for_the_position_it_brings() -> None:
    """Reached: at once. Another epoch: at once. Not reached in time: 503 with Retry-After. Nonsense: 400."""
    async with running(app) as world:
        position = (await world.client.put("/values/a", body="1")).headers["skerry-position"]
        epoch, _, offset = position.partition(":")
        there = await world.client.get("/values/a", headers={"Skerry-Position": position})
        assert there.status == 200
        assert (await world.client.get("/values/a", headers={"Skerry-Position": "other:9"})).status == 200
        later = {"Skerry-Position": f"{epoch}:{int(offset) + 1}"}
        waiting = asyncio.ensure_future(world.client.get("/values/a", headers=later))
        await asyncio.sleep(0)
        await world.commands.send(PutValue("a", "2"))
        assert (await waiting).json()["value"] == "2"
        never = await world.client.get(
            "/values/a", headers={"Skerry-Position": f"{epoch}:99", "Prefer": "wait=0"}
        )
        assert (never.status, never.headers["retry-after"]) == (503, "1")
        assert (await world.client.get("/values/a", headers={"Skerry-Position": "?"})).status == 400


async def test_the_state_of_a_command_can_be_asked() -> None:
    """Applied with its position, rejected with its reason, unknown 404."""
    async with running(app) as world:
        answer = await world.client.put("/values/a", body="1")
        state = (await world.client.get(f"/commands/{answer.headers['skerry-command']}")).json()
        assert (state["status"], state["position"]) == ("applied", answer.headers["skerry-position"])
        refused = await world.client.put("/values/a", body="1", headers={"If-None-Match": "*"})
        state = (await world.client.get(f"/commands/{refused.headers['skerry-command']}")).json()
        assert (state["status"], state["position"]) == ("rejected", None)
        assert state["reason"]
        assert (await world.client.get("/commands/" + "0" * 32)).status == 404
        assert (await world.client.get("/commands/x")).status == 404


async def test_without_a_consumer_the_outcome_is_unknown() -> None:
    """Nothing is answered 200 or 202 that is not durable: 503, Retry-After, the command's id, and the advice."""
    async with running(app) as world:
        await world.consumer.hold()
        await asyncio.sleep(0)
        for prefer in ("wait=0", "respond-async, wait=0"):
            answer = await world.client.put("/values/a", body="1", headers={"Prefer": prefer})
            assert answer.status == 503
            assert answer.headers["retry-after"] == "1"
            assert len(answer.headers["skerry-command"]) == 32
            assert "Idempotency-Key" in answer.json()["detail"]
        await world.consumer.resume()
        assert (await world.client.put("/values/a", body="2")).status == 200


async def test_tokens_guard_reads_and_writes() -> None:
    """No token 401, a read token may not write, a write token may both."""
    chosen = Settings(journal="memory:", transport="memory:", tokens="read:r,write:w")
    for token, got, putting in ((None, 401, 401), ("r", 404, 403), ("w", 404, 200), ("x", 401, 401)):
        async with running(app, settings=chosen, token=token) as world:
            assert (await world.client.get("/values/a")).status == got
            assert (await world.client.put("/values/a", body="1")).status == putting
