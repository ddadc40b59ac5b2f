"""The slope of a running process: growth that is significant is told, caches that fill up and noise are not."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from skerry.hosting.host import Host
from skerry.hosting.slope import LEAST_REQUESTS, LEAST_SECONDS, LeakSlope


def seen(level_after: Callable[[int], int], looks: int = 40, requests: int = 100) -> float:
    """The slope after so many looks, with so many requests between two of them."""
    at = [0]
    slope = LeakSlope(lambda: level_after(at[0] * requests), lambda: at[0] * LEAST_SECONDS)
    found = 0.0
    for number in range(1, looks + 1):
        at[0] = number
        found = slope.look(number * requests)
    return found


def test_growth_is_told_per_request() -> None:
    """Three blocks a request, beside noise of many requests' worth."""
    noise = random.Random(1)
    assert seen(lambda requests: 3 * requests + noise.randrange(200)) == pytest.approx(3, abs=0.2)


@pytest.mark.parametrize("seed", range(5))
def test_noise_and_a_cache_that_is_full_are_no_growth(seed: int) -> None:
    """Up and down, and what had grown before it was full."""
    noise = random.Random(seed)
    assert seen(lambda requests: 100_000 + noise.randrange(5_000)) == 0
    assert seen(lambda requests: 10 * min(requests, 500) + noise.randrange(50)) == 0


def test_a_few_looks_or_requests_say_nothing() -> None:
    """No verdict before it can be significant; a process that is not asked anything is not looked at."""
    assert seen(lambda requests: 9 * requests, looks=7) == 0
    assert seen(lambda requests: 9 * requests, requests=LEAST_REQUESTS // 100) == 0


async def test_it_is_a_number_and_a_property_of_each_host() -> None:
    """WSGI and ASGI alike, labelled by what is hosted."""

    async def application(scope: object, receive: object, send: object) -> None: ...

    host = Host("shop:app", lambda: application)
    [metric] = [each for each in host.collect() if each.name == "skerry_host_leak_slope"]
    assert [(sample.labels, sample.value) for sample in metric.samples] == [((("host", "shop:app"),), 0.0)]
    assert host.leak_slope == 0
