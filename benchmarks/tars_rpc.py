"""A Tars server: CPU per pipelined call, against the Node.js server of `@tars/rpc`, and grpcio for orientation.

Bar: <= 3x Node. Each server runs pinned to processor 0, the load comes from processor 1 over eight connections, 50
requests a write, the next 50 when all replies are in; requests are encoded once and replies only counted, so that the
load is not the limit. CPU is user and system time of the server process over the counted run; servers take turns and
the median of the rounds counts. `make services` installs the peer. Run: `python -m benchmarks.tars_rpc`.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import selectors
import shutil
import socket
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.rows import Row, table

from skerry import tars
from skerry.tars.wire.packet import RequestPacket, encode_request

ROOT = Path(__file__).parent.parent
JS = ROOT / "tests" / "tars" / "interop" / "js"
PEERS = ROOT / "var" / "tars-peers" / "node_modules"
OBJECT = "Interop.JsServer.EchoObj"
CONNECTIONS, BATCH, SECONDS, ROUNDS, BAR = 8, 50, 1.0, 3, 3.0

echo: Any = tars.load(ROOT / "tests" / "tars" / "interop" / "Interop.tars").Interop


@dataclass(frozen=True)
class Server:
    """A server under test."""

    name: str
    process: subprocess.Popen[bytes]
    port: int


class Servant(echo.Echo):  # type: ignore[misc]
    """What the server of this file serves."""

    async def echoAll(self, b: bool, y: int, s: int, i: int, *rest: Any) -> Any:  # noqa: N802
        return i, b, y, s, *rest

    async def echoStruct(self, e: Any) -> Any:  # noqa: N802
        return e, e.inner

    async def echoBytes(self, bytes: bytes) -> bytes:  # noqa: N802
        return bytes

    async def told(self, entry: str) -> str:
        return entry

    async def sleep(self, ms: int) -> int:
        return ms

    async def fail(self) -> None: ...

    async def ret(self) -> int:
        return 0

    async def oneway(self) -> None: ...

    async def oneways(self) -> int:
        return 0


def serve(port: int, loop: str) -> None:
    """Be our server."""
    server = tars.Server()
    server.add(Servant(), f"{OBJECT}@tcp -h 127.0.0.1 -p {port} -t 60000")
    if loop == "uvloop":
        import uvloop

        uvloop.run(server.run())
    else:
        asyncio.run(server.run())


def serve_grpc(port: int) -> None:
    """Be a server of grpcio (its asyncio one) that echoes bytes."""
    import grpc  # type: ignore[import-untyped,unused-ignore]

    async def reply(request: bytes, _: object) -> bytes:
        return request

    async def run() -> None:
        server = grpc.aio.server()
        handlers = {"Echo": grpc.unary_unary_rpc_method_handler(reply)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench.Echo", handlers),))
        server.add_insecure_port(f"127.0.0.1:{port}")
        await server.start()
        await server.wait_for_termination()

    asyncio.run(run())


def load_grpc(port: int, seconds: float) -> None:
    """Call that server, 50 calls at a time over one channel; prints how many were answered."""
    import grpc

    async def run() -> int:
        done = 0
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            call = channel.unary_unary("/bench.Echo/Echo")
            end = time.perf_counter() + seconds
            while time.perf_counter() < end:
                await asyncio.gather(*(call(b"x" * 74) for _ in range(BATCH)))
                done += BATCH
        return done

    print(asyncio.run(run()))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def start(name: str, command: list[str], port: int, env: dict[str, str] | None = None) -> Server:
    pinned = ["taskset", "-c", "0", *command] if shutil.which("taskset") else command
    process = subprocess.Popen(
        pinned, env=env, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
        except OSError:
            if process.poll() is not None:
                break
            time.sleep(0.05)
        else:
            return Server(name, process, port)
    process.kill()
    raise SystemExit(f"{name} does not start: {' '.join(command)}")


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def load(server: Server, frame: bytes, seconds: float) -> tuple[float, float]:
    """(calls per second, CPU microseconds per call) over one run."""
    with socket.create_connection(("127.0.0.1", server.port)) as one:
        one.sendall(frame)
        first = one.recv(65536)
    size = int.from_bytes(first[:4], "big")
    if size != len(first):
        raise SystemExit(f"{server.name} answered {first!r}")
    blob, wanted = frame * BATCH, size * BATCH
    sockets = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(CONNECTIONS)]
    got = dict.fromkeys(sockets, 0)
    calls = 0
    with selectors.DefaultSelector() as selector:
        for each in sockets:
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            selector.register(each, selectors.EVENT_READ)
        began, cpu = time.perf_counter(), cpu_seconds(server.process.pid)
        end, active = began + seconds, len(sockets)
        for each in sockets:
            each.sendall(blob)
        while active:
            for key, _ in selector.select():
                ready: socket.socket = key.fileobj  # type: ignore[assignment]
                data = ready.recv(262144)
                if not data:
                    raise SystemExit(f"{server.name} closed a connection")
                got[ready] += len(data)
                if got[ready] < wanted:
                    continue
                calls += BATCH
                got[ready] = 0
                if time.perf_counter() < end:
                    ready.sendall(blob)
                else:
                    active -= 1
        took, used = time.perf_counter() - began, cpu_seconds(server.process.pid) - cpu
    for each in sockets:
        each.close()
    return calls / took, used / calls * 1e6


def frames() -> dict[str, bytes]:
    """One request of each kind, ready to be written."""
    function = echo.Echo.__tars_interface__.functions["echoAll"]
    body = function.encode_args(
        (
            True,
            -100,
            -30000,
            2**31 - 1,
            -(2**63),
            1.5,
            -0.1,
            "héllo",
            bytes(range(5)),
            [1, -200, 70000],
            {"a": "b"},
        )
    )
    return {
        "tars_ping": encode_request(RequestPacket(1, 0, 0, 1, OBJECT, "tars_ping", b"", 5000)),
        "echo of 11 parameters": encode_request(RequestPacket(1, 0, 0, 1, OBJECT, "echoAll", body, 5000)),
    }


def run() -> list[Row]:
    """The table; empty with a line on stderr where the peer is missing."""
    if shutil.which("node") is None or not PEERS.exists():
        print("tars_rpc: no node or no peer (make services), nothing measured", file=sys.stderr)
        return []
    ports = [free_port() for _ in range(3)]
    me = [sys.executable, "-m", "benchmarks.tars_rpc", "serve"]
    node = [
        "node",
        "--no-warnings",
        str(JS / "echo_server.js"),
        f"tcp -h 127.0.0.1 -p {ports[0]} -t 60000",
        OBJECT,
    ]
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    servers: list[Server] = []
    if hasattr(os, "sched_setaffinity") and len(os.sched_getaffinity(0)) > 1:
        os.sched_setaffinity(0, {1})
    found: list[Row] = []
    try:
        servers.append(
            start(
                f"@tars/rpc 2.0.15, node {version}", node, ports[0], {**os.environ, "NODE_PATH": str(PEERS)}
            )
        )
        servers.append(start("uvloop", [*me, str(ports[1]), "uvloop"], ports[1]))
        servers.append(start("asyncio", [*me, str(ports[2]), "asyncio"], ports[2]))
        for what, frame in frames().items():
            for server in servers:
                load(server, frame, 0.5)
            runs = [[load(server, frame, SECONDS) for server in servers] for _ in range(ROUNDS)]
            rates, cpu = (
                [statistics.median(run[index][kind] for run in runs) for index in range(len(servers))]
                for kind in (0, 1)
            )
            for index in (1, 2):
                name = f"Tars server, {what}, {servers[index].name}"
                peer = f"{servers[0].name}: {cpu[0]:.1f} us"
                note = f"{rates[index]:,.0f} calls/s"
                found.append(Row(name, cpu[index], "us CPU", peer, cpu[index] / cpu[0], BAR, note))
    finally:
        for server in servers:
            server.process.terminate()
            server.process.wait(5)
    if found and (grpc := grpc_cpu()) is not None:
        ours = found[2].value
        peer = f"grpcio (grpc.aio) echo of 74 bytes: {grpc:.1f} us"
        found.append(Row("Tars echo, uvloop, for orientation", ours, "us CPU", peer, ours / grpc))
    return found


def grpc_cpu() -> float | None:
    """CPU microseconds per call of grpcio's asyncio server; None when it is not installed."""
    if importlib.util.find_spec("grpc") is None:
        return None
    port = free_port()
    me = [sys.executable, "-m", "benchmarks.tars_rpc"]
    server = start("grpcio", [*me, "serve-grpc", str(port)], port)
    try:
        client = [*me, "load-grpc", str(port)]
        subprocess.run([*client, "0.5"], cwd=ROOT, check=True, capture_output=True)
        before = cpu_seconds(server.process.pid)
        done = subprocess.run([*client, "3"], cwd=ROOT, check=True, capture_output=True, text=True)
        return (cpu_seconds(server.process.pid) - before) / int(done.stdout) * 1e6
    finally:
        server.process.terminate()
        server.process.wait(5)


def main() -> None:
    match sys.argv[1:]:
        case ["serve", port, loop]:
            serve(int(port), loop)
        case ["serve-grpc", port]:
            serve_grpc(int(port))
        case ["load-grpc", port, seconds]:
            load_grpc(int(port), float(seconds))
        case _:
            print(table(run()))


if __name__ == "__main__":
    main()
