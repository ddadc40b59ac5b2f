"""The registry as a locator: what is known survives it, sets and groups count, weights are read as they are sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import skerry.tars
from skerry.tars.call_errors import CallError
from skerry.tars.communicator import Communicator
from skerry.tars.endpoint import Endpoint, parse_endpoints
from skerry.tars.locator import Located
from skerry.tars.platform.cache import EndpointCache
from skerry.tars.platform.identity import Identity
from skerry.tars.platform.registry import QUERY, RegistryLocator, endpoint_of
from skerry.tars.server import Server
from skerry.testing.tars import TarsPlatform

NAME = "Demo.Other.EchoObj"
A, B = "tcp -h 10.0.0.1 -p 9001 -t 60000", "tcp -h 10.0.0.2 -p 9001 -t 60000"
idl: Any = skerry.tars.load_text("module Demo { interface Echo { string echo(string text); }; };").Demo


class EchoServant(idl.Echo):  # type: ignore[misc]
    async def echo(self, text: str) -> str:
        return text


@asynccontextmanager
async def locating(
    platform: TarsPlatform,
    identity: Identity | None = None,
    cache: EndpointCache | None = None,
    seconds: float = 30.0,
) -> AsyncIterator[RegistryLocator]:
    locator = RegistryLocator(platform.locator, identity, cache, seconds)
    try:
        yield locator
    finally:
        await locator.close()


def hosts(endpoints: tuple[Endpoint, ...]) -> list[str]:
    return [endpoint.host for endpoint in endpoints]


async def test_calls_by_a_bare_name(tars_platform: TarsPlatform, identity: Identity) -> None:
    """A client with nothing but the registry's address reaches a server, and the registry knows its node."""
    server = Server()
    server.add(EchoServant(), f"{NAME}@tcp -h 127.0.0.1 -p 0 -t 60000")
    async with server, locating(tars_platform, identity) as locator:
        tars_platform.registry.register(NAME, str(server.endpoints[0]))
        async with Communicator(locator=locator, timeout_seconds=30) as communicator:
            assert await communicator.proxy(idl.Echo, NAME).echo("hello") == "hello"
    assert (NAME, "n1") in tars_platform.registry.asked


async def test_the_first_call_waits_for_an_endpoint(tars_platform: TarsPlatform) -> None:
    """The list of a server that has just crashed is empty for seconds: a first call waits, within its time-out."""
    server = Server()
    server.add(EchoServant(), f"{NAME}@tcp -h 127.0.0.1 -p 0 -t 60000")
    async with server, locating(tars_platform) as locator, Communicator(locator=locator) as communicator:
        tars_platform.registry.register(NAME, str(server.endpoints[0]))
        tars_platform.registry.set_active(NAME, False)
        proxy = communicator.proxy(idl.Echo, NAME, timeout_seconds=0.05)
        with pytest.raises(CallError):  # NoEndpoint, or a registry that took too long
            await proxy.echo("too early")
        patient = asyncio.ensure_future(skerry.tars.configure(proxy, timeout_seconds=30).echo("later"))
        tars_platform.registry.set_active(NAME, True)
        assert await patient == "later"


async def test_an_empty_answer_wipes_nothing(tars_platform: TarsPlatform) -> None:
    """What was known is handed out, with the wish to be asked again soon."""
    async with locating(tars_platform) as locator:
        tars_platform.registry.register(NAME, f"{A}:{B}")
        assert hosts((await locator.find(NAME)).active) == ["10.0.0.1", "10.0.0.2"]
        tars_platform.registry.set_active(NAME, False)
        found = await locator.find(NAME)
        assert hosts(found.active) == ["10.0.0.1", "10.0.0.2"]
        assert found.again_seconds == 2.0
        tars_platform.registry.set_active(NAME, True, node="10.0.0.2")
        found = await locator.find(NAME)
        assert (hosts(found.active), hosts(found.inactive)) == (["10.0.0.2"], ["10.0.0.1"])
        assert found.again_seconds is None


async def test_a_registry_that_is_away_wipes_nothing(tars_platform: TarsPlatform) -> None:
    """Known objects go on, unknown ones fail with the reason; the third failure in a row makes it more patient."""
    async with locating(tars_platform) as locator:
        tars_platform.registry.register(NAME, A)
        await locator.find(NAME)
        tars_platform.take_away("registry")
        locator._query = skerry.tars.configure(locator._query, timeout_seconds=0.2)
        assert [(await locator.find(NAME)).again_seconds for _ in range(3)] == [2.0, 2.0, 30.0]
        assert locator.problem
        with pytest.raises(CallError):
            await locator.find("Demo.Unknown.Obj")
        tars_platform.bring_back("registry")
        async with asyncio.timeout(60):
            while locator.problem:
                found = await locator.find(NAME)
        assert found.again_seconds is None


async def test_a_cold_start_without_registry(tars_platform: TarsPlatform, tmp_path: Path) -> None:
    """A new process takes the cache file's endpoints when the registry is away, or knows none at the moment."""
    cache = EndpointCache(tmp_path / "data" / "PyServer.tarsdat", "tars.tarsregistry.QueryObj@here")
    tars_platform.registry.register(NAME, A)
    async with locating(tars_platform, cache=cache) as locator:
        await locator.find(NAME)
    tars_platform.registry.set_active(NAME, False)
    async with locating(tars_platform, cache=cache) as locator:
        assert hosts((await locator.find(NAME)).active) == ["10.0.0.1"]
    tars_platform.take_away("registry")
    async with locating(tars_platform, cache=cache, seconds=0.3) as locator:
        assert hosts((await locator.find(NAME)).active) == ["10.0.0.1"]


async def test_sets_and_groups(tars_platform: TarsPlatform) -> None:
    """A server in a set asks for its set; without one its node's group decides; a set without servers is empty, not an
    error of the registry."""
    registry = tars_platform.registry
    registry.register(NAME, A, set_division="web.north.1", group=1)
    registry.register(NAME, B, set_division="web.south.1", group=2)
    registry.groups["n2"] = 2
    async with locating(tars_platform, Identity("Demo", "PyServer", "n1", "web.north.1")) as locator:
        found = (await locator.find(NAME)).active
        assert (hosts(found), found[0].set_division) == (["10.0.0.1"], "web.north.1")
    async with locating(tars_platform, Identity("Demo", "PyServer", "n1", "web.east.1")) as locator:
        assert (await locator.find(NAME)).active == ()
    async with locating(tars_platform, Identity("Demo", "PyServer", "n2")) as locator:
        assert hosts((await locator.find(NAME)).active) == ["10.0.0.2"]
    async with locating(tars_platform, Identity("Demo", "PyServer", "n1")) as locator:
        assert len((await locator.find(NAME)).active) == 2


@pytest.mark.parametrize(
    ("weight", "kind", "read"), [(-1, 0, (-1, 0)), (40, 0, (-1, 0)), (40, 1, (40, 1)), (-1, 1, (100, 1))]
)
def test_weights_of_real_rows(weight: int, kind: int, read: tuple[int, int]) -> None:
    """A real row without a static weight has weight -1 and type 0; a weight counts with type 1 only."""
    row = QUERY.EndpointF(host="h", port=1, timeout=0, istcp=2, grid=0, weight=weight, weightType=kind)
    endpoint = endpoint_of(row)
    assert (endpoint.protocol, (endpoint.weight, endpoint.weight_type)) == ("ssl", read)


def test_the_cache_file_is_tarscpps(tmp_path: Path) -> None:
    """Domain of the locator, endpoints and inactive ones; single values stand beside them; garbage is no cache."""
    path, locator = tmp_path / "PyServer.tarsdat", "tars.tarsregistry.QueryObj@tcp -h 1.2.3.4 -p 17890"
    cache = EndpointCache(path, locator)
    assert cache.get(NAME) is None
    cache.put(NAME, Located(parse_endpoints(f"{A} -s web.north.1"), parse_endpoints(B)))
    cache.set_value("logLevel", "ERROR")
    text = path.read_text(encoding="utf-8")
    assert f"<{locator}>" in text
    assert f"{NAME}={A} -s web.north.1\n" in text
    assert f"inactive_{NAME}={B}\n" in text
    assert "tarsversion=" in text
    again = EndpointCache(path, locator)
    assert again.get(NAME) == Located(parse_endpoints(f"{A} -s web.north.1"), parse_endpoints(B))
    assert again.value("logLevel") == "ERROR"
    path.write_text("<tars>\n<broken", encoding="utf-8")
    assert again.get(NAME) is None


def test_threads_that_write_the_cache_file_at_once_keep_what_the_others_wrote(tmp_path: Path) -> None:
    """A communicator of the loop and one of threads share the file: no change is lost, none fails."""
    path = tmp_path / "PyServer.tarsdat"
    caches = [EndpointCache(path, f"tars.tarsregistry.QueryObj@{number}") for number in range(8)]

    def write(cache: EndpointCache) -> None:
        for number in range(20):
            cache.put(f"Demo.Server{number}.Obj", Located(parse_endpoints(A), ()))

    with ThreadPoolExecutor(len(caches)) as threads:
        list(threads.map(write, caches))
    assert all(cache.get(f"Demo.Server{number}.Obj") for cache in caches for number in range(20))
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] == ["PyServer.tarsdat"]
