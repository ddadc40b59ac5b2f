"""GET of a value from memory, side by side: `skerry run livekv:app`, `skerry up livekv:app --servers 1` (the whole
tree), nginx, Starlette and FastAPI; CPU microseconds per request. `computed`: with `server.kept_bytes=0`, so that the
view is called for each request. The rows of a million keys and of the plain ASGI route are of a server that is
written as livekv is.

All servers run at once, pinned to one processor, and are loaded in turns by wrk from the other one (64 keep-alive
connections), several rounds; the median round counts. CPU is user and system time of a server's process tree, which
is steadier than requests per second on a shared machine; the rate is in the note. Needs wrk; without nginx its rows
are left out. Run: `python -m benchmarks.http_get`.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from benchmarks.puts import each as put_each
from benchmarks.puts import program, skerry
from benchmarks.rows import Row, table

PEERS = Path(__file__).parent / "peers"
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
SECONDS = int(os.environ.get("BENCH_SECONDS", "1"))
CONNECTIONS = 64
KEY = f"benchmark-key-{7:014d}"

NGINX = """
worker_processes 1; daemon off; master_process off; pid {folder}/pid; error_log {folder}/error crit;
events {{ worker_connections 1024; }}
http {{
  access_log off; keepalive_requests 1000000000;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{ listen 127.0.0.1:{port}; location / {{ default_type application/json; return 200 '{body}'; }} }}
}}
"""
RANDOM_KEYS = """
request = function()
  return wrk.format("GET", string.format("/values/benchmark-key-%014d", math.random(0, {last})))
end
"""


@dataclass
class Server:
    """One server under measurement. `figures` are CPU microseconds per request, one a round."""

    name: str
    command: list[str]
    port: int
    path: str
    keys: int = 1000
    script: Path | None = None
    environment: dict[str, str] = field(default_factory=dict)
    token: str = ""
    connections: int = CONNECTIONS
    process: subprocess.Popen[bytes] | None = None
    figures: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.path}"

    @property
    def fields(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    @property
    def cpu(self) -> float:
        return statistics.median(self.figures)

    @property
    def rate(self) -> float:
        return statistics.median(self.rates)

    def start(self) -> None:
        environment = {**os.environ, "KEYS": str(self.keys), **self.environment}
        request = urllib.request.Request(self.url, headers=self.fields)
        self.process = subprocess.Popen(
            [*pinned(0), *self.command],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(300):
            try:
                urllib.request.urlopen(request).read()
                return
            except (OSError, urllib.error.URLError):
                time.sleep(0.1)
        raise RuntimeError(f"{self.name} does not answer at {self.url}")

    def load(self, seconds: int) -> None:
        """One round."""
        assert self.process is not None
        wrk = [*pinned(1), "wrk", "-t1", f"-c{self.connections}", f"-d{seconds}s"]
        if self.script is not None:
            wrk += ["-s", str(self.script)]
        for name, value in self.fields.items():
            wrk += ["-H", f"{name}: {value}"]
        before = cpu_seconds(self.process.pid)
        out = subprocess.run([*wrk, self.url], capture_output=True, text=True, check=True).stdout
        used = cpu_seconds(self.process.pid) - before
        try:
            count = answered(out)
        except ValueError as error:
            raise RuntimeError(f"{self.name}: {error}") from error
        self.figures.append(used / count * 1e6)
        rate = re.search(r"Requests/sec:\s+([\d.]+)", out)
        self.rates.append(float(rate[1]) if rate else 0.0)

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(10)


def answered(out: str) -> int:
    """How many answers wrk counted. Raises ValueError when there were none, or others than 200."""
    found = re.search(r"(\d+) requests in ([\d.]+)(m?s)", out)
    if found is None or "Non-2xx" in out:
        raise ValueError(out)
    if int(found[1]) == 0:
        raise ValueError("no request was answered while it was loaded")
    return int(found[1])


def pinned(processor: int) -> list[str]:
    two = (os.cpu_count() or 1) > 1 and shutil.which("taskset") is not None
    return ["taskset", "-c", str(processor)] if two else []


def tree(pid: int) -> list[int]:
    found = [pid]
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in children.read_text().split():
            found += tree(int(child))
    return found


def cpu_seconds(pid: int) -> float:
    ticks = 0
    for each in tree(pid):
        fields = Path(f"/proc/{each}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _python(name: str, peer: str, path: str, **options: object) -> Server:
    port = free_port()
    return Server(name, [sys.executable, str(PEERS / peer), str(port)], port, path, **options)  # type: ignore[arg-type]


def _nginx(folder: Path) -> Server:
    port = free_port()
    body = f'{{"key":"{KEY}","value":"{"v" * 64}"}}'
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, port=port, body=body))
    return Server("nginx", ["nginx", "-c", str(config)], port, f"/values/{KEY}")


def _livekv(name: str, data: Path, *arguments: str, token: str = "") -> Server:
    """The application as people start it, on a copy of the filled journal."""
    port, own = free_port(), data.parent / name.replace(" ", "-")
    shutil.copytree(data, own)
    environment = {"SKERRY_DATA": str(own), "SKERRY_RUNTIME": str(own), "SKERRY_LOG_LEVEL": "error"}
    if token:
        environment["SKERRY_TOKENS"] = f"read:bench={token}"
    verb, *options = arguments
    command = skerry(verb, "livekv:app", "--bind", f"127.0.0.1:{port}", *options)
    return Server(name, command, port, f"/values/{KEY}", environment=environment, token=token)


def _filled(folder: Path) -> Path:
    """A directory with livekv's journal of 1,000 values."""
    data, port = folder / "data", free_port()
    environment = {"SKERRY_DATA": str(data), "SKERRY_LOG_LEVEL": "error"}
    with program(skerry("run", "livekv:app", "--bind", f"127.0.0.1:{port}"), port, environment, str(folder)):
        asyncio.run(put_each(port, range(1_000), "benchmark-key-%014d"))
    return data


def run() -> list[Row]:
    """Measure. Raises RuntimeError without wrk."""
    if shutil.which("wrk") is None:
        raise RuntimeError("this benchmark needs wrk")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for keys in (1_000, 1_000_000):
            (folder / f"{keys}.lua").write_text(RANDOM_KEYS.format(last=keys - 1))
        data = _filled(folder)
        servers = {
            "run": _livekv("run", data, "run"),
            "run computed": _livekv("run computed", data, "run", "--set", "server.kept_bytes=0"),
            "run token": _livekv("run token", data, "run", token="abcdefghijklmnop"),
            "up": _livekv("up", data, "up", "--servers", "1"),
            "up computed": _livekv(
                "up computed", data, "up", "--servers", "1", "--set", "server.kept_bytes=0"
            ),
            "lane": _python("lane", "http_skerry.py", f"/values/{KEY}"),
            "starlette": _python("starlette", "http_starlette.py", f"/values/{KEY}"),
            "fastapi": _python("fastapi", "http_fastapi.py", f"/values/{KEY}"),
            "asgi": _python("asgi", "http_skerry.py", "/plain"),
            "starlette plain": _python("starlette plain", "http_starlette.py", "/plain"),
            "1e6 same": _python("1e6 same", "http_skerry.py", f"/values/{KEY}", keys=1_000_000),
            "1e3": _python("1e3", "http_skerry.py", f"/values/{KEY}", script=folder / "1000.lua"),
            "1e6": _python(
                "1e6", "http_skerry.py", f"/values/{KEY}", keys=1_000_000, script=folder / "1000000.lua"
            ),
        }
        if shutil.which("nginx") is not None:
            servers = {"nginx": _nginx(folder), **servers}
        try:
            for server in servers.values():
                server.start()
                server.load(1)
                server.figures.clear()
                server.rates.clear()
            for _ in range(ROUNDS):
                for server in servers.values():
                    server.load(SECONDS)
        finally:
            for server in servers.values():
                server.stop()
        return _rows(servers)


def _rows(servers: dict[str, Server]) -> list[Row]:
    uvicorn = f"on uvicorn {version('uvicorn')}"
    starlette, fastapi = (
        f"Starlette {version('starlette')} {uvicorn}",
        f"FastAPI {version('fastapi')} {uvicorn}",
    )
    wanted: list[tuple[str, str, str, str, float | None]] = [
        ("GET of a value, skerry run, computed", "run computed", "starlette", starlette, 1 / 3),
        ("GET of a value, skerry run, computed", "run computed", "fastapi", fastapi, 1 / 10),
        ("GET of a value behind a token, skerry run", "run token", "run computed", "without tokens", 1.10),
        ("plain ASGI route", "asgi", "starlette plain", starlette, 1.05),
        ("GET of one of 1,000,000 keys", "1e6 same", "lane", "one of 1,000", 1.10),
        # Every value is cold then: what is measured is mostly the machine's memory, so this has no bar.
        ("GET, each time another of 1,000,000 keys", "1e6", "1e3", "another of 1,000", None),
    ]
    if "nginx" in servers:
        found = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=False).stderr
        name = "nginx " + found.strip().rpartition("/")[2] + " `return 200`"
        wanted[:0] = [
            ("GET of a value, skerry run, kept", "run", "nginx", name, 1.20),
            ("GET of a value, skerry run, computed", "run computed", "nginx", name, 1.35),
            ("GET of a value, skerry up, kept", "up", "nginx", name, 1.25),
            ("GET of a value, skerry up, computed", "up computed", "nginx", name, 1.40),
        ]
    rows = []
    for what, ours, peer, name, bar in wanted:
        mine, other = servers[ours], servers[peer]
        # Each round against its neighbour of the same round: what disturbs the machine disturbs both.
        ratio = statistics.median(a / b for a, b in zip(mine.figures, other.figures, strict=True))
        note = f"{mine.rate:,.0f} against {other.rate:,.0f} requests/s, peer {other.cpu:.2f} us"
        rows.append(Row(what, mine.cpu, "us CPU/request", name, ratio, bar, note))
    return rows


if __name__ == "__main__":
    print(table(run()))
