"""The server role: nobody is answered from a memory that is not there, and nobody is left behind when it ends."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.roles.oneprocess import one_process

from livekv import app
from skerry import App
from skerry.backends.memory.journal import MemoryJournal
from skerry.backends.memory.transport import MemoryHub
from skerry.errors import DeclarationError, Disconnected, SettingsError
from skerry.http.reply import Response
from skerry.journal.journal import Head
from skerry.kernel.kernel import Kernel
from skerry.kernel.settings import Settings
from skerry.roles import limits
from skerry.roles.consumer import ConsumerRole
from skerry.roles.server import GatewayRole, ServerRole
from skerry.testing.program import HttpConnection


class World:
    def __init__(self, kernel: Kernel, role: ServerRole, consumer: ConsumerRole, port: int) -> None:
        self.kernel, self.role, self.consumer, self.port = kernel, role, consumer, port

    def client(self) -> HttpConnection:
        return HttpConnection(self.port)


class Journal(MemoryJournal):
    """A journal whose snapshots wait for `gate`."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.gate.set()

    @asynccontextmanager
    async def snapshot(self, tables: Any) -> AsyncIterator[Any]:
        await self.gate.wait()
        async with super().snapshot(tables) as snapshot:
            yield snapshot


@asynccontextmanager
async def world(**settings: Any) -> AsyncIterator[World]:
    async with one_process(app, Journal(), **settings) as process:
        role = ServerRole(process.kernel, [process.listener])
        yield World(process.kernel, role, process.consumer, process.port)


async def test_it_answers_from_memory_once_it_is_there() -> None:
    """While memory is loading a connection waits in the kernel; its first answer is from the whole memory."""
    async with world() as here:
        journal = here.kernel.reader
        assert isinstance(journal, Journal)
        journal.gate.clear()
        starting = asyncio.create_task(here.role.start())
        asking = asyncio.create_task(here.client().ask("GET", "/values"))
        done, _ = await asyncio.wait({starting, asking}, timeout=0.1)
        assert not done
        journal.gate.set()
        await starting
        assert (await asking).status == 200
        await here.role.stop()


async def test_why_memory_is_not_there_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """A journal that nobody has prepared, and one that goes away later: a line each, and one when it is back."""
    caplog.set_level("INFO", "skerry.server")
    async with world() as here:
        journal = here.kernel.reader
        assert isinstance(journal, Journal)
        head, tried = journal.head, 0

        async def away(at: int | None = None) -> Head:
            nonlocal tried
            tried += 1
            raise Disconnected("the database is away")

        @asynccontextmanager
        async def unprepared(tables: Any) -> AsyncIterator[Any]:
            nonlocal tried
            tried += 1
            raise Disconnected("prepare it")
            yield

        async def until(condition: Callable[[], bool]) -> None:
            async with asyncio.timeout(30):
                while not condition():  # noqa: ASYNC110 - nobody tells of a log line
                    await asyncio.sleep(0.01)

        journal.snapshot = unprepared  # type: ignore[method-assign]
        starting = asyncio.create_task(here.role.start())
        await until(lambda: tried > 5)
        assert caplog.messages == ["memory cannot be loaded yet, trying on: prepare it"]
        del journal.snapshot
        await starting
        journal.head, tried = away, 0  # type: ignore[method-assign]
        await until(lambda: tried > 2)
        journal.head = head  # type: ignore[method-assign]
        await until(lambda: len(caplog.messages) > 3)
        assert [message.partition(",")[0] for message in caplog.messages] == [
            "memory cannot be loaded yet",
            "memory follows the journal again",
            "memory cannot be compared with the journal",
            "memory follows the journal again",
        ]
        await here.role.stop()


async def test_started_again_it_waits_for_memory_again() -> None:
    """As after a failure: not the old memory half cleared, but the new one, and each route once."""
    async with world() as here:
        await here.role.start()
        client = here.client()
        assert (await client.ask("PUT", "/values/a", b"1")).status == 200
        client.close()
        await here.role.stop()
        journal = here.kernel.reader
        assert isinstance(journal, Journal)
        journal.gate.clear()
        starting = asyncio.create_task(here.role.start())
        asking = asyncio.create_task(here.client().ask("GET", "/values/a"))
        done, _ = await asyncio.wait({starting, asking}, timeout=0.1)
        assert not done
        journal.gate.set()
        await starting
        assert (await asking).body == b'{"key":"a","value":"1"}'
        again = here.client()
        assert (await again.ask("PUT", "/values/a", b"2")).status == 200
        again.close()
        await here.role.stop()


async def test_it_takes_no_more_connections_than_it_may_open_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a server of 10,000 cannot hold is told 503, rather than lost with the link to the balancer."""
    monkeypatch.setattr(limits, "most_descriptors", lambda: limits.OWN_DESCRIPTORS + 100)
    async with world(max_connections=10_000) as here:
        assert here.role.http.settings.max_connections == 100
    async with world(max_connections=50) as here:
        assert here.role.http.settings.max_connections == 50


async def test_held_it_takes_no_new_connection() -> None:
    """Those that are there are served on; after `resume` the waiting ones are."""
    async with world() as here:
        await here.role.start()
        old = here.client()
        assert (await old.ask("GET", "/health/live")).status == 200
        await here.role.hold()
        waiting = asyncio.create_task(here.client().ask("GET", "/health/live"))
        done, _ = await asyncio.wait({waiting}, timeout=0.1)
        assert not done
        assert (await old.ask("GET", "/health/live")).status == 200
        await here.role.resume()
        async with asyncio.timeout(60):
            assert (await waiting).status == 200
        await here.role.stop()


async def test_writes_under_way_are_answered_at_the_end() -> None:
    """`stop` waits for what was asked before it, within the drain time."""
    async with world(drain=60.0) as here:
        await here.role.start()
        clients = [here.client() for _ in range(10)]
        for client in clients:
            await client.ask("GET", "/health/live")
        asking = [
            asyncio.create_task(client.ask("PUT", f"/values/{n}", b"x")) for n, client in enumerate(clients)
        ]
        while len(here.kernel.outcomes) == 0 and not any(task.done() for task in asking):  # noqa: ASYNC110
            await asyncio.sleep(0)
        await here.role.stop()
        found = await asyncio.gather(*asking, return_exceptions=True)
        answered = [each for each in found if not isinstance(each, BaseException)]
        assert answered
        assert {each.status for each in answered} == {200}


async def test_a_command_that_nobody_decides_does_not_keep_it() -> None:
    """The drain time is the longest: the client is told what is known, or its connection ends."""
    async with world(drain=0.3) as here:
        await here.role.start()
        await here.consumer.hold()
        asking = asyncio.create_task(here.client().ask("PUT", "/values/a", b"x"))
        while len(here.kernel.outcomes) == 0:  # noqa: ASYNC110
            await asyncio.sleep(0)
        async with asyncio.timeout(60):
            await here.role.stop()
        [found] = await asyncio.gather(asking, return_exceptions=True)
        if isinstance(found, BaseException):
            assert isinstance(found, ConnectionError)
        else:
            assert found.status == 503


async def test_tokens_guard_everything_and_metrics() -> None:
    """Where there are tokens: 401 without, also for /metrics and /commands; health stays open for the balancer."""
    async with world(tokens="read:r,write:w") as here:
        await here.role.start()
        client = here.client()
        for path in ("/values/a", "/metrics", "/commands/" + "0" * 32, "/events"):
            assert (await client.ask("GET", path)).status == 401, path
        assert (await client.ask("GET", "/health/live")).status == 200
        allowed = await client.ask("GET", "/metrics", Authorization="Bearer r")
        assert allowed.status == 200
        assert b"skerry_memory_offset" in allowed.body
        client.close()
        await here.role.stop()


async def test_metrics_tell_of_memory_server_and_decisions() -> None:
    """What an operator asks first: where memory is, what was decided, who is connected."""
    async with world() as here:
        await here.role.start()
        client = here.client()
        await client.ask("PUT", "/values/a", b"1")
        text = (await client.ask("GET", "/metrics")).body.decode()
        client.close()
        for name in ("skerry_memory_offset 1", "skerry_memory_behind 0", "skerry_memory_live 1"):
            assert name in text
        for name in ("skerry_commands_decided_total", "skerry_commands_waiting", "skerry_listeners"):
            assert name in text
        await here.role.stop()


async def test_wrong_tokens_keep_it_from_starting() -> None:
    """SettingsError; what it had begun is let go of by `stop`."""
    async with world(tokens="all:x") as here:
        with pytest.raises(SettingsError):
            await here.role.start()
        await here.role.stop()


async def test_a_certificate_that_is_not_there() -> None:
    """Found when the role is made: before anything is started."""
    with pytest.raises(SettingsError, match="tls_cert"):
        async with world(tls_cert="/nowhere.pem", tls_key="/nowhere.pem"):
            pass


async def test_a_view_that_nothing_fills_keeps_it_from_starting() -> None:
    """DeclarationError at start, never at the first request."""
    broken = App("broken")

    @broken.get("/")
    def view(path: Path) -> str:
        return str(path)

    async with AsyncExitStack() as stack:
        journal = await stack.enter_async_context(MemoryJournal())
        transport = MemoryHub().endpoint("one")
        await transport.start()
        stack.push_async_callback(transport.stop)
        settings = Settings(journal="memory:", transport="memory:", warm_start=False, drain=0.1)
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        role = ServerRole(Kernel(broken.declaration, settings, transport, journal, journal), [listener])
        with pytest.raises(DeclarationError, match="Path"):
            await role.start()
        await role.stop()


async def test_a_gateway_stands_behind_the_same_middleware() -> None:
    """A guard of the application guards the stream of events on the gateway's own port too."""

    class Guard:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await Response("guarded", 403)(scope, receive, send)

    guarded = App("guarded")
    guarded.live("/events")
    guarded.http.middleware(Guard)
    async with one_process(guarded) as process:
        await process.serve(GatewayRole)
        for path in ("/events", "/health/live"):
            client = HttpConnection(process.port)
            answer = await client.ask("GET", path, Accept="text/event-stream")
            client.close()
            assert (answer.status, answer.body) == (403, b"guarded")


async def test_a_name_that_points_here_reaches_nothing() -> None:
    """Bound to loopback a server is asked by this machine's names; `hosts` says which others, `*` every one."""
    evil, ours = "evil.example:8999", "kv.example"
    for hosts, statuses in [("", (421, 421, 404)), (ours, (421, 404, 404)), ("*", (404, 404, 404))]:
        async with world(hosts=hosts) as here:
            await here.role.start()
            found = []
            for host in (evil, ours, "localhost:1"):
                reader, writer = await asyncio.open_connection("127.0.0.1", here.port)
                writer.write(f"GET /values/a HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
                found.append(int((await reader.readline()).split()[1]))
                writer.close()
            assert tuple(found) == statuses
            await here.role.stop()


async def test_a_held_server_comes_back_to_the_balancer() -> None:
    """It leaves when it is held, and joins again when it resumes."""
    told: list[str] = []

    class Handover:
        async def drain(self, seconds: float) -> None:
            told.append("left")

        def start(self) -> None:
            told.append("joined")

        async def stop(self) -> None: ...

    async with world() as here:
        await here.role.start()
        here.role._handover = Handover()  # type: ignore[assignment]
        await here.role.hold()
        await here.role.resume()
        assert told == ["left", "joined"]
        here.role._handover = None
        await here.role.stop()
