"""Routes that leak are found and named, those that only keep what they need are not blamed."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import flask  # noqa: F401
import pytest

from skerry.cli.leaks import Route, served
from skerry.errors import SettingsError
from skerry.hosting.leaks import Finding, Plan, Probe
from skerry.kernel.settings import load_settings
from skerry.loop.models import default, factory

SHORT = Plan(warm_up=20, rounds=10, requests=6)
LEAKY = {
    "/leaky/list": ("objects", "dict"),
    "/leaky/sessions": ("objects", "tests.hosting.leaky.Order"),
    "/leaky/signal": ("objects", "function"),
    "/leaky/logger": ("objects", "logging.NullHandler"),
    "/leaky/pages/{n}": ("objects", "bytes"),
    "/leaky/cached": ("objects", "tests.hosting.leaky.Order"),
    "/leaky/cycle": ("objects", "tests.hosting.leaky.Undead"),
    "/leaky/thread": ("threads", ""),
    "/leaky/file": ("descriptors", ""),
    "/leaky/local": ("objects", "dict"),
    "/leaky/task": ("tasks", ""),
    "/leaky/context": ("objects", "tests.hosting.leaky.Order"),
}
"""And what each has to be blamed for."""
CLEAN = (
    "/clean/bounded", "/clean/flask", "/clean/signal", "/clean/pool", "/clean/cycle", "/clean/file", "/clean/late",
    "/clean/task",
)  # fmt: skip


@pytest.fixture(scope="module")
def leaky() -> Iterator[Any]:
    """The module of all routes, imported when everything else, which need not be counted, is there."""
    gc.collect()
    gc.freeze()
    tracemalloc.start()
    module = import_module("tests.hosting.leaky")
    yield module
    tracemalloc.stop()
    gc.unfreeze()
    module.let_go()


def look(leaky: Any, path: str, plan: Plan = SHORT) -> Finding:
    """What is found of a route, on the server that `skerry leaks` uses."""
    route = Route(path)
    target = leaky.bare if path in leaky.BARE else leaky.over_asgi if path in leaky.ASYNC else leaky.flask

    async def run() -> Finding:
        settings = load_settings({"host.kind": "asgi" if target is leaky.over_asgi else "wsgi"}, {})
        async with served(target, "leaky", settings) as (client, hosts):
            ask = route.asking(client, {}, None)
            return await Probe(ask, plan, idle=lambda: not any(host.busy for host in hosts)).run()

    with asyncio.Runner(loop_factory=factory(default())) as runner:
        return runner.run(run())


@pytest.mark.parametrize("path", LEAKY)
def test_a_leak_is_found_and_named(leaky: Any, path: str) -> None:
    """By what grows, about once for each request, and by a line of the application or what holds it."""
    finding = look(leaky, path)
    growth = {(each.what, each.name): each.per_request for each in finding.growths}
    assert 0.6 < growth.get(LEAKY[path], 0) < 2, finding  # a few more or less come and go by themselves
    assert finding.places, finding


@pytest.mark.parametrize("path", CLEAN)
def test_what_does_not_leak_is_not_blamed(leaky: Any, path: str) -> None:
    """Caches with a limit, pools, cycles that are collected, what is filled late, threads and files that end."""
    finding = look(leaky, path)
    assert not finding.growths, finding


def test_a_plan_that_shows_nothing_is_refused() -> None:
    """Too few rounds for a trend, or rounds without a request."""
    with pytest.raises(SettingsError, match="5 show no trend: 8 or more"):
        Plan(rounds=5)
    with pytest.raises(SettingsError, match="at least 1"):
        Plan(requests=0)


@pytest.mark.parametrize("text", ["orders", "FETCH /orders", "GET orders", ""])
def test_a_route_is_a_method_and_a_path(text: str) -> None:
    """Anything else is refused; a path alone is asked with GET."""
    with pytest.raises(SettingsError, match="neither /PATH nor METHOD /PATH"):
        Route(text)
    assert str(Route("/orders")) == "GET /orders"
    assert str(Route("post /orders")) == "POST /orders"
