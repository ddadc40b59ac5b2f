"""The platform's services of one process, put together from its configuration.

Two communicators: one for the platform's own objects, which nobody observes, and the application's, whose calls are
counted. What the configuration does not name is not there: without a locator addresses need endpoints, without `stat`
nothing is counted. A service that is away costs what it is for, nothing else; `problems` names it.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from skerry.tars.account import Account
from skerry.tars.blocking import BlockingCommunicator
from skerry.tars.call import Call
from skerry.tars.client import ObjectClient
from skerry.tars.communicator import Communicator
from skerry.tars.platform import log as remote_log
from skerry.tars.platform import rolling
from skerry.tars.platform.cache import EndpointCache
from skerry.tars.platform.config import CONFIG, Handler, RemoteFiles
from skerry.tars.platform.configuration import Configuration
from skerry.tars.platform.identity import identity_of
from skerry.tars.platform.log import LOG, RemoteLog
from skerry.tars.platform.property import PROPERTY, Properties
from skerry.tars.platform.registry import RegistryLocator, locator_of
from skerry.tars.platform.reporting import Reporting, ReportSettings
from skerry.tars.platform.stat import STAT, Statistics
from skerry.tars.platform.trace_log import FILE, TraceLog
from skerry.tars.settings import ClientSettings
from skerry.tars.wire.packet import MessageType

log = logging.getLogger("skerry.tars.platform")

_TRACE = int(MessageType.TRACE)
ANSWER_SECONDS = 3.0
STOP_SECONDS = 3.0


class Services:
    """What a process has of the platform.

    `version` is told with call statistics. `log_level`: from which level on the root logger's records go to the remote
    log; an empty one means INFO, NONE none at all. Made before the loop runs, started in it.
    """

    def __init__(
        self,
        configuration: Configuration,
        *,
        version: str = "",
        log_level: str = "",
    ) -> None:
        client = configuration.client
        self.configuration, self.identity = configuration, identity_of(configuration)
        self.cache = _cache(configuration)
        remembered = self.cache.value("logLevel") if self.cache is not None else ""
        self.log_level = remembered if remembered in remote_log.LEVELS else log_level or "INFO"
        remote_log.level_of(self.log_level)
        self.locator = locator_of(configuration, self.cache)
        self._own = Communicator(
            locator=self.locator,
            settings=ClientSettings(
                connect_seconds=client.connect_seconds, refresh_seconds=client.refresh_seconds
            ),
            timeout_seconds=ANSWER_SECONDS,
            context=dict(self.identity.context),
        )
        report = ReportSettings(client.report_seconds, client.report_timeout_seconds, client.report_bytes)
        seconds, me = report.timeout_seconds, self.identity
        self.statistics: Statistics | None = None
        self.properties: Properties | None = None
        self.log: RemoteLog | None = None
        self.chains: TraceLog | None = None
        if stat := self._proxy(STAT.StatF, client.stat, seconds):
            self.statistics = Statistics(me, stat, report, version)
        if properties := self._proxy(PROPERTY.PropertyF, client.property, seconds):
            self.properties = Properties(me, properties, report)
        if lines := self._proxy(LOG.Log, configuration.log):
            self.log = RemoteLog(me, lines, configuration.log_path or ".")
            chains = remote_log.Target(FILE)
            self.chains = TraceLog(partial(self.log.put, chains), me.module, client.trace_bytes)
        config = self._proxy(CONFIG.Config, configuration.config)
        self.files = RemoteFiles(self.identity, config, configuration.base_path or ".")
        self._settings = ClientSettings(
            connect_seconds=client.connect_seconds,
            refresh_seconds=client.refresh_seconds,
            keep_alive_seconds=client.keep_alive_seconds,
            observer=self.statistics,
            accounts={
                name: Account(each.access_key, each.secret_key)
                for name, each in client.objects.items()
                if each.access_key
            },
            traced=self.chains.called if self.chains is not None else None,
        )
        self.communicator = Communicator(
            locator=self.locator, settings=self._settings, timeout_seconds=client.async_invoke_seconds
        )
        self.on_application: Callable[[Any], None] = lambda application: None
        """Told of each application that was imported (see `tars/web`)."""
        self._lock = threading.Lock()
        self._blocking: tuple[BlockingCommunicator, RegistryLocator | None] | None = None

    def served(self, call: Call, code: int, seconds: float) -> None:
        """The observer of the process's server."""
        if self.statistics is not None:
            self.statistics.served(call, code, seconds)
        if self.chains is not None and call.request.message_type & _TRACE:
            self.chains.served(call, code, seconds)

    def capture_logs(self) -> None:
        """Records of the root logger go to the remote log from now on: call it before the application is imported and
        once more afterwards, because that may have configured logging. Works before the loop runs. Local logs of the
        process have their place as well."""
        it = self.configuration
        place = rolling.Place(it.log_directory, it.name, it.log_bytes, it.log_files)
        rolling.install(place if it.log_path else None)
        if self.log is not None:
            remote_log.install(self.log)
            remote_log.attach(self.log_level)

    def blocking(self) -> BlockingCommunicator:
        """A communicator for threads, over the same registry and counted as well; made when it is first wanted."""
        with self._lock:
            if self._blocking is None:
                locator = locator_of(self.configuration, self.cache)
                seconds = self.configuration.client.sync_invoke_seconds
                made = BlockingCommunicator(locator=locator, settings=self._settings, timeout_seconds=seconds)
                self._blocking = made, locator
            return self._blocking[0]

    async def start(self, files: Iterable[tuple[str, Handler]] = ()) -> None:
        """Begin, in the running loop; every remote file is in force on return. Raises ConfigUnavailable and
        ConfigRefused."""
        self.capture_logs()
        if self.log is not None:
            self.log.start()
        for part in (self.statistics, self.properties):
            if part is not None:
                part.start()
        for name, handler in files:
            self.files.on(name, handler)
        await self.files.start()

    def set_log_level(self, level: str) -> None:
        """From this level on (`tars.setloglevel`), also after the next start. SettingsError for another."""
        remote_log.level_of(level)
        self.log_level = level.strip().upper()
        self.capture_logs()
        if self.cache is not None:
            self.cache.set_value("logLevel", self.log_level)

    def enable_day_log(self, arguments: str) -> str:
        """`remote|[LOG]|true` or `false` (`tars.enabledaylog`): whether a log goes to the log service."""
        where, _, rest = arguments.partition("|")
        name, _, wanted = rest.partition("|")
        if where not in ("remote", "local") or wanted not in ("true", "false"):
            return "write remote|LOG|true or remote|LOG|false; LOG is empty for the main log"
        if where == "local":
            return "there are no local day logs: what a process writes is in the node's log"
        if self.log is None:
            return "the platform's file names no log service"
        (self.log.off.discard if wanted == "true" else self.log.off.add)(name)
        return f"{name or 'the main log'} {'goes' if wanted == 'true' else 'does not go'} to the log service"

    def connections(self) -> list[str]:
        """The objects that this process calls, and where; one line each."""
        return [
            f"calls {client.name} at {link.endpoint}: {'connected' if link.ready() else 'not connected'}, "
            f"{link.waiting} waiting"
            for client in self.communicator.clients
            for link in client.routes.links
        ]

    async def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Report and send what is left, within `seconds`, then end. The log is the last to go."""
        parts = [part for part in (self.statistics, self.properties) if part is not None]
        await asyncio.gather(self.files.stop(), *(part.stop(seconds / 2) for part in parts))
        if self.log is not None:
            remote_log.detach()
            remote_log.install(None)
            await self.log.stop(seconds / 2)
        if self._blocking is not None:
            await asyncio.to_thread(_close, *self._blocking)
        closing = [self.communicator.close(), self._own.close()]
        if self.locator is not None:
            closing.append(self.locator.close())
        await asyncio.gather(*closing)
        rolling.install(None)

    @property
    def problems(self) -> tuple[str, ...]:
        """What of the platform does not work now, one line each."""
        found = []
        if self.locator is not None and self.locator.problem:
            found.append(f"registry: {self.locator.problem}")
        if self.log is not None and self.log.problem:
            found.append(f"log: {self.log.problem}")
        found += [f"{each.name}: {each.problem}" for each in self._reportings if each.problem]
        found += [f"config: {name} is the local copy" for name in self.files.problems]
        return tuple(found)

    def status(self) -> str:
        """Counts and problems, for `tars.viewstatus`."""
        lines = []
        if self.log is not None:
            it = self.log
            lines.append(
                f"log: {it.sent} lines sent, {it.waiting} waiting, {it.failed} local, {it.dropped} dropped"
            )
        lines += [f"{each.name}: {each.sent} reports, {each.failed} lost" for each in self._reportings]
        if self.statistics is not None and self.statistics.uncounted:
            lines.append(f"statistics: {self.statistics.uncounted} calls found no room")
        lines += [_called(client) for client in self.communicator.clients]
        return "\n".join([*lines, *(f"problem: {problem}" for problem in self.problems)])

    @property
    def _reportings(self) -> list[Reporting]:
        return [part.reporting for part in (self.statistics, self.properties) if part is not None]

    def _proxy(self, interface: Any, address: str, seconds: float = ANSWER_SECONDS) -> Any:
        if not address or ("@" not in address and self.locator is None):
            return None
        return self._own.proxy(interface, address, timeout_seconds=seconds)


def _called(client: ObjectClient) -> str:
    it = client.counters
    return (
        f"calls of {client.name}: {it.calls}, {it.succeeded} succeeded, {it.timeouts} time-outs, {it.remote_errors} "
        f"errors of the server, {it.connect_failures} connections failed, {it.lost} lost, {it.retries} tried again, "
        f"{it.unknown_replies} replies for nobody"
    )


def _close(communicator: BlockingCommunicator, locator: RegistryLocator | None) -> None:
    if locator is not None:
        communicator.wait(locator.close())
    communicator.close()


def _cache(configuration: Configuration) -> EndpointCache | None:
    if not configuration.data_path:
        return None
    file = Path(configuration.data_path, f"{configuration.server}.tarsdat")
    return EndpointCache(file, configuration.client.locator or "none")
