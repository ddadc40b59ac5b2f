"""A private nginx or HAProxy for tests: one's own configuration, free ports of 127.0.0.1, a directory of its own.

    with private_nginx("server { listen 127.0.0.1:PORT; location / { proxy_pass http://127.0.0.1:8999; } }") as nginx:
        ...                                        # nginx.port; PORT and DIRECTORY in the text are replaced

    with private_haproxy("frontend web\n bind 127.0.0.1:PORT1\n default_backend kv\n ...", ports=1) as haproxy:
        ...                                        # haproxy.ports[0]; PORT1, PORT2 and DIRECTORY are replaced

They end with the block, and with this process. Whether one is installed is `services.available("nginx")`.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from skerry.testing.broker import free_ports
from skerry.testing.services import ServiceFailed, end_with_parent, haproxy_program, nginx_program

START_SECONDS = 30.0
STOP_SECONDS = 10.0


_FRAME = """
{user}daemon off; worker_processes 1; pid DIRECTORY/pid; error_log DIRECTORY/log warn;
events {{ worker_connections 256; }}
http {{
  access_log off; proxy_temp_path DIRECTORY/proxy; client_body_temp_path DIRECTORY/body;
  fastcgi_temp_path DIRECTORY/fastcgi; uwsgi_temp_path DIRECTORY/uwsgi; scgi_temp_path DIRECTORY/scgi;
{http}
}}
"""


@contextlib.contextmanager
def listening(command: Sequence[str], ports: Sequence[int], log: Path) -> Iterator[None]:
    """Run `command`, its output in `log`, once something listens on each of the `ports` of 127.0.0.1. Raises
    ServiceFailed with the end of the log when it does not start."""
    with log.open("ab") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, preexec_fn=end_with_parent)
    try:
        for port in ports:
            _wait(process, command[0], port, log)
        yield
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen[bytes], program: str, port: int, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
            return
        if process.poll() is not None or time.monotonic() > deadline:
            said = log.read_text(encoding="utf-8", errors="replace")
            raise ServiceFailed(f"{program} did not start:\n{said[-2000:]}")
        time.sleep(0.02)


@dataclass(frozen=True, slots=True)
class PrivateNginx:
    """One that runs: where it listens, and where its files are (`log` among them)."""

    port: int
    directory: Path


@contextlib.contextmanager
def private_nginx(http: str) -> Iterator[PrivateNginx]:
    """Run it with that `http` block. Raises ServiceFailed with the end of its log when it does not start."""
    found = nginx_program()
    if found is None:
        raise ServiceFailed("nginx is not installed")
    (port,) = free_ports(1)
    with tempfile.TemporaryDirectory(prefix="nginx-") as name:
        directory = Path(name)
        text = _FRAME.format(user="user root; " if os.geteuid() == 0 else "", http=http)
        text = text.replace("DIRECTORY", name).replace("PORT", str(port))
        (directory / "nginx.conf").write_text(text, encoding="utf-8")
        command = [found, "-p", name, "-c", f"{name}/nginx.conf", "-e", f"{name}/log"]
        with listening(command, [port], directory / "log"):
            yield PrivateNginx(port, directory)


@dataclass(frozen=True, slots=True)
class PrivateHaproxy:
    """One that runs: where it listens."""

    ports: tuple[int, ...]


@contextlib.contextmanager
def private_haproxy(text: str, ports: int = 1) -> Iterator[PrivateHaproxy]:
    """Run it with that configuration. Raises ServiceFailed with its log when it does not start."""
    found = haproxy_program()
    if found is None:
        raise ServiceFailed("haproxy is not installed")
    chosen = tuple(free_ports(ports))
    with tempfile.TemporaryDirectory(prefix="haproxy-") as name:
        directory = Path(name)
        text = text.replace("DIRECTORY", name)
        for number, port in enumerate(chosen, 1):
            text = text.replace(f"PORT{number}", str(port))
        (directory / "haproxy.cfg").write_text(text, encoding="utf-8")
        with listening([found, "-db", "-f", f"{name}/haproxy.cfg"], chosen, directory / "log"):
            yield PrivateHaproxy(chosen)
