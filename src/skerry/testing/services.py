"""Servers that tests talk to: private PostgreSQL instances and standbys, and what to do where a program is missing.

    @pytest.fixture(scope="session")
    def postgres() -> Iterator[PrivatePostgres]:
        require("postgresql")
        with private_postgres() as server:
            yield server                            # server.dsn, server.database("name"), server.kill() ...

    with private_postgres(durable=True) as primary, private_standby(primary) as standby:
        standby.part()                              # it receives nothing more: what follows is lost with
        primary.kill()                              # the primary
        standby.promote()

An instance lives in a directory of its own under the system's temporary one (its socket's path has to be short),
listens on a free port of 127.0.0.1 and in that directory, and ends with its process. As root it runs as the
user `postgres`. RabbitMQ: `skerry.testing.broker`; PgBouncer: `skerry.testing.pooler`.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from skerry.testing.broker import available as broker_available
from skerry.testing.broker import free_ports

COMMANDS = ("node", "javac", "curl", "openssl", "cc")
_PR_SET_PDEATHSIG = 1
_START_SECONDS = 120.0


class ServiceFailed(RuntimeError):
    """A server did not start or answer; the text has the end of its log."""


def postgres_program(name: str) -> str | None:
    """The path of `postgres`, `initdb`, `psql`, ...: the newest installation, None when there is none."""
    for place in sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version, reverse=True):
        if (place / name).exists():
            return str(place / name)
    return shutil.which(name)


def _version(place: Path) -> float:
    try:
        return float(place.parent.name)
    except ValueError:
        return 0.0


def available(service: str) -> bool:
    """Whether tests of `postgresql`, `pgbouncer`, `rabbitmq`, `nginx`, `haproxy`, `chromium`, or a
    command (`node`, `javac`, `curl`, `openssl`, `cc`) can run here."""
    if service == "postgresql":
        programs = all(postgres_program(name) for name in ("initdb", "postgres", "pg_isready", "psql"))
        return programs and (os.geteuid() != 0 or _has_postgres_user())
    if service == "pgbouncer":
        return available("postgresql") and pooler_program() is not None
    if service == "rabbitmq":
        return broker_available()
    if service == "nginx":
        return nginx_program() is not None
    if service == "haproxy":
        return haproxy_program() is not None
    if service == "chromium":
        return chromium_program() is not None
    if service in COMMANDS:
        return shutil.which(service) is not None
    raise ValueError(f"no such service: {service!r}")


def pooler_program() -> str | None:
    """The path of PgBouncer, None when there is none."""
    found = shutil.which("pgbouncer")
    return found or ("/usr/sbin/pgbouncer" if os.access("/usr/sbin/pgbouncer", os.X_OK) else None)


def nginx_program() -> str | None:
    """The path of nginx, None when there is none."""
    found = shutil.which("nginx")
    return found or ("/usr/sbin/nginx" if os.access("/usr/sbin/nginx", os.X_OK) else None)


def haproxy_program() -> str | None:
    """The path of HAProxy, None when there is none."""
    found = shutil.which("haproxy")
    return found or ("/usr/sbin/haproxy" if os.access("/usr/sbin/haproxy", os.X_OK) else None)


def chromium_program() -> str | None:
    """The path of a Chromium or Chrome, None when there is none."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def require(service: str) -> None:
    """Skip the test, loudly, where the service's program is missing; with CI=true that is a failure."""
    if available(service):
        return
    if os.environ.get("CI") == "true":
        pytest.fail(f"{service} is not installed, and with CI=true nothing is skipped")
    pytest.skip(f"{service.upper()} IS NOT INSTALLED: its tests are skipped")


class PrivatePostgres:
    """One PostgreSQL instance with its own data. `durable`: fsync on, for tests that kill it. `options`:
    settings of postgresql.conf. `of`: the primary that it copies and follows, under `name`. `environ` adds to its
    environment. Start it from the main thread: it ends with the thread that started it."""

    def __init__(
        self,
        *,
        durable: bool = False,
        options: Mapping[str, Any] | None = None,
        of: PrivatePostgres | None = None,
        name: str = "standby",
    ) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="skerry-pg-"))
        self.port = free_ports(1)[0]
        self.name = name
        self.environ: dict[str, str] = {}
        self._of = of
        self._password: str = secrets.token_hex(12) if of is None else of._password
        self._options = {
            "fsync": "on" if durable else "off",
            "full_page_writes": "on" if durable else "off",
            "shared_buffers": "64MB",
            "max_connections": "60",
            "max_wal_size": "256MB",
            "log_min_messages": "warning",
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self.directory),
            **(options or {}),
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._is_made = False

    @property
    def dsn(self) -> str:
        """By TCP, with a password."""
        return f"postgresql://postgres:{self._password}@127.0.0.1:{self.port}/postgres"

    @property
    def socket_dsn(self) -> str:
        """By its Unix socket."""
        return f"postgresql://postgres@/postgres?host={self.directory}&port={self.port}"

    @property
    def pid(self) -> int:
        """Of its main process, while it runs."""
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def database(self, name: str | None = None) -> str:
        """Make a new, empty database; returns its DSN."""
        name = name or f"test_{secrets.token_hex(4)}"
        self.query(f'create database "{name}"')
        return self.dsn.removesuffix("postgres") + name

    def query(self, sql: str, database: str = "postgres") -> str:
        """Run SQL by psql as the superuser; returns its output, unaligned, without headings."""
        command = ["psql", "-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-h", str(self.directory)]
        command += ["-p", str(self.port), "-U", "postgres", "-d", database, "-c", sql]
        return self._call(command).strip()

    def start(self) -> None:
        """Start and wait until it answers; on the same data and port as before."""
        if self.is_running:
            return
        self._make()
        settings = [part for name, value in self._options.items() for part in ("-c", f"{name}={value}")]
        command = [_path("postgres"), "-D", str(self.directory / "data"), "-p", str(self.port), *settings]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                preexec_fn=end_with_parent,
                cwd=self.directory,
                env={**os.environ, **self.environ},
                **as_postgres(),
            )
        deadline = time.monotonic() + _START_SECONDS
        ready = [_path("pg_isready"), "-q", "-h", str(self.directory), "-p", str(self.port)]
        while subprocess.run(ready, timeout=30, check=False).returncode != 0:
            if not self.is_running or time.monotonic() > deadline:
                raise ServiceFailed(f"PostgreSQL did not start:\n{self._log_end()}")
            time.sleep(0.02)

    def stop(self, mode: str = "fast") -> None:
        """Stop it: `smart`, `fast` or `immediate` (no checkpoint: recovery at the next start)."""
        if mode == "immediate":
            try:
                self._end(signal.SIGQUIT, 5.0)
            except ServiceFailed:  # it hangs at that now and then (seen on 15.20): a kill means the same
                self._wait_for_children()
            return
        self._end({"smart": signal.SIGTERM, "fast": signal.SIGINT}[mode])

    def kill(self) -> None:
        """Kill its main process with SIGKILL; its children notice and end."""
        self._end(signal.SIGKILL)
        self._wait_for_children()

    def _wait_for_children(self) -> None:
        """A killed main process leaves its children until they notice; a new one refuses to start before."""
        deadline = time.monotonic() + 60
        shared = ["pgrep", "-f", f"postgres.*{self.directory}"]
        while shutil.which("pgrep") and time.monotonic() < deadline:
            if subprocess.run(shared, capture_output=True, check=False).returncode != 0:
                break
            time.sleep(0.02)

    def suspend(self) -> None:
        """SIGSTOP the main process: new connections hang, existing ones go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    # --- a standby, and its primary

    def promote(self) -> None:
        """Make a standby the primary of a new timeline; returns when it takes writes."""
        self.query("select pg_promote(true, 60)")

    def part(self) -> None:
        """A standby: receive nothing more from the primary, as if the network between them were cut."""
        self.query("alter system set primary_conninfo = ''")
        self.query("select pg_reload_conf()")
        self._wait_for("select not exists (select from pg_stat_wal_receiver)")

    def follow(self, primary: PrivatePostgres) -> None:
        """Be a standby of `primary`: begin with a copy when there are no data yet, else with the own, which must be no
        further (it was stopped, or parted). Returns when it streams."""
        conninfo = f"host={primary.directory} port={primary.port} user=postgres application_name={self.name}"
        if self.is_running:
            self.query(f"alter system set primary_conninfo = '{conninfo}'")
            self.query("select pg_reload_conf()")
        elif self._is_made:
            signal_file = self.directory / "data" / "standby.signal"
            with (self.directory / "data" / "postgresql.auto.conf").open("a") as settings:
                settings.write(f"primary_conninfo = '{conninfo}'\n")
            signal_file.touch()
            own(signal_file)
            self.start()
        else:
            self._of = primary
            self.start()
        streams = f"application_name = '{self.name}' and state = 'streaming'"
        primary._wait_for(f"select exists (select from pg_stat_replication where {streams})")

    def caught_up(self, primary: PrivatePostgres) -> None:
        """A standby: return when it has replayed what the primary has written until now."""
        end = primary.query("select pg_current_wal_flush_lsn()")
        self._wait_for(f"select pg_last_wal_replay_lsn() >= '{end}'")

    def _wait_for(self, sql: str) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while self.query(sql) != "t":
            if time.monotonic() > deadline:
                raise ServiceFailed(f"still not so: {sql}\n{self._log_end()}")
            time.sleep(0.02)

    def remove(self) -> None:
        """Stop it at once and delete its data."""
        with contextlib.suppress(ServiceFailed):
            self.stop("immediate")
        shutil.rmtree(self.directory, ignore_errors=True)

    def _end(self, number: signal.Signals, seconds: float = 60.0) -> None:
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.send_signal(number)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(30)
            raise ServiceFailed(f"PostgreSQL did not stop:\n{self._log_end()}") from None

    def _make(self) -> None:
        if self._is_made:
            return
        own(self.directory)
        if self._of is not None:
            source = (
                f"host={self._of.directory} port={self._of.port} user=postgres application_name={self.name}"
            )
            self._call(
                ["pg_basebackup", "-D", str(self.directory / "data"), "-d", source, "-R", "-X", "stream",
                 "-c", "fast", "--no-sync"]
            )  # fmt: skip
            self._is_made = True
            return
        secret = self.directory / "password"
        secret.touch(mode=0o600)
        secret.write_text(self._password)
        own(secret)
        self._call(
            ["initdb", "-D", str(self.directory / "data"), "-U", "postgres", "-E", "UTF8", "--locale=C", "--no-sync",
             "--auth-local=trust", "--auth-host=scram-sha-256", f"--pwfile={secret}"]
        )  # fmt: skip
        self._is_made = True

    def _call(self, command: list[str]) -> str:
        done = subprocess.run(
            [_path(command[0]), *command[1:]],
            capture_output=True, text=True, timeout=180, check=False, cwd=self.directory, **as_postgres(),
        )  # fmt: skip
        if done.returncode != 0:
            raise ServiceFailed(f"{command[0]} failed: {done.stderr.strip()}\n{self._log_end()}")
        return str(done.stdout)

    def _log_end(self) -> str:
        try:
            return "".join((self.directory / "log").read_text(errors="replace").splitlines(True)[-20:])
        except OSError:
            return ""


@contextlib.contextmanager
def private_postgres(
    *, durable: bool = False, options: Mapping[str, Any] | None = None
) -> Iterator[PrivatePostgres]:
    """A running instance, removed afterwards."""
    server = PrivatePostgres(durable=durable, options=options)
    try:
        server.start()
        yield server
    finally:
        server.remove()


@contextlib.contextmanager
def private_standby(
    primary: PrivatePostgres,
    name: str = "standby",
    *,
    durable: bool = False,
    options: Mapping[str, Any] | None = None,
) -> Iterator[PrivatePostgres]:
    """A running standby that streams from `primary` under `name`, removed afterwards."""
    server = PrivatePostgres(durable=durable, options=options, of=primary, name=name)
    try:
        server.follow(primary)
        yield server
    finally:
        server.remove()


def _path(name: str) -> str:
    found = postgres_program(name)
    if found is None:
        raise ServiceFailed(f"{name} is not installed")
    return found


def own(path: Path) -> None:
    """Let the user `postgres` have it, where that is who runs the server."""
    if as_postgres():
        entry = pwd.getpwnam("postgres")
        os.chown(path, entry.pw_uid, entry.pw_gid)


def as_postgres() -> dict[str, Any]:
    """Arguments for subprocesses: PostgreSQL and PgBouncer refuse to run as root."""
    if os.geteuid() != 0:
        return {}
    entry = pwd.getpwnam("postgres")
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def _has_postgres_user() -> bool:
    try:
        pwd.getpwnam("postgres")
    except KeyError:
        return False
    return True


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def end_with_parent() -> None:
    """In the child, on Linux: a fast shutdown when its parent dies."""
    with contextlib.suppress(AttributeError):
        _libc().prctl(_PR_SET_PDEATHSIG, signal.SIGINT)


_libc()  # loaded before any fork
