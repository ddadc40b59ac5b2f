"""A private nginx for tests: one's own `http` block, a free port of 127.0.0.1, a directory of its own.

    with private_nginx("server { listen 127.0.0.1:PORT; location / { proxy_pass http://127.0.0.1:8999; } }") as nginx:
        ...                                        # nginx.port; PORT and DIRECTORY in the text are replaced

It ends with the block, and with its process. Whether nginx is installed is `services.available("nginx")`.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from skerry.testing.broker import free_ports
from skerry.testing.listening import listening
from skerry.testing.services import ServiceFailed, nginx_program

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
        command = [found, "-p", name, "-c", f"{name}/nginx.conf", "-e", f"{name}/log"]
        with listening(command, [port], directory / "log"):
            yield PrivateNginx(port, directory)
