"""An HTTP adapter of a Tars service: limits and time-outs of the file, routes, releases, pages of its own."""

from __future__ import annotations

import asyncio
import logging
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from flask import Flask

import skerry.tars
from skerry.hosting.settings import HostSettings
from skerry.kernel.settings import Settings
from skerry.loop.sockets import bind_tcp
from skerry.roles.tars_web import WebAdapter
from skerry.tars.call import Call, current
from skerry.tars.endpoint import Endpoint
from skerry.tars.platform import log as remote_log
from skerry.tars.platform.configuration import AdapterConfiguration, TlsFiles
from skerry.tars.platform.services import Services
from skerry.tars.server import Server
from skerry.testing.raw_http import SECONDS, until
from skerry.testing.tars import TarsPlatform

Serve = Callable[..., Awaitable[WebAdapter]]
TLS = Path(__file__).parent.parent / "tars" / "tls"


def ok(environ: dict[str, Any], start: Any) -> list[bytes]:
    start("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]


@pytest.fixture
async def serve(tars_platform: TarsPlatform, tmp_path: Path) -> AsyncIterator[Serve]:
    async with AsyncExitStack() as stack:

        async def serve(
            target: Any, *, timeout: float = 30.0, protocol: str = "tcp", **of_adapter: Any
        ) -> WebAdapter:
            bound = bind_tcp("127.0.0.1", 0, setting="endpoint", listen=False)
            endpoint = Endpoint(protocol, "127.0.0.1", bound.getsockname()[1], 60_000)
            adapter = AdapterConfiguration(
                "WebAdapter", "Demo.PyServer.WebObj", endpoint, **{"protocol": "http", "threads": 1, **of_adapter}
            )  # fmt: skip
            settings = Settings(sections=(replace(HostSettings(), timeout=timeout),), access_log=False)
            services = Services(tars_platform.configuration(tmp_path))
            web = WebAdapter(adapter, target, settings, bound, 1, services)
            stack.push_async_callback(services.stop, 0.1)
            await web.start()
            stack.push_async_callback(web.stop, 1.0)
            web.services = services  # type: ignore[attr-defined]
            return web

        yield serve


def client(web: WebAdapter, scheme: str = "http", **options: Any) -> httpx.AsyncClient:
    base = f"{scheme}://127.0.0.1:{web.adapter.endpoint.port}"
    return httpx.AsyncClient(base_url=base, timeout=60, trust_env=False, **options)


class Held:
    """A WSGI application that answers when it is let."""

    def __init__(self) -> None:
        self.go = threading.Event()

    def __call__(self, environ: dict[str, Any], start: Any) -> list[bytes]:
        assert self.go.wait(SECONDS)
        return ok(environ, start)


async def test_a_wsgi_answer_that_does_not_come_is_504(serve: Serve) -> None:
    """Beyond its time; a time-out in the statistics."""
    held = Held()
    web = await serve(held, timeout=0.1)
    async with client(web) as http:
        assert (await http.get("/")).status_code == 504
    held.go.set()
    assert web.state.counters.queue_timeouts == 1


async def test_the_queue_of_the_file_counts(serve: Serve) -> None:
    """Who finds it full hears 503 at once, who waited in it for longer than the file allows hears 504."""
    held = Held()
    web = await serve(held, queue_capacity=1)
    async with client(web) as http:
        asked = [asyncio.create_task(http.get("/"))]
        await until(lambda: web.state.running == 1)
        asked.append(asyncio.create_task(http.get("/")))
        await until(lambda: web.state.queued == 1)
        assert (await http.get("/")).status_code == 503
        assert web.wsgi is not None
        assert web.wsgi.queue_seconds == 10.0
        web.wsgi.queue_seconds = 0.000001
        held.go.set()
        assert [(await each).status_code for each in asked] == [200, 504]
    assert (web.state.counters.queue_timeouts, web.state.counters.overloads) == (1, 1)


async def test_an_asgi_answer_that_does_not_begin_is_504(serve: Serve) -> None:
    """The application is cancelled; one that has begun may take its time, and an upload that moves is no delay."""
    ended = asyncio.Event()
    go = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise RuntimeError("no lifespan")
        if scope["path"] == "/hangs":
            try:
                await asyncio.sleep(3600)
            finally:
                ended.set()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        await go.wait()
        await send({"type": "http.response.body", "body": b", ended"})

    web = await serve(app, timeout=0.2)
    async with client(web) as http, http.stream("GET", "/") as streamed:
        parts = streamed.aiter_bytes()
        assert await anext(parts) == b"begun"
        assert (await http.get("/hangs")).status_code == 504
        assert ended.is_set()
        go.set()
        assert b"".join([part async for part in parts]) == b", ended"
    assert (web.state.counters.queue_timeouts, web.state.counters.succeeded) == (1, 1)


async def test_routes_and_leftovers_of_a_framework(
    serve: Serve, tars_platform: TarsPlatform, caplog: pytest.LogCaptureFixture
) -> None:
    """Statistics are by the rule; a context that a view has pushed and left is popped."""
    flask = Flask("routes")

    @flask.get("/items/<int:item>")
    def items(item: int) -> Any:
        response = flask.make_response("ok")
        response.call_on_close(flask.app_context().push)
        return response

    web = await serve(flask)
    async with client(web) as http:
        with caplog.at_level(logging.ERROR, "skerry.host"):
            assert [(await http.get(f"/items/{item}")).text for item in (1, 2)] == ["ok", "ok"]
        assert "has left a context of Flask" in caplog.text
        assert (await http.get("/nothing")).status_code == 404
    services: Services = web.services  # type: ignore[attr-defined]
    assert services.statistics is not None
    await services.statistics.report()
    totals = tars_platform.stat.totals(False, "Demo.PyServer")
    assert (totals["GET /items/<int:item>"].succeeded, totals["GET /"].failed) == (2, 1)


async def test_what_the_platform_lacks_is_in_readiness(serve: Serve, tars_platform: TarsPlatform) -> None:
    """Named at /-/skerry/health/ready, with 503 for deployments; connections are still wanted."""
    web = await serve(ok)
    services: Services = web.services  # type: ignore[attr-defined]
    assert services.statistics is not None
    async with client(web) as http:
        assert (await http.get("/-/skerry/health/ready")).status_code == 200
        tars_platform.take_away("stat")
        services.statistics.routed("GET /", 200, 0.0)
        await services.statistics.reporting.now()
        said = await http.get("/-/skerry/health/ready")
        assert (said.status_code, "stat: " in said.json()["checks"]["platform"]["reason"]) == (503, True)
        assert (await http.get("/-/skerry/health/ready?for=traffic")).status_code == 200
        assert (await http.get("/-/skerry/health/live")).status_code == 200
        assert (
            'skerry_host_threads{host="Demo.PyServer.WebObj"} 1.0'
            in (await http.get("/-/skerry/metrics")).text
        )
        assert (await http.get("/anything")).text == "ok"


async def test_certificates_of_clients_are_asked_for(serve: Serve) -> None:
    """An ssl endpoint with `verifyclient` lets in who has a certificate of its authority, and nobody else."""
    pair = (str(TLS / "certificate.pem"), str(TLS / "key.pem"))
    files = TlsFiles(cert=pair[0], key=pair[1], ca=pair[0], verify_client=True)
    web = await serve(ok, tls=files, protocol="ssl")
    context = ssl.create_default_context(cafile=pair[0])
    context.check_hostname = False
    async with client(web, "https", verify=context) as nobody:
        with pytest.raises(httpx.TransportError):
            await nobody.get("/")
    context.load_cert_chain(*pair)
    async with client(web, "https", verify=context) as known:
        assert (await known.get("/")).text == "ok"


demo: Any = skerry.tars.load_text("module Demo { interface Chain { string here(); }; };").Demo


class ChainServant(demo.Chain):  # type: ignore[misc]
    async def here(self) -> str:
        return str(current().trace)


@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
async def test_a_trace_of_http_goes_on_to_servants(
    serve: Serve, tars_platform: TarsPlatform, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """The view's calls belong to the trace of its request; both sides are in the platform's trace log."""
    monkeypatch.setattr(remote_log, "GATHER_SECONDS", 0.01)
    found: list[Services] = []
    name = "Demo.PyServer.ChainObj"
    server = Server(observer=Later(found))
    server.add(ChainServant(), f"{name}@tcp -h 127.0.0.1 -p 0 -t 60000")

    def wsgi(environ: dict[str, Any], start: Any) -> list[bytes]:
        chain = found[0].blocking().proxy(demo.Chain, server.address(name))
        start("200 OK", [("Content-Type", "text/plain")])
        return [chain.here().encode()]

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise RuntimeError("no lifespan")
        chain = found[0].communicator.proxy(demo.Chain, server.address(name))
        body = (await chain.here()).encode()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    async with server:
        web = await serve({"wsgi": wsgi, "asgi": asgi}[kind])
        found.append(web.services)  # type: ignore[attr-defined]
        chain, span = "ee824ad0eb4dacf56b29d230a229c584", "00f067aa0ba902b7"
        async with client(web) as http:
            said = (await http.get("/", headers={"traceparent": f"00-{chain}-{span}-01"})).text
            assert said.startswith(f"Trace(chain='0-{chain}'")
            assert (await http.get("/")).text == "None"
        remote = found[0].log
        assert remote is not None
        remote.start()
        await tars_platform.until(lambda: tars_platform.log.text("_t_trace_").count("\n") == 4)
    lines = [line.split("|") for line in tars_platform.log.text("_t_trace_").splitlines()]
    told = {line[3]: (line[0], line[4:7], line[8]) for line in lines}
    assert told["cs"] == (f"0-{chain}", ["Demo.PyServer", name, "here"], "0")
    assert told["ss"] == (f"0-{chain}", ["", name, "here"], "0")
    assert [line[2] for line in lines if line[3] == "cr"] == [span]


class Later:
    """The observer of a server that is there before its services are."""

    def __init__(self, found: list[Services]) -> None:
        self._found = found

    def served(self, call: Call, code: int, seconds: float) -> None:
        self._found[0].served(call, code, seconds)
