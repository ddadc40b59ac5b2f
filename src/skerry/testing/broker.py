"""Private RabbitMQ servers for tests: started on free ports, with a home, a cookie and an epmd of their own.

    async with PrivateBroker(tmp_path) as broker:
        ... broker.url ...
        await broker.kill(); await broker.start()      # same data, same ports

Nothing of a system-wide installation is touched, no plugin is loaded, nothing listens but on 127.0.0.1, and
everything ends with `stop` (or with this process). Works as root. Not here: which tests need one
(`skerry.testing.services`).
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

PROGRAMS = (
    "/usr/lib/rabbitmq/bin",
    "/opt/rabbitmq/sbin",
    "/usr/local/sbin",
    "/opt/homebrew/sbin",
)
"""Where the bare scripts lie; a wrapper that changes the user (Debian's in /usr/sbin) is passed over."""

_PR_SET_PDEATHSIG = 1


class BrokerFailed(RuntimeError):
    """The server did not start, or a control command failed; the text has its output."""


def program(name: str) -> str | None:
    """The path of `rabbitmq-server` or `rabbitmqctl`, None when there is none that runs as anybody."""
    for directory in PROGRAMS:
        candidate = Path(directory) / name
        if candidate.exists():
            return str(candidate)
    found = shutil.which(name)
    return found if found and Path(found).resolve().parent != Path("/usr/sbin") else None


def available() -> bool:
    """Whether a private broker can run here."""
    return program("rabbitmq-server") is not None and shutil.which("epmd") is not None


def free_ports(count: int) -> list[int]:
    """TCP ports of 127.0.0.1 that are free now (below the range that connections are given) and that no call of this
    function, in any process that still runs, has given out (on Linux)."""
    ports: list[int] = []
    rng = secrets.SystemRandom()
    while len(ports) < count:
        port = rng.randrange(20_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if _claimed(port):
            ports.append(port)
    return ports


def _claimed(port: int) -> bool:
    """Take a name for the port that only one process can have: a socket without a file, gone with the process."""
    if sys.platform != "linux":
        return True
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        claim.bind(f"\0skerry-port-{port}")
    except OSError:
        claim.close()
        return False
    claim.detach()  # kept until this process ends
    return True


def _die_with_parent() -> None:
    """In a child, before its program: an own process group, and an end when this process ends (Linux)."""
    os.setsid()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


@dataclass(frozen=True, slots=True)
class BrokerHost:
    """Where a broker runs: its address, and what a command begins with that is to run there (`Network.within`)."""

    address: str = "127.0.0.1"
    within: tuple[str, ...] = ()


HERE = BrokerHost()


class _Started(Protocol):
    """`async with` around `start` and `stop`; a start that fails is stopped too."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()


class PrivateBroker(_Started):
    """One RabbitMQ server of our own under `directory`. `config`: further lines of rabbitmq.conf. `erlang`: further
    arguments of its Erlang. `cookie` and `epmd_port`: of the cluster that it belongs to, which has an epmd for all of
    one host."""

    def __init__(
        self,
        directory: Path,
        config: str = "",
        *,
        erlang: str = "",
        cookie: str = "",
        epmd_port: int | None = None,
        host: BrokerHost = HERE,
    ) -> None:
        self.directory, self.host = directory, host
        self.port, self._dist_port, own_epmd = free_ports(3)
        name = f"skerry-{secrets.token_hex(4)}"
        self.node = f"{name}@localhost" if host is HERE else f"{name}@{host.address}"
        self._cookie = cookie or secrets.token_hex(16)
        self._epmd_port = epmd_port or own_epmd
        self._has_epmd = epmd_port is None
        self.config, self._erlang = config, erlang
        self._server: subprocess.Popen[bytes] | None = None
        self._epmd: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@{self.host.address}:{self.port}/"

    @property
    def pid(self) -> int:
        """Of its process, while it runs."""
        assert self._server is not None
        return self._server.pid

    @property
    def running(self) -> bool:
        return self._server is not None and self._server.poll() is None

    async def start(self, timeout_seconds: float = 180.0) -> None:
        """Start it (again, on the same data) and return when it takes connections. Raises BrokerFailed."""
        server = program("rabbitmq-server")
        epmd = shutil.which("epmd")
        if server is None or epmd is None:
            raise BrokerFailed("rabbitmq-server or epmd is not installed")
        self._prepare()
        environment = self._environment()
        if self._has_epmd and (self._epmd is None or self._epmd.poll() is not None):
            self._epmd = _start_epmd(epmd, self._epmd_port, self.host)
            await self.listening(self._epmd_port, self._epmd, 60.0)
        with (self.directory / "output.log").open("ab") as output:
            self._server = subprocess.Popen(  # noqa: ASYNC220
                [*self.host.within, server],
                env=environment,
                cwd=self.directory,
                preexec_fn=_die_with_parent,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        await self.listening(self.port, self._server, timeout_seconds, b"AMQP\x00\x00\x09\x01")

    async def stop(self) -> None:
        """End it and its epmd; harmless when they ended already. Data stays under `directory`."""
        await self.end(self._server, signal.SIGTERM, 30.0)
        await self.end(self._epmd, signal.SIGTERM, 5.0)

    async def kill(self) -> None:
        """kill -9, as power would go: nothing is said to clients, nothing is written."""
        await self.end(self._server, signal.SIGKILL, 10.0)

    async def discard(self) -> None:
        """End a broker that is not started again: at once, with its epmd."""
        await self.kill()
        await self.stop()

    def pause(self) -> None:
        """SIGSTOP: connections stay open, nothing answers."""
        self._signal(self._server, signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(self._server, signal.SIGCONT)

    async def control(self, *arguments: str, timeout_seconds: float = 120.0) -> str:
        """Run rabbitmqctl against this server; returns what it prints. Raises BrokerFailed."""
        name = program("rabbitmqctl")
        if name is None:
            raise BrokerFailed("rabbitmqctl is not installed")
        command = [*self.host.within, name, "--node", self.node, *arguments]
        try:
            done = await asyncio.to_thread(
                subprocess.run,
                command,
                env=self._environment(),
                cwd=self.directory,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=timeout_seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise BrokerFailed(f"rabbitmqctl {' '.join(arguments)}: no end in {timeout_seconds} s") from None
        text = done.stdout.decode(errors="replace")
        if done.returncode:
            raise BrokerFailed(f"rabbitmqctl {' '.join(arguments)}: {text[-2000:]}")
        return text

    async def evaluate(self, expression: str) -> str:
        """Evaluate an Erlang expression in the server."""
        return await self.control("eval", expression)

    def log(self) -> str:
        """The end of what it wrote, for error messages."""
        parts = [self.directory / "output.log", *sorted((self.directory / "log").glob("*.log"))]
        return "\n".join(p.read_text(errors="replace")[-8000:] for p in parts if p.exists())

    def _prepare(self) -> None:
        for name in ("home", "log", "data"):
            (self.directory / name).mkdir(parents=True, exist_ok=True)
        cookie = self.directory / "home" / ".erlang.cookie"
        if not cookie.exists():
            cookie.write_text(self._cookie)
            cookie.chmod(0o400)
        (self.directory / "plugins").write_text("[].\n")
        (self.directory / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = {self.host.address}:{self.port}\n"
            "loopback_users = none\n"
            "log.file.level = warning\n"
            "disk_free_limit.absolute = 50MB\n" + self.config + "\n"
        )

    def _environment(self) -> dict[str, str]:
        here = self.directory
        interface = self.host.address.replace(".", ",")
        return {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "LANG": "C.UTF-8",
            "HOME": str(here / "home"),
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_USE_LONGNAME": str(self.host is not HERE).lower(),  # names with addresses are long ones
            "RABBITMQ_MNESIA_BASE": str(here / "data"),
            "RABBITMQ_LOG_BASE": str(here / "log"),
            "RABBITMQ_CONFIG_FILE": str(here / "rabbitmq"),
            "RABBITMQ_CONF_ENV_FILE": str(here / "no-such-file"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(here / "plugins"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(here / "generated"),
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +A 4 -kernel inet_dist_use_interface "
            f"{{{interface}}} {self._erlang}",
            "RABBITMQ_CTL_ERL_ARGS": "+S 1:1",
            "RUNNING_UNDER_SYSTEMD": "1",  # the script becomes the server, so that signals reach it
            "ERL_CRASH_DUMP_BYTES": "0",
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": self.host.address,
        }

    async def listening(
        self, port: int, process: subprocess.Popen[bytes], seconds: float, greeting: bytes = b""
    ) -> None:
        """Wait until `port` answers (to `greeting`, when there is one)."""
        deadline = asyncio.get_running_loop().time() + seconds
        while True:
            if process.poll() is not None:
                raise BrokerFailed(f"ended with {process.returncode} before it listened\n{self.log()}")
            if asyncio.get_running_loop().time() > deadline:
                raise BrokerFailed(f"nobody listens on port {port} after {seconds} s\n{self.log()}")
            if await _answers(self.host.address, port, greeting):
                return
            await asyncio.sleep(0.05)

    @staticmethod
    def _signal(process: subprocess.Popen[bytes] | None, number: int) -> None:
        if process is not None and process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)

    @classmethod
    async def end(cls, process: subprocess.Popen[bytes] | None, number: int, seconds: float) -> None:
        """Signal a child's whole group and wait; kill -9 what is left after `seconds`."""
        if process is None or process.poll() is not None:
            return
        cls._signal(process, number)
        cls._signal(process, signal.SIGCONT)
        deadline = time.monotonic() + seconds
        while process.poll() is None and time.monotonic() < deadline:  # noqa: ASYNC110 - a process, not a task
            await asyncio.sleep(0.02)
        cls._signal(process, signal.SIGKILL)
        process.wait()


class PrivateCluster(_Started):
    """Several RabbitMQ servers of our own that are one cluster. `config`, `erlang`: as of PrivateBroker, for each.
    `hosts`: one for each, otherwise `size` of them are here.

    async with PrivateCluster(tmp_path) as cluster:
        ... cluster.url ...                     # a list of all
        await cluster.brokers[0].kill()
    """

    def __init__(
        self,
        directory: Path,
        size: int = 3,
        config: str = "",
        erlang: str = "",
        hosts: Sequence[BrokerHost] = (),
    ) -> None:
        [self._epmd_port] = free_ports(1)
        self._epmds: list[subprocess.Popen[bytes]] = []
        cookie = secrets.token_hex(16)
        self.brokers = [
            PrivateBroker(
                directory / f"broker-{number}",
                erlang=erlang,
                cookie=cookie,
                epmd_port=self._epmd_port,
                host=host,
            )
            for number, host in enumerate(hosts or [HERE] * size)
        ]
        nodes = "".join(
            f"cluster_formation.classic_config.nodes.{number} = {broker.node}\n"
            for number, broker in enumerate(self.brokers, 1)
        )
        for broker in self.brokers:
            broker.config = f"cluster_formation.peer_discovery_backend = classic_config\n{nodes}{config}"

    @property
    def url(self) -> str:
        """All of them, as a list."""
        places = ",".join(f"{broker.host.address}:{broker.port}" for broker in self.brokers)
        return f"amqp://guest:guest@{places}/"

    async def start(self, timeout_seconds: float = 300.0) -> None:
        """Start all that do not run; the first of a new cluster alone, so that it is the one that others join."""
        epmd = shutil.which("epmd")
        if epmd is None:
            raise BrokerFailed("epmd is not installed")
        if not self._epmds:
            for host, broker in {broker.host: broker for broker in self.brokers}.items():
                self._epmds.append(_start_epmd(epmd, self._epmd_port, host))
                await broker.listening(self._epmd_port, self._epmds[-1], 60.0)
        first = self.brokers[0]
        if not (first.directory / "data").exists():
            await first.start(timeout_seconds)
        await asyncio.gather(
            *(broker.start(timeout_seconds) for broker in self.brokers if not broker.running)
        )

    async def discard(self) -> None:
        """The end of a cluster that nobody starts again: at once, with its epmd."""
        await asyncio.gather(*(broker.kill() for broker in self.brokers))
        await self.stop()

    async def stop(self) -> None:
        """End all of them and their epmd."""
        await asyncio.gather(*(broker.stop() for broker in self.brokers))
        for epmd in self._epmds:
            await PrivateBroker.end(epmd, signal.SIGTERM, 5.0)
        self._epmds.clear()


def _start_epmd(epmd: str, port: int, host: BrokerHost = HERE) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*host.within, epmd, "-port", str(port), "-address", host.address],
        env={"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LANG": "C.UTF-8"},
        preexec_fn=_die_with_parent,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


async def _answers(address: str, port: int, greeting: bytes) -> bool:
    try:
        async with asyncio.timeout(10.0):
            reader, writer = await asyncio.open_connection(address, port)
            try:
                if not greeting:
                    return True
                writer.write(greeting)
                return bool(await reader.read(1))
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except (OSError, TimeoutError):
        return False
