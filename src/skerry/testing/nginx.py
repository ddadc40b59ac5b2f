"""A private nginx for tests: one's own `http` block, a free port of 127.0.0.1, a directory of its own.

    with private_nginx("server { listen 127.0.0.1:PORT; location / { proxy_pass http://127.0.0.1:8999; } }") as nginx:
        ...                                        # nginx.port; PORT and DIRECTORY in the text are replaced

It ends with the block, and with its process. Whether nginx is installed is `services.available("nginx")`.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from skerry.testing.broker import free_ports
from skerry.testing.services import ServiceFailed, end_with_parent, nginx_program

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
        with (directory / "log").open("ab") as log:
            process = subprocess.Popen(
                [found, "-p", name, "-c", f"{name}/nginx.conf", "-e", f"{name}/log"],
                stdout=log, stderr=log, preexec_fn=end_with_parent,
            )  # fmt: skip
        try:
            _wait(process, port, directory)
            yield PrivateNginx(port, directory)
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait(process: subprocess.Popen[bytes], port: int, directory: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
            return
        if process.poll() is not None or time.monotonic() > deadline:
            log = (directory / "log").read_text(encoding="utf-8", errors="replace")
            raise ServiceFailed(f"nginx did not start:\n{log[-2000:]}")
        time.sleep(0.02)
