"""livekv behind a real nginx and a real HAProxy, with the configurations of `deploy/` as they are: clients are known,
pages, login, writes and the stream of events work under https and under a prefix, and nobody is believed who lies."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import logging
import re
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from tests.roles.oneprocess import one_process
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from livekv import app
from skerry.loop.sockets import bind_tcp
from skerry.roles.proxy import Proxy, ProxySettings, Upstream
from skerry.roles.server import ServerRole
from skerry.testing.reverse_proxies import private_haproxy, private_nginx

DEPLOY = Path(__file__).parents[2] / "deploy"
CLIENT = "127.0.0.9"
"""Where the tests ask from; proxies ask the server from 127.0.0.1, which is the one that is trusted."""

UNCHECKED = ssl.create_default_context()
UNCHECKED.check_hostname, UNCHECKED.verify_mode = False, ssl.CERT_NONE


def filled(text: str, **places: str) -> str:
    """A configuration with other places; what is to be replaced has to be there."""
    for old, new in places.items():
        assert old in text, f"{old} is not in the configuration"
        text = text.replace(old, new)
    return text


def through_nginx(port: int, certificate: tuple[Path, Path]) -> AbstractContextManager[tuple[int, ...]]:
    cert, key = certificate
    places = {
        "127.0.0.1:8999": f"127.0.0.1:{port}", "listen 443 ssl": "listen 127.0.0.1:PORT ssl",
        "/etc/ssl/skerry.pem": str(cert), "/etc/ssl/skerry.key": str(key),
    }  # fmt: skip
    text = filled((DEPLOY / "nginx.conf").read_text(), **places)

    @contextlib.contextmanager
    def run() -> Iterator[tuple[int, ...]]:
        with private_nginx(text) as nginx:
            yield (nginx.port,)

    return run()


def through_haproxy(port: int, certificate: tuple[Path, Path]) -> AbstractContextManager[tuple[int, ...]]:
    cert, key = certificate
    both = cert.parent / "both.pem"
    both.write_text(cert.read_text() + key.read_text())
    places = {
        "127.0.0.1:8999": f"127.0.0.1:{port}", "bind :443 ": "bind 127.0.0.1:PORT1 ",
        "bind :8443": "bind 127.0.0.1:PORT2", "bind :8444": "bind 127.0.0.1:PORT3", "/etc/ssl/skerry.pem": str(both),
    }  # fmt: skip
    text = filled((DEPLOY / "haproxy.cfg").read_text(), **places)

    @contextlib.contextmanager
    def run() -> Iterator[tuple[int, ...]]:
        with private_haproxy(text, ports=3) as haproxy:
            yield haproxy.ports

    return run()


Through = Callable[[int, tuple[Path, Path]], AbstractContextManager[tuple[int, ...]]]
PROXIES = [
    pytest.param(through_nginx, id="nginx", marks=pytest.mark.service("nginx")),
    pytest.param(through_haproxy, id="haproxy", marks=pytest.mark.service("haproxy")),
]


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    text: str


@dataclass
class Site:
    """livekv behind proxies: `ports` of those, and its own."""

    ports: tuple[int, ...]
    port: int
    role: ServerRole

    async def ask(
        self, method: str, path: str, body: str = "", *, port: int = 0, tls: bool = True, **fields: str
    ) -> Answer:
        """One request on a connection of its own, from the client's address; fields with `_` for `-`."""
        port = port or self.ports[0]

        def call() -> Answer:
            source = (CLIENT, 0)
            if tls:
                connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                    "127.0.0.1", port, timeout=30, source_address=source, context=UNCHECKED
                )
            else:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30, source_address=source)
            with contextlib.closing(connection):
                headers = {name.replace("_", "-"): value for name, value in fields.items()}
                connection.request(method, path, body.encode(), headers)
                answer = connection.getresponse()
                return Answer(answer.status, answer.headers, answer.read().decode())

        return await asyncio.to_thread(call)

    @property
    def origin(self) -> str:
        return f"https://127.0.0.1:{self.ports[0]}"


@asynccontextmanager
async def site(
    through: Through | None, certificate: tuple[Path, Path], **settings: Any
) -> AsyncIterator[Site]:
    async with one_process(app, trusted="127.0.0.1", access_log=True, **settings) as process:
        role, port = await process.serve(ServerRole), process.port
        if through is None:
            yield Site((), port, role)
            return
        proxy = through(port, certificate)
        ports = await asyncio.to_thread(proxy.__enter__)
        try:
            yield Site(ports, port, role)
        finally:
            await asyncio.to_thread(proxy.__exit__, None, None, None)


def clients(caplog: pytest.LogCaptureFixture, path: str) -> set[str]:
    """Who asked for that path, as the access log has it."""
    records = [record for record in caplog.records if record.name == "skerry.access"]
    return {getattr(each, "client", "") for each in records if getattr(each, "path", "").startswith(path)}


@pytest.mark.parametrize("through", PROXIES)
async def test_who_asks_is_who_asks(
    through: Through, certificate: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    """The log has the client's address, whatever a client claims; connections to the server are shared."""
    caplog.set_level(logging.INFO, "skerry.access")
    lies: dict[str, Any] = {
        "X_Forwarded_For": "6.6.6.6", "Forwarded": "for=6.6.6.6;host=evil.example", "X_Forwarded_Host": "evil.example",
        "X_Forwarded_Prefix": "/evil", "X_Forwarded_Proto": "http", "X_Forwarded_Port": "1",
    }  # fmt: skip
    async with site(through, certificate) as here:
        caplog.clear()
        for number in range(6):
            assert (await here.ask("PUT", f"/values/{number}", "x", **lies)).status == 200
        page = await here.ask("GET", "/", **lies)
        assert "evil" not in page.text
        assert f"{here.origin}/values/hello" in page.text
        assert clients(caplog, "/values/") == {CLIENT}
        assert here.role.http.connections <= 4, "kept and used again, health checks beside them"


@pytest.mark.parametrize("prefix", ["", "/kv"])
@pytest.mark.parametrize("through", PROXIES)
async def test_the_page_and_all_that_it_asks_for(
    through: Through, prefix: str, certificate: tuple[Path, Path]
) -> None:
    """Every path on the page leads back through the proxy, its scripts' imports are relative to them."""
    async with site(through, certificate) as here:
        await here.ask("PUT", f"{prefix}/values/a", "one")
        page = await here.ask("GET", f"{prefix}/")
        assert page.status == 200
        assert f'data-events="{prefix}/events"' in page.text
        assert f"{here.origin}{prefix}/values/hello" in page.text
        links = set(re.findall(r'(?:href|src)="(/[^"]*)"', page.text))
        assert all(link.startswith(f"{prefix}/") for link in links)
        for link in sorted(links):
            assert (await here.ask("GET", link)).status == 200, link
        scripts = {f"{prefix}/static/livekv.js"}
        for script in scripts:
            text = (await here.ask("GET", script)).text
            for name in re.findall(r'from "([^"]+)"', text):
                assert name.startswith(("./", "../")), name
                path = f"{prefix}/static/{name[2:]}" if name.startswith("./") else f"{prefix}/{name[3:]}"
                assert (await here.ask("GET", path)).status == 200, path
        described = await here.ask("GET", f"{prefix}/openapi.json")
        assert json.loads(described.text).get("servers") == ([{"url": prefix}] if prefix else None)


@pytest.mark.parametrize("prefix", ["", "/kv"])
@pytest.mark.parametrize("through", PROXIES)
async def test_logging_in(through: Through, prefix: str, certificate: tuple[Path, Path]) -> None:
    """From the page to the form and back; the cookie is for https and for this application only."""
    async with site(through, certificate, tokens="read:r,write:w") as here:
        sent = await here.ask("GET", f"{prefix}/", Accept="text/html")
        assert (sent.status, sent.headers["Location"]) == (
            303,
            f"{prefix}/login?" + urlencode({"next": f"{prefix}/"}),
        )
        form = await here.ask("GET", sent.headers["Location"])
        assert f"action='{prefix}/login'" in form.text
        fields = urlencode({"token": "w", "next": f"{prefix}/"})
        refused = await here.ask("POST", f"{prefix}/login", fields, Origin="https://evil.example")
        assert refused.status == 403
        done = await here.ask("POST", f"{prefix}/login", fields, Origin=here.origin)
        assert (done.status, done.headers["Location"]) == (303, f"{prefix}/")
        cookie = done.headers["Set-Cookie"]
        assert cookie.endswith("; Secure")
        assert f"; Path={prefix or '/'};" in cookie
        session = cookie.partition(";")[0]
        for origin, status in ((here.origin, 200), ("https://evil.example", 403)):
            wrote = await here.ask("PUT", f"{prefix}/values/a", "x", Cookie=session, Origin=origin)
            assert wrote.status == status, origin
        out = await here.ask("POST", f"{prefix}/logout", Origin=here.origin)
        assert out.headers["Location"] == f"{prefix}/login"


@pytest.mark.parametrize("through", PROXIES)
async def test_writes_of_pages(through: Through, certificate: tuple[Path, Path]) -> None:
    """Without tokens: our own page's origin is the outer one, another site's page is refused."""
    async with site(through, certificate) as here:
        own = await here.ask("PUT", "/values/a", "x", Origin=here.origin)
        foreign = await here.ask("PUT", "/values/a", "x", Origin="https://evil.example")
        lying = await here.ask(
            "PUT", "/values/a", "x", Origin="https://evil.example", X_Forwarded_Host="evil.example"
        )
        assert (own.status, foreign.status, lying.status) == (200, 403, 403)
        later = await here.ask("PUT", "/kv/values/a", "x", Prefer="respond-async", Origin=here.origin)
        assert later.status == 200 or later.headers["Location"].startswith("/kv/commands/")


@pytest.mark.parametrize("prefix", ["", "/kv"])
@pytest.mark.parametrize("through", PROXIES)
async def test_the_stream_of_events(through: Through, prefix: str, certificate: tuple[Path, Path]) -> None:
    """By WebSocket and unbuffered as server-sent events; pages of other sites may not listen."""
    async with site(through, certificate) as here:
        url = f"wss://127.0.0.1:{here.ports[0]}{prefix}/events"
        with pytest.raises(InvalidStatus) as refused:
            await connect(url, ssl=UNCHECKED, origin="https://evil.example")  # type: ignore[arg-type]
        assert refused.value.response.status_code == 403
        reader, writer = await asyncio.open_connection("127.0.0.1", here.ports[0], ssl=UNCHECKED)
        host = f"127.0.0.1:{here.ports[0]}"
        writer.write(
            f"GET {prefix}/events HTTP/1.1\r\nHost: {host}\r\nOrigin: {here.origin}\r\n\r\n".encode()
        )
        async with asyncio.timeout(30), connect(url, ssl=UNCHECKED, origin=here.origin) as listening:  # type: ignore[arg-type]
            assert b" 200 " in await reader.readline()
            await reader.readuntil(b"hello")
            assert json.loads(await listening.recv())["type"] == "hello"
            assert (await here.ask("PUT", f"{prefix}/values/a", "heard")).status == 200
            await reader.readuntil(b'"heard"')
            while json.loads(await listening.recv()).get("value") != "heard":
                pass
        writer.close()


@pytest.mark.service("haproxy")
async def test_bytes_with_the_proxy_protocol(
    certificate: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    """Versions 1 and 2: the client is known, the health checks are the proxy's own."""
    caplog.set_level(logging.INFO, "skerry.access")
    async with site(through_haproxy, certificate) as here:
        for port, key in ((here.ports[1], "two"), (here.ports[2], "one")):
            caplog.clear()
            assert (await here.ask("PUT", f"/values/{key}", "x", port=port, tls=False)).status == 200
            assert clients(caplog, f"/values/{key}") == {CLIENT}
        async with asyncio.timeout(30):
            while not clients(caplog, "/health/ready"):  # noqa: ASYNC110  # HAProxy checks by its own clock
                await asyncio.sleep(0.02)
        assert clients(caplog, "/health/ready") == {"127.0.0.1"}


@pytest.mark.parametrize("sending", [True, False])
async def test_our_own_balancer(
    sending: bool, certificate: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    """`skerry balancer --to ... --send-proxy` says who its client is; without it the server sees the balancer."""
    caplog.set_level(logging.INFO, "skerry.access")
    async with site(None, certificate) as here:
        with bind_tcp("127.0.0.1", 0) as listener:
            upstream = Upstream("127.0.0.1", here.port)
            proxy = Proxy([listener], [upstream], ProxySettings(send_proxy=sending))
            await proxy.start()
            try:
                assert upstream.healthy
                port = listener.getsockname()[1]
                assert (await here.ask("PUT", "/values/a", "x", port=port, tls=False)).status == 200
            finally:
                await proxy.stop(1.0)
        assert clients(caplog, "/values/a") == {CLIENT if sending else "127.0.0.1"}
        assert clients(caplog, "/health/ready") == {"127.0.0.1"}
