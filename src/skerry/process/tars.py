"""The parent process of a Tars service: what the node knows, and what stays while processes come and go.

Its pid is the one that the node started; it holds the sockets, AdminObj, and the thread that keeps the service alive in
the node's eyes. The service itself runs in children (`roles/tars.py`), which the runner replaces without a lost call:
successors first, then the old ones push `_reconnect_`, drain within the deactivating time-out, and end. Where one of
them says that the service has an App, a consumer is started beside them.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from typing import TYPE_CHECKING

from skerry.errors import SettingsError
from skerry.kernel.settings import Settings, address
from skerry.loop.sockets import bind_tcp, bind_udp
from skerry.process.child import Child, Spec
from skerry.process.output import Output
from skerry.process.restarts import RestartSettings
from skerry.process.runner import Runner, RunnerSettings
from skerry.supervision.failure import Failure
from skerry.tars.platform.configuration import Configuration
from skerry.tars.platform.domain import ConfigurationError

if TYPE_CHECKING:
    from skerry.kernel.admin import AdminServer
    from skerry.tars.platform.liveness import Liveness
    from skerry.tars.server import Server

ROLE = "tars"
DECIDES = "decides"
"""The gauge by which a process says that the service has an App, whose commands have to be decided."""
ANSWERS_SECONDS = 5.0
"""A process that has not beaten for so long does not answer. They beat each second."""
LOOK_SECONDS = 0.25
AGAIN_SECONDS = 5.0
SERVES = ("ready", "not ready", "stopping")
"""The states in which the loop of a process may be heard to run."""
RELEASE = "TARS_RELEASE"
"""The variable in which the launcher of `skerry tars deploy` says its release."""
ASK_SECONDS = 2.0
HOOK_SECONDS = 1.0
MARGIN_SECONDS = 0.5
"""What the parent needs of the deactivating time-out for its own end."""


@dataclass(frozen=True, slots=True)
class TarsSettings:
    """`config`: the platform's file. `workers`: how many processes; 0: as many as the file's `threads`, but not more
    than cores. `hang_seconds`: a process whose loop does not run for so long is replaced."""

    target: str
    config: str
    workers: int = 0
    hang_seconds: float = 10.0


def workers_of(configuration: Configuration, wanted: int, cores: int) -> int:
    """How many processes."""
    threads = max((adapter.threads for adapter in configuration.adapters), default=1)
    return wanted or max(1, min(threads, cores))


class TarsParent:
    """Implements `Living` (its life) and `Operations` (what AdminObj asks). `common`: the settings that every process
    of Skerry has."""

    def __init__(
        self,
        settings: TarsSettings,
        configuration: Configuration,
        common: Settings,
        environment: Mapping[str, str],
        output: Output,
    ) -> None:
        self._settings, self._configuration, self._common = settings, configuration, common
        self._workers = workers_of(configuration, settings.workers, os.cpu_count() or 1)
        self._resources = ExitStack()
        self._admin: Server | None = None
        self._admin_socket: socket.socket | None = None
        self._wished = asyncio.Event()
        self._started, self._ready = asyncio.Event(), asyncio.Event()
        self._running: asyncio.Task[int] | None = None
        self._consumers: list[Spec] = []
        self._count = 0
        """Processes that serve; read in the thread of `liveness` as well."""
        self._watched: AdminServer | None = None
        self._watched_socket: socket.socket | None = None
        self._began = time.monotonic()
        self._answered_at = float("-inf")
        try:
            specs = self._specs(environment)
        except BaseException:
            self._resources.close()
            raise
        self.runner = Runner([specs], output, self._runner_settings(), name="tars")
        self.runner.events.on("ready", self._on_ready)
        self.runner.events.on("started", self._on_started)
        self.runner.events.on("ended", self._on_ended)

    def _runner_settings(self) -> RunnerSettings:
        grace = max(0.5, self._configuration.deactivating_seconds - MARGIN_SECONDS)
        return RunnerSettings(
            RestartSettings(),
            grace_seconds=grace,
            replaced_seconds=max(grace, self._configuration.deactivating_seconds),
            hang_seconds=self._settings.hang_seconds,
            ready_seconds=self._configuration.activating_seconds,
        )

    def _specs(self, environment: Mapping[str, str]) -> list[Spec]:
        """The processes; all get all sockets."""
        adapters = self._configuration.adapters
        inherited: dict[str, int] = {}
        for number, adapter in enumerate(adapters):
            endpoint = adapter.endpoint
            setting = f"adapter {adapter.name}"
            if endpoint.stream:
                bound = bind_tcp(endpoint.listens_on, endpoint.port, setting=setting, listen=False)
            else:
                bound = bind_udp(endpoint.listens_on, endpoint.port, setting=setting)
            self._resources.enter_context(bound)
            inherited[f"SKERRY_TARS_FD_{number}"] = bound.fileno()
        if self._common.admin_bind:
            bound = bind_tcp(*address(self._common.admin_bind, "admin_bind"), setting="admin_bind")
            self._watched_socket = self._resources.enter_context(bound)
        with tempfile.TemporaryFile() as file:  # its lock decides whose turn the timers are
            lock = os.dup(file.fileno())
        self._resources.callback(os.close, lock)
        inherited["SKERRY_TARS_LOCK_FD"] = lock
        given = {
            **environment,
            **self._configuration.environment,
            "SKERRY_HANG": str(self._settings.hang_seconds),
        }
        if self._configuration.data_path and self._common.data == Settings.data:
            given["SKERRY_DATA"] = self._configuration.data_path
        serving = {
            **given,
            "SKERRY_TARS_ADAPTERS": ";".join(adapter.name for adapter in adapters),
            "SKERRY_TARS_WORKERS": str(self._workers),
        }
        command = [
            sys.executable, "-m", "skerry", "tars", "worker", self._settings.target,
            "--config", self._settings.config,
        ]  # fmt: skip
        self._consumers = [
            Spec(f"consumer-{number}", "consumer", [*command, "--decides"], given)
            for number in range(1, self._common.consumers + 1)
        ]
        return [
            Spec(f"worker-{number}", ROLE, command, serving, inherited)
            for number in range(1, self._workers + 1)
        ]

    # --- the life (Living)

    def bind_admin(self) -> None:
        endpoint = self._configuration.local
        if endpoint is None:
            return
        where = "/tars/application/server<local>"
        if not _is_loopback(endpoint.listens_on):
            raise ConfigurationError(
                where, f"must be a loopback address, not {endpoint.listens_on}: it ends servers"
            )
        bound = bind_tcp(endpoint.listens_on, endpoint.port, setting=where)
        self._admin_socket = self._resources.enter_context(bound)

    async def say_activating(self) -> None:
        await self._until(self._started)
        self.liveness.start()  # loaded while the processes load what they need

    async def answer_admin(self) -> None:
        from skerry.tars.platform.admin import admin_server  # after the node has been told

        if self._watched_socket is not None:
            from skerry.kernel.admin import AdminServer  # most services have none

            self._watched = AdminServer(self._common, self.runner.report, self.runner.all_metrics)
            await self._watched.start(self._watched_socket.dup())
            self.runner.say(f"health and numbers of all processes on {self._watched.url}")

        endpoint = self._configuration.local
        if endpoint is not None and self._admin_socket is not None:
            self._admin = admin_server(endpoint, self._admin_socket.dup(), self, os.getpid())
            await self._admin.start()

    @cached_property
    def liveness(self) -> Liveness:
        """What the node and the notification service hear."""
        from skerry.tars.platform.liveness import Liveness
        from skerry.tars.platform.registry import locator_of

        configuration = self._configuration
        gauges = {"workers": lambda: float(self._count)}
        return Liveness(configuration, os.getpid(), self._answers, lambda: locator_of(configuration), gauges)

    def start_processes(self) -> None:
        self._running = asyncio.get_running_loop().create_task(self.runner.run())
        self.runner.own(self._look())

    async def until_serving(self) -> bool:
        await self._until(self._ready, self._wished)
        return self._ready.is_set() and not self._wished.is_set()

    async def say_serving(self) -> None:
        took = time.monotonic() - self._began
        self.runner.say(
            f"{self._configuration.name} serves after {took:.1f} s with {self._workers} processes"
        )
        self._answered_at = time.monotonic()
        self.liveness.serve(self._version())
        self.runner.own(self._recycle())
        await self._ask_one("hook.started")

    async def until_the_end(self) -> None:
        await self._until(self._wished)

    async def say_stopping(self) -> None:
        self.liveness.stop()
        if self._ready.is_set():
            await self._ask_one("hook.stopping")

    async def end_processes(self) -> int:
        assert self._running is not None
        self.runner.stop()
        return await self._running

    async def close(self) -> None:
        await self.liveness.close()
        if self._admin is not None:
            await self._admin.stop()
        if self._watched is not None:
            await self._watched.stop()
        self._resources.close()

    async def _until(self, *events: asyncio.Event) -> None:
        """One of them is set, or the processes have ended."""
        assert self._running is not None
        loop = asyncio.get_running_loop()
        waits = [loop.create_task(event.wait()) for event in events]
        try:
            await asyncio.wait({*waits, self._running}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    # --- operations (of AdminObj, and of signals)

    def shutdown(self) -> None:
        self._wished.set()

    def replace_processes(self, why: str) -> None:
        self.runner.say(f"{why}: replacing every process")
        self.runner.own(self._replace())

    async def _replace(self) -> None:
        if not await self.runner.rollout.roll():
            self.alarm("the processes could not all be replaced; see the log")

    def check_configuration(self) -> None:
        Configuration.read(self._settings.config)

    def status(self) -> str:
        configuration = self._configuration
        told = self.liveness.keep_alives.told_at
        since = f"{time.monotonic() - told:.1f} s ago" if told is not None else "never"
        lines = [
            f"{configuration.name} on {configuration.node_name}, pid {os.getpid()}, {self.versions()}",
            f"set: {configuration.set_division or 'none'}; node: {configuration.node or 'none'}, told {since}",
            f"notify: {self.liveness.notifier.sent} sent, {self.liveness.notifier.dropped} dropped",
            *(
                f"{each.name}: {each.servant} at {each.endpoint}, {each.protocol}"
                for each in configuration.adapters
            ),
        ]
        return "\n".join([*lines, self.workers()])

    def versions(self) -> str:
        own = self._version()
        return f"$skerry {version('skerry')}$" + (f" service {own}" if own else "")

    def workers(self) -> str:
        now = time.monotonic()
        return "\n".join(
            f"{slot.name}: {slot.state}"
            + (f", pid {slot.child.pid}, for {now - slot.child.started_at:.0f} s" if slot.child else "")
            + f", {slot.restarts} restarts"
            for slot in self.runner.slots
        )

    def code(self) -> str:
        """What the processes run; more than one while they are replaced by those of another release."""
        release = os.environ.get(RELEASE, "") or "none"
        lines = [f"{each.spec.name}: code {each.code or 'unknown'}" for each in self.runner.slots.children()]
        return "\n".join([f"release {release}, skerry {version('skerry')}", *lines])

    def custom_commands(self) -> list[str]:
        words = {str(child.gauges.get("commands", "")) for child in self.runner.slots.children()}
        return sorted({name for text in words for name in text.split()})

    async def ask(self, command: str) -> Mapping[str, str | None]:
        """Every process that serves; one that does not answer writes its stacks into the log."""
        children = [child for child in self.runner.slots.children() if child.state != "ended"]
        answers = await self.runner.asking.ask_all(children, command, ASK_SECONDS)
        for child, answer in answers.items():
            if answer is None and child.last_beat is not None:
                child.signal(signal.SIGUSR1)  # its stacks, into the log
        return {f"{child.spec.name} (pid {child.pid})": answer for child, answer in answers.items()}

    def report(self, message: str) -> None:
        self.liveness.report(message)

    def alarm(self, message: str) -> None:
        self.liveness.alarm(message)

    def kill(self, code: int) -> None:
        """End everything at once."""
        self._wished.set()
        self.runner.kill(code)

    # --- what is known

    def _answers(self) -> bool:
        """Whether at least one process's loop runs, and this one's own. Called in the thread of `liveness`."""
        return time.monotonic() - self._answered_at < ANSWERS_SECONDS

    @property
    def _serving(self) -> list[Child]:
        """The processes that serve, also those that have something to complain of."""
        children = self.runner.slots.children()
        return [each for each in children if each.spec.role == ROLE and each.state in SERVES]

    async def _look(self) -> None:
        """Note when a process was last heard, and whether somebody has to decide commands."""
        decided = False
        while True:
            serving = self._serving
            if any(child.state == "not ready" for child in serving):  # it serves, and complains
                self._ready.set()
            heard = [child.last_beat for child in serving if child.last_beat is not None]
            self._answered_at = max([self._answered_at, *heard])
            self._count = sum(child.state != "stopping" for child in serving)
            if not decided and any(DECIDES in child.gauges for child in self.runner.slots.children()):
                decided = True
                self.runner.own(self._decide())
            await asyncio.sleep(LOOK_SECONDS)

    async def _decide(self) -> None:
        """Have consumers beside the processes that serve; one that does not get ready is tried again."""
        while not await self.runner.rollout.scale("consumer", self._consumers):
            self.alarm("nobody decides commands; see the log")
            await asyncio.sleep(AGAIN_SECONDS)

    async def _recycle(self) -> None:
        """Replace processes that have grown too old or too large, or are stuck, as the settings of hosts say."""
        from skerry.process.recycling import (  # when it serves: nobody waits for it then
            Recycler,
            limits_of,
            limits_of_host,
        )

        settings = self._common
        try:
            recycler = Recycler(self.runner, limits_of(settings), of_hosts=limits_of_host(settings))
        except SettingsError as error:
            self.runner.say(f"no process is replaced for its age or size: {error}", "error")
            return
        await recycler.run()

    def _version(self) -> str:
        versions = (str(child.gauges.get("version", "")) for child in self.runner.slots.children())
        return next(filter(None, versions), "")

    def _on_ready(self, name: str) -> None:
        slot = self.runner.slots.find(name)
        if slot is not None and slot.spec.role == ROLE:
            self._ready.set()

    def _on_started(self, name: str) -> None:
        if all(slot.starts for slot in self.runner.slots.homes[ROLE]):
            self._started.set()

    def _on_ended(self, name: str, failure: Failure) -> None:
        self.alarm(f"{name}: {failure.message}")

    async def _ask_one(self, command: str) -> None:
        """One process that serves, whichever."""
        for child in self._serving[:1]:
            await self.runner.asking.ask(child, command, HOOK_SECONDS)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
