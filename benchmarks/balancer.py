"""What a balancer in front costs: `skerry up` hands the connection over, `skerry balancer --to` forwards bytes.

CPU microseconds of the balancer's own process for each request on 64 keep-alive connections, and for each new
connection; besides that durable writes through three servers on the embedded default, and how long `up` takes until it
is ready. Needs wrk. Run: `python -m benchmarks.balancer`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.rows import Row, table

from skerry.process.control import ask, cpu_seconds, runner_directory
from skerry.process.tree import RunnerStatus

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))
SECONDS = int(os.environ.get("BENCH_SECONDS", "2"))
BAR_MICROSECONDS = 0.3
WRITES = """
local n = 0
request = function()
  n = n + 1
  return wrk.format("PUT", string.format("/values/%s-%d", id, n), nil, "some value of a few bytes")
end
local threads = 0
setup = function(thread) thread:set("id", tostring(threads) .. "-" .. tostring(os.time())); threads = threads + 1 end
"""


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextmanager
def up(folder: Path, port: int) -> Iterator[tuple[RunnerStatus, float]]:
    """`skerry up livekv:app` in `folder`: its state, and the seconds until it was ready."""
    environment = {**os.environ, "SKERRY_RUNTIME_DIR": str(folder / "run"), "SKERRY_LOG_FORMAT": "json"}
    os.environ["SKERRY_RUNTIME_DIR"] = environment["SKERRY_RUNTIME_DIR"]
    command = [sys.executable, "-m", "skerry", "up", "livekv:app", "--bind", f"127.0.0.1:{port}"]
    began = time.monotonic()
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if "ready on" in line:
                break
        took = time.monotonic() - began
        status = ask(runner_directory(process.pid))
        if status is None:
            raise RuntimeError("skerry up did not get ready")
        yield status, took
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=15)
        del os.environ["SKERRY_RUNTIME_DIR"]


@contextmanager
def proxy(folder: Path, port: int, to: int) -> Iterator[int]:
    """`skerry balancer --to`: its pid."""
    command = [
        sys.executable,
        "-m",
        "skerry",
        "balancer",
        "--to",
        f"127.0.0.1:{to}",
        "--bind",
        f"127.0.0.1:{port}",
    ]
    process = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if "forwarding" in line:
                break
        yield process.pid
    finally:
        process.terminate()
        process.communicate(timeout=15)


def load(port: int, path: str, *options: str, seconds: int = SECONDS) -> tuple[int, float]:
    """Requests answered, and the rate."""
    command = ["wrk", "-t1", "-c64", f"-d{seconds}s", *options, f"http://127.0.0.1:{port}{path}"]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"(\d+) requests in", out)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", out)
    if found is None or rate is None or int(found[1]) == 0 or "Non-2xx" in out:
        raise RuntimeError(out)
    return int(found[1]), float(rate[1])


def cost(pid: int, port: int, *options: str) -> float:
    """CPU microseconds of one process for each request, over all rounds (the clock of a process ticks in 10 ms)."""
    before = cpu_seconds(pid)
    requests = sum(load(port, "/values/k", *options)[0] for _ in range(ROUNDS))
    return (cpu_seconds(pid) - before) / requests * 1e6


def put(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(b"PUT /values/k HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nConnection: close\r\n\r\nv")
        assert sock.recv(64).startswith(b"HTTP/1.1 200")


def run() -> list[Row]:
    """Measure. Raises RuntimeError without wrk."""
    if shutil.which("wrk") is None:
        raise RuntimeError("this benchmark needs wrk")
    with tempfile.TemporaryDirectory() as name:
        folder, port, forwarded = Path(name), free_port(), free_port()
        (folder / "writes.lua").write_text(WRITES)
        with up(folder, port) as (status, took):
            put(port)
            [balancer] = [p.pid for p in status.processes if p.role == "balancer"]
            load(port, "/values/k", seconds=1)
            kept = cost(balancer, port)
            fresh = cost(balancer, port, "-H", "Connection: close")
            _, writes = load(port, "/values/x", "-s", str(folder / "writes.lua"))
            with proxy(folder, forwarded, port) as pid:
                load(forwarded, "/values/k", seconds=1)
                through = cost(pid, forwarded)
    bar = f"the bar of {BAR_MICROSECONDS} us"
    return [
        Row("balancer hands connections over, CPU a request", kept, "us", bar, kept / BAR_MICROSECONDS, 1.0),
        Row("the same, a new connection each request", fresh, "us", note="accept, hand over, acknowledge"),
        Row("balancer forwards bytes (--to), CPU a request", through, "us"),
        Row(
            "durable PUT, embedded, 3 servers, 64 connections",
            writes,
            "writes/s",
            note="wrk on the same machine",
        ),
        Row("skerry up until ready (5 processes)", took, "s"),
    ]


if __name__ == "__main__":
    rows = run()
    print(table(rows))
    print(json.dumps([row.value for row in rows]))
