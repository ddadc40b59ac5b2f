"""Existing applications: `skerry host` beside the servers that they come from; CPU microseconds per request.

One process each, pinned to one processor, in turns, loaded by wrk from the other one over 16 keep-alive connections.
Then the lane's latency beside a Django at full load: alone, with the Django in processes of its own, and in the same
process. Needs wrk; peers that are not installed are left out. Run: `python -m benchmarks.hosting`.
"""

from __future__ import annotations

import importlib.util
import os
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from benchmarks.http_get import PEERS, ROUNDS, SECONDS, Server, free_port, pinned, tree
from benchmarks.rows import Row, table

from skerry.hosting.release import Release

CONNECTIONS = 16
PROGRAMS = Path(sys.executable).parent
THREADS = 8
PAUSE_SECONDS = 0.003
"""Between two requests whose latency is measured."""
LARGE = 3_200 * 65_536
APPLICATIONS = {
    "bare": ("hosted_bare:wsgi", "/"),
    "bare_asgi": ("hosted_bare:asgi", "/"),
    "flask": ("hosted_flask:app", "/"),
    "django_wsgi": ("hosted_django:django_wsgi", "/page"),
    "django_asgi": ("hosted_django:django_asgi", "/page"),
    "api": ("hosted_api:app", "/"),
}
"""What is served, and what is asked of it."""
GTHREAD, WAITRESS, GRANIAN, UVICORN, UWSGI = "gunicorn", "waitress", "granian", "uvicorn", "uwsgi"
WANTED: tuple[tuple[str, str, str, str, float | None], ...] = (
    ("bare WSGI callable", "bare", GTHREAD, "bare", 0.35),
    ("Flask hello", "flask", GTHREAD, "flask", 0.40),
    ("Flask hello", "flask", WAITRESS, "flask", 0.50),
    ("Flask hello", "flask", GRANIAN, "flask", 1.10),
    ("Flask hello", "flask", UWSGI, "flask", None),
    ("Django page", "django_wsgi", GTHREAD, "django_wsgi", 0.90),
    ("Django page", "django_wsgi", GRANIAN, "django_wsgi", 1.10),
    ("Django page, by WSGI against ASGI", "django_wsgi", UVICORN, "django_asgi", 0.40),
    ("bare ASGI callable", "bare_asgi", UVICORN, "bare_asgi", None),
    ("FastAPI JSON", "api", UVICORN, "api", 1.0),
)
"""What, ours, the peer, what it serves, the bar. The bare ASGI callable is for the limit of FastAPI. uWSGI has as many
threads as there are connections: each keeps one."""
LIMITS = (("Flask", "flask", "bare", GTHREAD), ("FastAPI", "api", "bare_asgi", UVICORN))
"""A framework, its application, a bare callable in its place, the peer. What the framework takes when it is called
without a server, and what our server takes around a bare callable, are together the least that is to be had."""
ALONE_REQUESTS = 10_000


def is_here(server: str) -> bool:
    """Whether it can be measured: uWSGI is a program, the others are modules."""
    return importlib.util.find_spec(server) is not None or (PROGRAMS / server).exists()


def command(server: str, application: str, port: int) -> list[str]:
    """One process that serves it."""
    target, address = APPLICATIONS[application][0], f"127.0.0.1:{port}"
    python = [sys.executable, "-m"]
    match server:
        case "skerry":
            return [*python, "skerry", "host", target, "--bind", address, "--hosts", "1"]
        case "gunicorn":
            return [*python, "gunicorn", "-k", "gthread", "--threads", str(THREADS), "-b", address, target]
        case "waitress":
            return [*python, "waitress", "--threads", str(THREADS), "--listen", address, target]
        case "granian":
            return [*python, "granian", "--interface", "wsgi", "--host", "127.0.0.1", "--port", str(port),
                    "--blocking-threads", str(THREADS), "--no-ws", target]  # fmt: skip
        case "uwsgi":
            return [str(PROGRAMS / "uwsgi"), "--http11-socket", address, "--module", target, "--enable-threads",
                    "--threads", str(CONNECTIONS), "--die-on-term", "--disable-logging"]  # fmt: skip
        case _:
            return [*python, "uvicorn", "--port", str(port), "--no-access-log", "--log-level", "warning",
                    target]  # fmt: skip


def run() -> list[Row]:
    """Measure. Raises RuntimeError without wrk."""
    if shutil.which("wrk") is None:
        raise RuntimeError("this benchmark needs wrk")
    with tempfile.TemporaryDirectory() as name:
        os.environ |= {"PAGES": name, "PYTHONPATH": str(PEERS), "SKERRY_DATA": name}
        subprocess.run([sys.executable, str(PEERS / "hosted_django.py")], check=True)
        return [*_costs(), *_latencies(), *_memory(), _release()]


def _costs() -> list[Row]:
    wanted = [each for each in WANTED if is_here(each[2])]
    servers: dict[tuple[str, str], Server] = {}
    for _, ours, peer, theirs, _ in wanted:
        for server, application in (("skerry", ours), (peer, theirs)):
            port, path = free_port(), APPLICATIONS[application][1]
            name = f"{application} on {server}"
            servers.setdefault(
                (server, application),
                Server(name, command(server, application, port), port, path, connections=CONNECTIONS),
            )
    alone = {application: Alone(application) for _, application, _, peer in LIMITS if is_here(peer)}
    try:
        for server in servers.values():
            server.start()
            server.load(1)
            server.figures.clear()
            server.rates.clear()
        for _ in range(ROUNDS):
            for server in servers.values():
                server.load(SECONDS)
            for each in alone.values():
                each.load()
    finally:
        for server in servers.values():
            server.stop()
    rows = []
    for what, ours, peer, theirs, bar in wanted:
        mine, other = servers["skerry", ours], servers[peer, theirs]
        ratio = statistics.median(a / b for a, b in zip(mine.figures, other.figures, strict=True))
        note = f"{mine.rate:,.0f} against {other.rate:,.0f} requests/s, peer {other.cpu:.0f} us"
        rows.append(Row(what, mine.cpu, "us CPU/request", f"{peer} {version(peer)}", ratio, bar, note))
    for framework, application, bare, peer in LIMITS:
        if application in alone:
            parts = alone[application].cpu, servers["skerry", bare].cpu
            ratio = sum(parts) / servers[peer, application].cpu
            note = f"the limit: {framework} alone {parts[0]:.0f} us, our bare callable {parts[1]:.0f} us"
            name = f"{framework} without a server, and ours without {framework}"
            rows.append(Row(name, sum(parts), "us CPU/request", f"{peer} {version(peer)}", ratio, None, note))
    return rows


class Alone:
    """A framework that is called without any server. `figures` are CPU microseconds per request, one a round."""

    def __init__(self, application: str) -> None:
        self._application = application
        self.figures: list[float] = []

    @property
    def cpu(self) -> float:
        return statistics.median(self.figures)

    def load(self) -> None:
        """One round."""
        used = self._cpu_seconds(ALONE_REQUESTS) - self._cpu_seconds(0)
        self.figures.append(used / ALONE_REQUESTS * 1e6)

    def _cpu_seconds(self, requests: int) -> float:
        """Of a process that answers so many."""
        program, kind = str(PEERS / "hosted_requests.py"), f"{self._application}-alone"
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([*pinned(0), sys.executable, program, kind, str(requests)], check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@contextmanager
def _up(hosts: int) -> Iterator[int]:
    port = free_port()
    arguments = [
        "up",
        "hosted_beside:app",
        "--servers",
        "1",
        "--hosts",
        str(hosts),
        "--bind",
        f"127.0.0.1:{port}",
    ]
    process = subprocess.Popen(
        [*pinned(0), sys.executable, "-m", "skerry", *arguments],
        env={**os.environ, "SKERRY_HOST_THREADS": "2", "SKERRY_DATA": f"{os.environ['PAGES']}/{hosts}"},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        for _ in range(600):
            try:
                latencies(port, 0.0)
                break
            except OSError:
                time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait(30)


def latencies(port: int, seconds: float) -> list[float]:
    """Milliseconds of lane requests, one every few milliseconds on one connection."""
    found = []
    with socket.create_connection(("127.0.0.1", port), timeout=30) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        until = time.perf_counter() + seconds
        while True:
            began = time.perf_counter()
            sock.sendall(b"GET /lane/x HTTP/1.1\r\nHost: localhost\r\n\r\n")
            if not sock.recv(4_096).startswith(b"HTTP/1.1 200"):
                raise OSError("not ready")
            found.append((time.perf_counter() - began) * 1e3)
            if time.perf_counter() >= until:
                return found
            time.sleep(PAUSE_SECONDS)


def _latencies() -> list[Row]:
    seconds = 3.0 * SECONDS
    alone: list[tuple[float, float]] = []
    beside: dict[str, list[tuple[float, float]]] = {}
    rates: dict[str, float] = {}
    for what, hosts in (("own process", 1), ("same process", 0)):
        with _up(hosts) as port:
            for _ in range(ROUNDS):
                alone.append(_summed(latencies(port, seconds)))
                wrk = [
                    *pinned(1),
                    "wrk",
                    "-t1",
                    f"-c{CONNECTIONS}",
                    f"-d{seconds + 1:.0f}s",
                    f"http://127.0.0.1:{port}/page",
                ]
                with subprocess.Popen(wrk, stdout=subprocess.PIPE, text=True) as load:
                    time.sleep(0.5)
                    beside.setdefault(what, []).append(_summed(latencies(port, seconds)))
                    said = load.communicate()[0]
                    rates[what] = float(said.partition("Requests/sec:")[2].split()[0])
    base = [statistics.median(each[number] for each in alone) for number in (0, 1)]
    rows = []
    for what, bar in (("own process", 1.5), ("same process", 8.0)):
        p50, p99 = (statistics.median(each[number] for each in beside[what]) for number in (0, 1))
        note = f"p99 {p99:.1f} ms, alone {base[1]:.1f} ms; Django {rates[what]:,.0f} requests/s"
        rows.append(
            Row(
                f"lane p50 beside a busy Django, {what}",
                p50,
                "ms",
                "the lane alone",
                p50 / base[0],
                bar,
                note,
            )
        )
    return rows


def _summed(found: list[float]) -> tuple[float, float]:
    ordered = sorted(found)
    return statistics.median(ordered), ordered[int(len(ordered) * 0.99)]


def _memory() -> list[Row]:
    port = free_port()
    server = Server("skerry", command("skerry", "bare", port), port, "/")
    server.start()
    try:
        assert server.process is not None
        for path, arguments in (("up", ["-T", "-"]), ("down", [])):
            for size in (1, LARGE):  # the first one warms up
                before = _rss(server.process.pid)
                data = bytes(min(size, LARGE)) if path == "up" else None
                command_line = ["curl", "-s", *arguments, f"http://127.0.0.1:{port}/{path}"]
                subprocess.run(command_line, input=data, check=True, stdout=subprocess.DEVNULL)
        grown = max(0, _rss(server.process.pid) - before)
    finally:
        server.stop()
    return [Row("memory grown by 200 MB up and down", grown / 1e6, "MB", "the bar", grown / 4e6, 1.0)]


def _rss(pid: int) -> int:
    pages = sum(int(Path(f"/proc/{each}/statm").read_text().split()[1]) for each in tree(pid))
    return pages * os.sysconf("SC_PAGE_SIZE")


def _release() -> Row:
    """What lets go of a request, with Django and Flask loaded."""
    import django.db  # noqa: F401 - loaded, so that it is looked at
    import flask.globals  # noqa: F401

    release = Release.of_what_is_loaded().release
    environ = {"PATH_INFO": "/"}
    best = float("inf")
    for _ in range(5):
        began = time.process_time()
        for _ in range(20_000):
            release(environ)
        best = min(best, (time.process_time() - began) / 20_000 * 1e6)
    return Row("release after a request, Django and Flask", best, "us CPU", "the bar", best / 3.0, 1.0)


if __name__ == "__main__":
    print(table(run()))
