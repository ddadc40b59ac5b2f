"""One process of a Tars service: serves the adapters of the platform's file until its parent ends it.

The sockets are the parent's (process/tars.py), which keeps them while processes come and go. Not here: what the node is
told, and AdminObj; both are the parent's.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from skerry.clock import SystemClock
from skerry.errors import DeclarationError, SettingsError
from skerry.kernel.services import Services as Injected
from skerry.kernel.settings import Settings
from skerry.loop.models import default, factory
from skerry.roles.exhaustion import Exhaustion
from skerry.supervision.failure import Failure
from skerry.tars.listener import ListenerState
from skerry.tars.platform.adapters import terms_of
from skerry.tars.platform.commands import Commands
from skerry.tars.platform.configuration import AdapterConfiguration
from skerry.tars.platform.services import Services
from skerry.tars.servant import Servant
from skerry.tars.server import Server
from skerry.tars.service import PlaceHook, Service
from skerry.tars.timers import Timers

if TYPE_CHECKING:
    from skerry.roles.tars_web import WebAdapter

log = logging.getLogger("skerry.tars.service")

ADAPTERS, DESCRIPTOR, LOCK, WORKERS = (
    "SKERRY_TARS_ADAPTERS",
    "SKERRY_TARS_FD_",
    "SKERRY_TARS_LOCK_FD",
    "SKERRY_TARS_WORKERS",
)
CLOSING_SECONDS = 0.3
"""What is left for the end of the process when everything is drained."""
REPORT_SECONDS = 0.3
"""What is left for the last reports and log lines, at least."""
DEFAULT_WEIGHT = 100


class Control(Protocol):
    """The line to the parent (`skerry.process.worker.Worker`)."""

    gauges: Callable[[], dict[str, float | str]]
    on_ask: Callable[[str], Awaitable[str]]

    async def start(self, stop: Callable[[float], None]) -> None: ...
    def ready(self) -> None: ...
    def failure(self, failure: Failure, *, fatal: bool = False) -> None: ...
    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Inheritance:
    """What the parent left for this process: the bound sockets, by adapter name; the file whose holder runs the timers;
    how many processes there are."""

    sockets: Mapping[str, socket.socket] = field(default_factory=dict)
    lock: int | None = None
    workers: int = 1

    @classmethod
    def taken(cls) -> Inheritance:
        """From the environment, once."""
        names = os.environ.pop(ADAPTERS, "")
        sockets = {}
        for number, name in enumerate(filter(None, names.split(";"))):
            found = socket.socket(fileno=int(os.environ.pop(f"{DESCRIPTOR}{number}")))
            found.set_inheritable(False)
            sockets[name] = found
        lock = os.environ.pop(LOCK, "")
        return cls(sockets, int(lock) if lock else None, int(os.environ.pop(WORKERS, "1")))


def run_service(
    service: Service,
    services: Services,
    control: Control,
    inheritance: Inheritance,
    settings: Settings,
) -> int:
    """Serve until the parent ends it. `services`: what the platform has for this process. Returns the exit code. Raises
    SettingsError for what does not fit together."""
    role = TarsRole(service, services, settings, control, inheritance)
    with asyncio.Runner(loop_factory=factory(settings.loop_model or default())) as runner:
        return runner.run(role.run())


class TarsRole:
    """One run of a service in this process."""

    def __init__(
        self,
        service: Service,
        services: Services,
        settings: Settings,
        control: Control,
        inheritance: Inheritance,
    ) -> None:
        self.service, self.configuration, self._settings = service, services.configuration, settings
        configuration = self.configuration
        self._services = services
        self._control, self._inheritance = control, inheritance
        self._server = Server(
            required_set=configuration.set_division if configuration.check_set else "", observer=services
        )
        self._is_served = False
        self._web: list[WebAdapter] = []
        self._injected = Injected()
        self._timers = Timers(service.timers, inheritance.lock)
        self._exhaustion = Exhaustion(supervised=True)
        self._commands = Commands(self._states, service.commands)
        self._commands.built_in |= {
            "tars.loadconfig": services.files.refresh,
            "tars.viewstatus": self._status,
            "tars.setloglevel": self._set_log_level,
            "tars.setdyeing": self._set_dyeing,
            "tars.enabledaylog": services.enable_day_log,
            "tars.connection": self._connections,
            "hook.started": lambda _: self._call_hooks(service.started_hooks),
            "hook.stopping": lambda _: self._call_hooks(service.stopping_hooks),
        }
        self._stop_seconds: float | None = None
        self._stopping = asyncio.Event()

    async def run(self) -> int:
        """Initialise, serve, drain."""
        control = self._control
        try:
            told = {"version": self.service.version, "commands": " ".join(sorted(self.service.commands))}
            control.gauges = lambda: {**told, **self._gauges()}
            control.on_ask = self._commands.carry_out
            await control.start(self._stop)
            self._add_servants()
            await self._begin_services()
            if self._is_served:
                await self._server.start()
            for web in self._web:
                await web.start()
            self._timers.start()
            control.ready()
            await self._stopping.wait()
            await self._drain(max(0.1, (self._stop_seconds or 0.0) - CLOSING_SECONDS))
        except Exception as error:
            control.failure(Failure.of("service", error, at=SystemClock.now()), fatal=True)
            if isinstance(error, SettingsError | DeclarationError):
                return 2
            raise
        finally:
            await control.close()
        return 0

    async def _begin_services(self) -> None:
        """Remote files are in force, calls to others work, logs and statistics are sent from here on. Raises TarsError
        for a remote file that is not to be had, or was refused."""
        if self._services.properties is not None:
            self._services.properties.adopt(self.service.properties)
            self._services.properties.watch(self._states)
        self.service.platform = self._services
        await self._services.start([(each.name, each.take) for each in self.service.files])

    def _states(self) -> list[ListenerState]:
        """All adapters of this process."""
        return [*self._server.states(), *(web.state for web in self._web)]

    def _gauges(self) -> dict[str, float | str]:
        """What the parent goes by when it replaces processes that have grown old or are stuck."""
        calls = sum(state.counters.requests for state in self._states())
        return {"requests": calls, **self._exhaustion.gauges()}

    def _set_log_level(self, level: str) -> str:
        """For what the process writes and for what goes to the remote log."""
        try:
            self._services.set_log_level(level)
        except SettingsError as error:
            return str(error)
        return self._commands.set_log_level(level.strip())

    def _set_dyeing(self, arguments: str) -> str:
        """`KEY OBJECT [FUNCTION]`."""
        words = arguments.split()
        if len(words) not in (2, 3):
            return "write KEY OBJECT [FUNCTION]: calls with that routekey are dyed"
        key, name, function = (*words, "")[:3]
        self._server.dyeing.set(key, self._full(name), function)
        return f"calls of {self._full(name)}{'.' if function else ''}{function} with routekey {key} are dyed"

    def _connections(self, arguments: str) -> str:
        return "\n".join([self._commands.connections(), *self._services.connections()])

    async def _drain(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        serving = max(0.1, seconds - REPORT_SECONDS)
        web = (each.stop(serving) for each in self._web)
        await asyncio.gather(self._timers.stop(serving), self._server.stop(serving), *web)
        await self._services.stop(max(REPORT_SECONDS, end - loop.time()))

    def _stop(self, seconds: float) -> None:
        self._stop_seconds = seconds
        self._stopping.set()

    def _add_servants(self) -> None:
        """Every declared object at its adapter. Raises SettingsError for one that has none, DeclarationError for what
        nothing fills."""
        for kind, makes in self.service.provided.items():
            self._injected.add_factory(kind, makes)
        servants = {self._full(name): servant for name, servant in self.service.servants.items()}
        web = {self._full(name): target for name, target in self.service.web.items()}
        for adapter in self.configuration.adapters:
            if adapter.servant in (web if adapter.speaks_tars else servants):
                what = "a web application" if adapter.speaks_tars else "a servant"
                raise SettingsError(
                    f"adapter {adapter.name}",
                    f"has protocol={adapter.protocol}, and {adapter.servant} is {what}",
                )
            if adapter.servant in servants:
                self._add(adapter, servants.pop(adapter.servant))
            elif adapter.servant in web:
                self._add_web(adapter, web.pop(adapter.servant))
            elif self.service.only is not None and not adapter.speaks_tars and not self._web:
                self._add_web(adapter, self.service.only)
            else:
                what = f"the service declares no {adapter.servant}"
                log.warning("nobody serves adapter %s: %s", adapter.name, what)
        known = ", ".join(adapter.servant for adapter in self.configuration.adapters) or "none"
        for name in (*servants, *web):
            raise SettingsError(name, f"has no adapter in the platform's file; there are: {known}")
        if self.service.only is not None and not self._web:
            raise SettingsError(
                "TARGET", f"there is no adapter with a protocol other than tars; there are: {known}"
            )

    def _add_web(self, adapter: AdapterConfiguration, target: object) -> None:
        from skerry.roles.tars_web import WebAdapter  # services without one start sooner

        shared, workers = self._inheritance.sockets[adapter.name], self._inheritance.workers
        self._web.append(
            WebAdapter(adapter, target, self._settings, shared, workers, self._services, self._exhaustion)
        )

    def _add(self, adapter: AdapterConfiguration, servant: object) -> None:
        resolve = self._injected.resolve
        terms = terms_of(adapter, Servant.of(adapter.servant, servant, resolve), self._inheritance.workers)
        self._server.add(
            servant,
            f"{adapter.servant}@{adapter.endpoint}",
            limits=terms.limits,
            tls=terms.tls,
            access=terms.access,
            threads=terms.threads,
            shared=self._inheritance.sockets.get(adapter.name),
            account=terms.account,
            resolve=resolve,
        )
        self._is_served = True

    def _status(self, arguments: str) -> str:
        return "\n".join(filter(None, (self._commands.status(), self._services.status())))

    def _full(self, name: str) -> str:
        return name if "." in name else f"{self.configuration.name}.{name}"

    async def _call_hooks(self, hooks: list[PlaceHook]) -> str:
        """Tell each hook its places; one that fails does not keep the others from being told."""
        for hook in hooks:
            for adapter in self.configuration.adapters:
                if hook.name and self._full(hook.name) != adapter.servant:
                    continue
                endpoint = adapter.endpoint
                weight = endpoint.weight if endpoint.weight >= 0 else DEFAULT_WEIGHT
                try:
                    if asyncio.iscoroutinefunction(hook.tell):
                        await hook.tell(f"{endpoint.host}:{endpoint.port}", weight)
                    else:
                        await asyncio.to_thread(hook.tell, f"{endpoint.host}:{endpoint.port}", weight)
                except Exception:
                    log.exception("a hook of %s failed", adapter.servant)
        return "done"
