"""Processes on the way of a hosted request are killed, the balancer while connections move between the App and what it
hosts: a client gets an answer or the end of its connection, and nothing is lost or repeated without a word."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import Counter
from pathlib import Path

import pytest

from skerry.testing.program import HttpConnection

sys.path.insert(0, str(Path(__file__).parent))
from test_hosts_apart import Streams, answer, asked, request, world_in  # type: ignore[import-not-found]
from upworld import Up, up  # type: ignore[import-not-found]

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="processes as on Linux"),
    pytest.mark.timeout(600),
]
DEADLY = """
import os
import signal


def application(environ, start):
    place = environ["PATH_INFO"].strip("/") + environ["REQUEST_METHOD"]
    with open(place, "a") as file:
        file.write("x")
    if environ["PATH_INFO"] == "/always" or os.path.getsize(place) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    start("200 OK", [("Content-Length", "6")])
    return [b"second"]
"""
AROUND = """
from skerry import App

app = App("around")
app.host("/", "deadly:application")
app.get("/hello/{name}")(lambda name: f"lane {name}")
"""
ENDS = (ConnectionError, asyncio.IncompleteReadError)


async def opened(world: Up) -> Streams:
    """A connection that a server has, between two requests."""
    streams: Streams = await asyncio.open_connection("127.0.0.1", world.port)
    assert await asked(streams, "/hello/you") == b"lane you"
    return streams


async def outcome(streams: Streams, *given: str, body: bytes = b"") -> int:
    """The status of an answer, 0 for the end of the connection. Nothing else may come, and it comes in time."""
    reader, writer = streams
    writer.write(request(*given, body=body))
    try:
        head, _ = await answer(reader, head_only="HEAD" in given)
    except ENDS:
        return 0
    return int(head.split()[1])


async def killed(world: Up) -> None:
    """Kill the balancer, stopped or not, and wait for the next one."""
    [balancer] = world.processes("balancer")
    os.kill(balancer.pid, signal.SIGKILL)
    await world.until(lambda: [p.pid for p in world.processes("balancer")] not in ([], [balancer.pid]))
    await world.all_ready()


async def test_what_was_on_its_way_through_a_killed_balancer_is_answered_or_ends(tmp_path: Path) -> None:
    """At each place where a connection can be: with a host, relayed by a server, moving there, moving back."""
    async with world_in(tmp_path, "--hosts", "1") as world:
        with_host, relayed, posted, moving = [await opened(world) for _ in range(4)]
        for number in range(4):  # by then it is served by the host
            await asked(with_host, f"/{number}")
        assert b"/first" in await asked(moving, "/first")  # and the next one in a row moves it
        [balancer] = world.processes("balancer")
        os.kill(balancer.pid, signal.SIGSTOP)
        # The host needs nobody, and the way between the two that is open already neither.
        assert b"/on" in await asked(with_host, "/on")
        assert b"/second" in await asked(moving, "/second")
        waits = [
            asyncio.create_task(outcome(with_host, "/hello/back")),
            asyncio.create_task(outcome(relayed, "/again")),
            asyncio.create_task(outcome(posted, "/up", "POST", body=b"x" * 1000)),
            asyncio.create_task(outcome(moving, "/third")),
        ]
        # All of them wait for the balancer, or for their turn behind it: a request of the App's is answered meanwhile.
        await asyncio.wait(waits, timeout=0.5)
        await killed(world)
        lane, again, post, third = await asyncio.gather(*waits)
        # A request that is safe is asked once more; of another one it is said that nobody knows; what was on the way
        # itself has ended with the process that had it.
        assert (lane, again) == (200, 200)
        assert post in (200, 502)
        assert third in (200, 0)
        for streams in (with_host, relayed, posted, moving):
            streams[1].close()
        fresh = await opened(world)
        for number in range(4):
            assert f"/{number}".encode() in await asked(fresh, f"/{number}")
        fresh[1].close()


async def test_a_balancer_killed_again_and_again_loses_no_write_silently(tmp_path: Path) -> None:
    """Clients change between the App and what it hosts, so that connections always move: each answered write has
    happened once, each other one at most once, and no answer is another one's."""
    async with world_in(tmp_path, "--hosts", "2") as world:
        done = asyncio.Event()
        answered: list[str] = []
        unknown: list[str] = []
        wrong: list[object] = []

        async def writes(number: int) -> None:
            client = HttpConnection(world.port)
            turn = 0
            while not done.is_set():
                turn += 1
                name = f"{number}-{turn}"
                try:
                    for _ in range(turn % 3):
                        found = await client.ask("GET", f"/hello/{name}")
                        if found.status != 502 and found.body != f"lane {name}".encode():
                            wrong.append(found)
                    found = await client.ask("POST", f"/buy?{name}")
                except ConnectionError:
                    unknown.append(name)
                    continue
                if found.status == 200 and name in found.body.decode().split():
                    answered.append(name)
                elif found.status == 502:
                    unknown.append(name)
                else:
                    wrong.append(found)
            client.close()

        tasks = [asyncio.create_task(writes(number)) for number in range(4)]

        async def went_on() -> None:
            before = len(answered)
            await world.until(lambda: len(answered) > before + 10)

        for _ in range(3):
            await went_on()
            await killed(world)
        await went_on()
        done.set()
        await asyncio.gather(*tasks)
        assert wrong == []
        client = HttpConnection(world.port)
        found = (await client.ask("POST", "/buy?last")).body.decode().split()
        client.close()
        times = Counter(found)
        assert {name: times[name] for name in answered} == dict.fromkeys(answered, 1)
        assert all(times[name] <= 1 for name in unknown)
        assert set(times) <= {*answered, *unknown, "last"}
        assert [process.restarts for process in world.processes("host")] == [0, 0]


async def test_a_request_that_is_safe_is_asked_of_another_host_once(tmp_path: Path) -> None:
    """Its process has died before a byte of the answer came. What may have had an effect is not asked again, and
    nothing more than once: it would kill one host after the other."""
    (tmp_path / "deadly.py").write_text(DEADLY)
    (tmp_path / "around.py").write_text(AROUND)
    async with up(tmp_path, "--servers", "1", "--hosts", "2", target="around:app") as world:
        for given, status, times in (
            (("/first", "GET"), 200, 2),
            (("/first", "HEAD"), 200, 2),
            (("/first", "POST"), 502, 1),
            (("/always", "GET"), 502, 2),
        ):
            await world.all_ready()
            streams = await opened(world)
            assert await outcome(streams, *given) == status, given
            assert len((tmp_path / f"{given[0][1:]}{given[1]}").read_text()) == times, given
            streams[1].close()
