"""A service of the Tars platform: what its HTTP costs beside `skerry up`, what reporting costs, how soon it lives.

Bars: <= 1.05x of the CPU of the same application under `skerry up` or `skerry host`; <= 3 % of the CPU for statistics,
properties and logs at 5,000 calls/s; <= 1 s from the start to the first keep-alive. CPU is user and system time of the
process that serves, for each request, over pairs of runs that take turns; the median of the ratios counts. Requests go
over keep-alive connections of this process, which is not the limit. Run: `python -m benchmarks.tars_platform`.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from benchmarks.rows import Row, table

from skerry import tars
from skerry.tars.platform.configuration import Configuration
from skerry.testing.broker import free_ports
from skerry.testing.tars import TarsPlatform
from skerry.testing.tars.node import FakeNode, configuration_for

HERE = Path(__file__).parent / "peers"
CONNECTIONS, REQUESTS, ROUNDS = 4, 12_000, 5
CALLS, CALLS_PER_SECOND, SECONDS = 50, 5_000, 6.0
demo: Any = tars.load_text("module Bench { interface Echo { string echo(string text); }; };").Bench


class EchoServant(demo.Echo):  # type: ignore[misc]
    async def echo(self, text: str) -> str:
        return text


echo_service = tars.Service()
echo_service.servant("EchoObj", EchoServant())


def wsgi(environ: dict[str, Any], start: Any) -> list[bytes]:
    """The smallest application."""
    start("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    return [b"hello"]


def cpu_of(pid: int) -> float:
    """User and system time of a process, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / float(os.sysconf("SC_CLK_TCK"))


def serving(parent: int, *words: str) -> int:
    """The pid of the child of `parent` that serves, by words of its command line; its own where it has none."""
    for entry in Path("/proc").iterdir():
        try:
            ppid = int(entry.joinpath("stat").read_text(encoding="ascii").rpartition(")")[2].split()[1])
            line = entry.joinpath("cmdline").read_bytes().decode().split("\0")
        except (OSError, ValueError, IndexError):
            continue
        if ppid == parent and all(word in line for word in words) and "--decides" not in line:
            return int(entry.name)
    return parent


async def ask(port: int, path: str, count: int) -> None:
    """So many requests over one connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    for _ in range(count):
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(head.decode())
        lower = head.lower()
        await reader.readexactly(int(lower.partition(b"content-length: ")[2].partition(b"\r")[0]))
    writer.close()


async def cost(pid: int, port: int, path: str) -> float:
    """Microseconds of CPU for each request."""
    await ask(port, path, 500)
    began = cpu_of(pid)
    each = REQUESTS // CONNECTIONS
    await asyncio.gather(*(ask(port, path, each) for _ in range(CONNECTIONS)))
    return 1e6 * (cpu_of(pid) - began) / REQUESTS


@asynccontextmanager
async def under_tars(
    folder: Path, target: str, web: bool = True, **changes: Any
) -> AsyncIterator[tuple[FakeNode, int, int]]:
    """A node with the service: it, the pid of what serves, its port."""
    configuration: Configuration = configuration_for(
        "PyServer", [] if web else ["EchoObj"], web=["WebObj"] if web else [], deactivating_seconds=5.0,
        environment={"PYTHONPATH": f"{Path(__file__).parent.parent}{os.pathsep}{HERE}"},
    ).changed(**changes)  # fmt: skip
    command = [sys.executable, "-m", "skerry", "tars", "run", target, "--workers", "1"]
    async with FakeNode(folder, configuration, command) as node:
        await node.start()
        await node.until_active()
        yield node, serving(node.pid, "worker"), configuration.adapters[0].endpoint.port


@asynccontextmanager
async def under_skerry(folder: Path, words: list[str], role: str) -> AsyncIterator[tuple[int, int]]:
    """`skerry up` or `skerry host`: the pid of what serves, the port."""
    [port] = free_ports(1)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "skerry", *words, "--bind", f"127.0.0.1:{port}",
        cwd=folder, env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with asyncio.timeout(60):
            while True:
                try:
                    await ask(port, "/-/skerry/health/live", 1)
                    break
                except (OSError, EOFError, RuntimeError):
                    await asyncio.sleep(0.1)
        yield serving(process.pid, role), port
    finally:
        process.terminate()
        await process.wait()


async def http_ratio(target: str, words: list[str], role: str, path: str) -> tuple[float, float]:
    """CPU of a request through the service, in microseconds, and as a ratio to the other."""
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        async with (
            under_tars(Path(one), target) as (_, pid, port),
            under_skerry(Path(other), words, role) as (beside, beside_port),
        ):
            ours, ratios = [], []
            for _ in range(ROUNDS):
                mine, theirs = await cost(pid, port, path), await cost(beside, beside_port, path)
                ours.append(mine)
                ratios.append(mine / theirs)
            return statistics.median(ours), statistics.median(ratios)


async def called(proxy: Any, pid: int) -> float:
    """Seconds of CPU for a second of so many calls."""
    began, cpu = time.monotonic(), cpu_of(pid)
    done = 0
    while (passed := time.monotonic() - began) < SECONDS:
        if done < passed * CALLS_PER_SECOND:
            await asyncio.gather(*(proxy.echo("hello") for _ in range(CALLS)))
            done += CALLS
        else:
            await asyncio.sleep(0.001)
    return (cpu_of(pid) - cpu) * CALLS_PER_SECOND / done


async def reporting_share(platform: TarsPlatform) -> tuple[float, float]:
    """How much of a CPU a service of 5,000 calls/s takes without reporting, and how much more with it."""
    reporting = {"client": platform.client_configuration("Demo.PyServer"), "log": "tars.tarslog.LogObj"}
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        target = "benchmarks.tars_platform:echo_service"
        async with (
            under_tars(Path(one), target, web=False, **reporting) as (_, pid, port),
            under_tars(Path(other), target, web=False) as (_, beside, beside_port),
            tars.Communicator(timeout_seconds=30) as communicator,
        ):
            name = "Demo.PyServer.EchoObj@tcp -h 127.0.0.1 -p"
            told, quiet = (
                communicator.proxy(demo.Echo, f"{name} {each} -t 60000") for each in (port, beside_port)
            )
            with_it, without = [], []
            for _ in range(ROUNDS):
                with_it.append(await called(told, pid))
                without.append(await called(quiet, beside))
            more = statistics.median(mine - theirs for mine, theirs in zip(with_it, without, strict=True))
            return statistics.median(without), more


async def first_keep_alive() -> float:
    """Seconds from the start of a bare service, the least of some starts."""
    found = []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as folder:
            environment = {"PYTHONPATH": str(Path(__file__).parent.parent)}
            configuration = configuration_for("PyServer", ["EchoObj"], environment=environment)
            target = "benchmarks.tars_platform:echo_service"
            command = [sys.executable, "-m", "skerry", "tars", "run", target, "--workers", "1"]
            async with FakeNode(Path(folder), configuration, command) as node:
                began = time.monotonic()
                await node.start()
                await node.until(lambda node=node: bool(node.keep_alives))  # type: ignore[misc]
                found.append(time.monotonic() - began)
    return min(found)


def run() -> list[Row]:
    """Everything."""
    here = "benchmarks.tars_platform:wsgi"
    host, host_ratio = asyncio.run(http_ratio(here, ["host", here, "--hosts", "1"], "host", "/"))
    app, app_ratio = asyncio.run(
        http_ratio("livekv.app:app", ["up", "livekv:app", "--servers", "1"], "server", "/values?limit=1")
    )
    with TarsPlatform() as platform:
        quiet, more = asyncio.run(reporting_share(platform))
    start = asyncio.run(first_keep_alive())
    return [
        Row("WSGI through a Tars service, against `skerry host`", host, "us of CPU", ratio=host_ratio, bar=1.05),
        Row("App through a Tars service, against `skerry up`", app, "us of CPU", ratio=app_ratio, bar=1.05),
        Row("platform reporting at 5,000 calls/s", 100 * more, "% of a CPU",
            note=f"bar: 3 %; without it {100 * quiet:.1f} %"),
        Row("start of a bare service until the first keep-alive", start, "s", note="bar: 1 s"),
    ]  # fmt: skip


if __name__ == "__main__":
    print(table(run()))
