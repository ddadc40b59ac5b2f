"""Endpoints from the locator: refreshed, kept when it fails, drained when they go; the choice among them."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from skerry.tars.endpoint import ObjectAddress, parse_endpoints
from skerry.tars.link import Link
from skerry.tars.locator import Located, StaticLocator
from skerry.tars.route import Routes
from skerry.tars.settings import ClientSettings

NAME = "A.B.C"
A, B, C = "tcp -h a -p 1", "tcp -h b -p 1", "tcp -h c -p 1"


class Pauses:
    """Stands in for `asyncio.sleep`: the test lets each pause end."""

    def __init__(self) -> None:
        self.asked: list[float] = []
        self._more = asyncio.Event()
        self._go: asyncio.Queue[None] = asyncio.Queue()

    async def sleep(self, seconds: float) -> None:
        self.asked.append(seconds)
        self._more.set()
        await self._go.get()

    async def next(self) -> float:
        """Wait until the refresher pauses and say for how long."""
        await self._more.wait()
        self._more.clear()
        return self.asked[-1]

    def end(self) -> None:
        self._go.put_nowait(None)


@pytest.fixture
async def pauses(monkeypatch: pytest.MonkeyPatch) -> Pauses:
    made = Pauses()
    monkeypatch.setattr("skerry.tars.route.asyncio.sleep", made.sleep)
    return made


def direct(text: str) -> Routes:
    return Routes(ObjectAddress(NAME, parse_endpoints(text)), ClientSettings(), None)


def hosts(routes: Routes) -> list[str]:
    return sorted(link.endpoint.host for link in routes.links)


def picked(routes: Routes, count: int, key: int | None = None) -> Counter[str]:
    return Counter(_host(routes.pick(key, False, 0.0, ())) for _ in range(count))


def _host(link: Link | None) -> str:
    return link.endpoint.host if link else "none"


async def test_direct_endpoints_take_turns() -> None:
    """Round robin over what the address lists."""
    assert picked(direct(f"{A}:{B}:{C}"), 30) == {"a": 10, "b": 10, "c": 10}


async def test_static_weights() -> None:
    """When every endpoint says -v 1 the weights count; one without it turns them off."""
    weighted = direct("tcp -h a -p 1 -v 1 -w 30:tcp -h b -p 1 -v 1 -w 10")
    assert picked(weighted, 40) == {"a": 30, "b": 10}
    mixed = direct("tcp -h a -p 1 -v 1 -w 30:tcp -h b -p 1")
    assert picked(mixed, 40) == {"a": 20, "b": 20}


async def test_hash_is_over_the_sorted_list_with_inactive_ones(pauses: Pauses) -> None:
    """Endpoints that are registered but down keep their place, so that keys do not move when one goes down."""
    locator = StaticLocator()
    locator.put(NAME, f"{C}:{A}:{B}")
    routes = Routes(ObjectAddress(NAME), ClientSettings(), locator)
    await routes.located()
    before = [_host(routes.pick(key, False, 0.0, ())) for key in range(6)]
    assert before == ["a", "b", "c", "a", "b", "c"]
    locator.put(NAME, f"{A}:{C}", inactive=B)
    pauses.end()
    await pauses.next()
    await pauses.next()
    after = [_host(routes.pick(key, False, 0.0, ())) for key in range(6)]
    assert [host for host, old in zip(after, before, strict=True) if old != "b"] == ["a", "c", "a", "c"]
    assert "b" not in after
    await routes.close()


async def test_refresh_adds_and_removes(pauses: Pauses) -> None:
    """After the interval the locator's new answer counts; links that stay are the same objects."""
    locator = StaticLocator({NAME: f"{A}:{B}"})
    routes = Routes(ObjectAddress(NAME), ClientSettings(refresh_seconds=60.0), locator)
    await routes.located()
    kept = next(link for link in routes.links if link.endpoint.host == "b")
    assert await pauses.next() == 60.0
    locator.put(NAME, f"{B}:{C}")
    pauses.end()
    await pauses.next()
    assert hosts(routes) == ["b", "c"]
    assert kept in routes.links
    await routes.close()


async def test_an_empty_answer_does_not_wipe_good_endpoints(pauses: Pauses) -> None:
    """Nothing active in the answer: what is known stays; asked again after ten seconds."""
    locator = StaticLocator({NAME: A})
    routes = Routes(ObjectAddress(NAME), ClientSettings(), locator)
    await routes.located()
    await pauses.next()
    locator.put(NAME, "")
    pauses.end()
    assert await pauses.next() == 10.0
    assert hosts(routes) == ["a"]
    await routes.close()


async def test_a_locator_that_fails(pauses: Pauses) -> None:
    """Asked again after 2 s, from the third failure on after 30 s; calls go on with what is known."""

    class Sometimes:
        fails = False

        async def find(self, name: str) -> Located:
            if self.fails:
                raise OSError("registry is away")
            return Located(parse_endpoints(A))

    locator = Sometimes()
    routes = Routes(ObjectAddress(NAME), ClientSettings(), locator)
    await routes.located()
    await pauses.next()
    locator.fails = True
    seen = []
    for _ in range(4):
        pauses.end()
        seen.append(await pauses.next())
    assert seen == [2.0, 2.0, 30.0, 30.0]
    assert hosts(routes) == ["a"]
    assert "registry is away" in routes.problem
    await routes.close()


async def test_all_blocked_gives_any(monkeypatch: pytest.MonkeyPatch) -> None:
    """`pick` gives none, `any_link` one at random, preferring one that was not tried."""
    routes = direct(f"{A}:{B}")
    for link in routes.links:
        link.health.failed(0.0, connecting=True)
    assert routes.pick(None, False, 0.0, ()) is None
    chosen = routes.any_link(())
    assert chosen in routes.links
    assert chosen is not None
    other = routes.any_link([chosen])
    assert other is not chosen
