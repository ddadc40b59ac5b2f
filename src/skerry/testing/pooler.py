"""A private PgBouncer in front of a private PostgreSQL, for tests of what poolers do to connections.

    with private_postgres() as server, private_pooler(server, mode="transaction") as pooler:
        pooler.through(server.dsn)

It listens on a free port of 127.0.0.1, has no settings beyond what `options` names, and ends with its process.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from skerry.testing.broker import free_ports
from skerry.testing.services import (
    PrivatePostgres,
    ServiceFailed,
    as_postgres,
    end_with_parent,
    own,
    pooler_program,
)

_START_SECONDS = 60.0


class PrivatePooler:
    """One PgBouncer. `mode`: its pool_mode."""

    def __init__(self, server: PrivatePostgres, mode: str, options: Mapping[str, Any]) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="skerry-pooler-"))
        self.port = free_ports(1)[0]
        login = urlsplit(server.dsn)
        lines = {
            "listen_addr": "127.0.0.1",
            "listen_port": self.port,
            "unix_socket_dir": self.directory,
            "auth_type": "scram-sha-256",
            "auth_file": self.directory / "users",
            "pool_mode": mode,
            **options,
        }
        settings = "".join(f"{name} = {value}\n" for name, value in lines.items())
        (self.directory / "users").write_text(f'"{login.username}" "{login.password}"\n')
        (self.directory / "ini").write_text(
            f"[databases]\n* = host=127.0.0.1 port={server.port}\n[pgbouncer]\n{settings}"
        )
        for path in (self.directory, self.directory / "users", self.directory / "ini"):
            own(path)
        self._process: subprocess.Popen[bytes] | None = None

    def through(self, dsn: str) -> str:
        """The same database, by way of the pooler."""
        return dsn.replace(f":{urlsplit(dsn).port}/", f":{self.port}/")

    def start(self) -> None:
        program = pooler_program()
        if program is None:
            raise ServiceFailed("pgbouncer is not installed")
        with (self.directory / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [program, str(self.directory / "ini")],
                stdout=log,
                stderr=log,
                preexec_fn=end_with_parent,
                cwd=self.directory,
                **as_postgres(),
            )
        deadline = time.monotonic() + _START_SECONDS
        while not (self.directory / f".s.PGSQL.{self.port}").exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise ServiceFailed(f"PgBouncer did not start:\n{(self.directory / 'log').read_text()}")
            time.sleep(0.02)

    def remove(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)
        shutil.rmtree(self.directory, ignore_errors=True)


@contextlib.contextmanager
def private_pooler(
    server: PrivatePostgres, mode: str = "session", *, options: Mapping[str, Any] | None = None
) -> Iterator[PrivatePooler]:
    """A running PgBouncer, removed afterwards."""
    pooler = PrivatePooler(server, mode, options or {})
    try:
        pooler.start()
        yield pooler
    finally:
        pooler.remove()
