"""The tars role: serves the adapters of the platform's file, with what the platform has for the process.

    roles = [tars_kind(work)]                # composed and run as every role is: roles/composition.py, roles/running.py

The sockets are the parent's (process/tars.py), which keeps them while processes come and go. An App among the service's
web applications makes its process one that reads along; its commands are decided in a process of their own, which has
this role too, without adapters, so that reactors have the platform. Not here: what the node is told, and AdminObj; both
are the parent's.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from skerry.errors import DeclarationError, SettingsError
from skerry.hosting.slope import LeakSlope
from skerry.http.application import Application, ApplicationSettings
from skerry.http.health import Check, Finding
from skerry.kernel.declaration import Declaration
from skerry.kernel.importing import load_application
from skerry.kernel.logs import keep_logs
from skerry.kernel.settings import Settings
from skerry.roles import running
from skerry.roles.exhaustion import Exhaustion
from skerry.roles.kind import RoleContext, RoleKind
from skerry.tars.listener import ListenerState
from skerry.tars.platform.adapters import terms_of
from skerry.tars.platform.commands import Commands
from skerry.tars.platform.config import ConfigRefused, ConfigUnavailable
from skerry.tars.platform.configuration import AdapterConfiguration
from skerry.tars.platform.services import Services
from skerry.tars.servant import Servant
from skerry.tars.server import Server
from skerry.tars.service import PlaceHook, RemoteFile, Service
from skerry.tars.timers import Timers
from skerry.telemetry import Metric

if TYPE_CHECKING:
    from skerry.roles.tars_app import AppAdapter
    from skerry.roles.tars_web import WebAdapter

log = logging.getLogger("skerry.tars.service")

ADAPTERS, DESCRIPTOR, LOCK, WORKERS = (
    "SKERRY_TARS_ADAPTERS",
    "SKERRY_TARS_FD_",
    "SKERRY_TARS_LOCK_FD",
    "SKERRY_TARS_WORKERS",
)
DECIDES = "decides"
"""The gauge by which a process says that commands of its App have to be decided somewhere."""
REPORT_SECONDS = 0.3
"""What is left for the last reports and log lines, at least."""
DEFAULT_WEIGHT = 100


class Control(running.Control, Protocol):
    """The line to the parent (`skerry.process.worker.Worker`)."""

    on_ask: Callable[[str], Awaitable[str]]


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


class Connected:
    """What the platform has for a process, from its first role to its end: roles may end and start again meanwhile."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self.ends_at = 0.0
        """By when the last reports have to be sent, in the loop's time."""
        self._tried = self._is_ready = False

    async def begin(self, files: Sequence[RemoteFile]) -> None:
        """Remote files are in force, calls to others work, logs and statistics are sent from here on. Raises
        SettingsError for a remote file that is not to be had, or was refused."""
        if self._is_ready:
            return
        self._tried = True
        try:
            await self.services.start([(each.name, each.take) for each in files])
        except (ConfigUnavailable, ConfigRefused) as error:  # another attempt would end the same way
            raise SettingsError("remote configuration", str(error)) from error
        self._is_ready = True

    async def end(self) -> None:
        """Report and send what is left."""
        if self._tried:
            left = self.ends_at - asyncio.get_running_loop().time()
            await self.services.stop(max(REPORT_SECONDS, left))


@dataclass(frozen=True, slots=True)
class Work:
    """What one process has to do. `connected`: what the platform has for it. `web`: the service's web applications,
    imported, by object name. `serves`: whether it has adapters and timers; one that decides has none."""

    service: Service
    connected: Connected
    web: Mapping[str, Any]
    control: Control
    inheritance: Inheritance
    serves: bool = True

    def full(self, name: str) -> str:
        """The name of an object with application and server."""
        return name if "." in name else f"{self.platform.configuration.name}.{name}"

    @property
    def platform(self) -> Services:
        return self.connected.services

    def told(self) -> dict[str, float | str]:
        """What the parent has to know of the service."""
        commands = " ".join(sorted(self.service.commands))
        decides = {DECIDES: "yes"} if self.app is not None else {}
        return {"version": self.service.version, "commands": commands, **decides}

    @property
    def app(self) -> Any:
        """The App among the web applications, None without one."""
        found = [each for each in self.web.values() if is_app(each)]
        return found[0] if found else None


def run_service(
    service: Service,
    platform: Services,
    control: Control,
    inheritance: Inheritance,
    settings: Settings,
    *,
    decides: bool = False,
) -> int:
    """Serve until the parent ends it, or decide the commands of the service's App. Returns the exit code. Raises
    SettingsError, DeclarationError for what does not fit together."""
    connected = Connected(platform)
    work = Work(service, connected, _loaded(service, platform), control, inheritance, serves=not decides)
    declaration = declaration_of(work)
    kind = tars_kind(work)
    if decides and work.app is None:
        raise SettingsError("--decides", "the service has no App whose commands could be decided")
    control.gauges = work.told  # from the first word on: without a consumer there may be no journal
    roles = ("consumer", kind) if decides else (kind,)
    return running.run_roles(declaration, settings, roles, control, at_end=connected.end)


def tars_kind(work: Work) -> RoleKind:
    """The role with this work."""
    reads = work.serves and work.app is not None
    return RoleKind(
        "tars",
        lambda context: TarsRole(context, work),
        journal="reads" if reads else "",
        includes=("server",) if reads else (),
        first=True,
    )


def declaration_of(work: Work) -> Declaration:
    """What the process is composed of: the service's App, or nothing, with what the service provides. Raises
    DeclarationError when both make the same service."""
    name = work.platform.configuration.name
    if work.app is not None:
        found: Declaration = work.app.declaration.sealed()
    else:
        found = Declaration(name, Application(ApplicationSettings(name, openapi=None, docs=None)))
    for kind, makes in work.service.provided.items():
        found.add_service(kind, makes)
    return found


def is_app(application: object) -> bool:
    """Whether a web application is a Skerry App, which has more than requests."""
    return isinstance(getattr(application, "declaration", None), Declaration)


def _loaded(service: Service, platform: Services) -> dict[str, Any]:
    """The web applications, imported. Raises SettingsError, DeclarationError."""
    found = {}
    targets = {**service.web, **({"": service.only} if service.only is not None else {})}
    for name, target in targets.items():
        found[name] = load_application(target) if isinstance(target, str) else target
        platform.on_application(found[name])
        keep_logs()  # the application may have configured logging
        platform.capture_logs()
    if sum(map(is_app, found.values())) > 1:
        raise DeclarationError("a service has one App at most, at one object: its routers may be many")
    return found


class TarsRole:
    """One run of a service in this process. `drain`: seconds that work under way may take when it stops."""

    name = "tars"

    def __init__(self, context: RoleContext, work: Work) -> None:
        self._context, self._work = context, work
        self.service, self.configuration = work.service, work.platform.configuration
        self._platform = work.platform
        self.drain = context.settings.drain
        runtime = context.runtime
        self._exhaustion = Exhaustion(runtime.end, supervised=True)
        self._is_watched = False
        self._slope = LeakSlope()
        self._server = self._new_server()
        self._web: list[WebAdapter] = []
        self._app: AppAdapter | None = None
        self._timers = Timers((), None)
        self._commands = Commands(self._states, self.service.commands)
        self._commands.built_in |= {
            "tars.loadconfig": work.platform.files.refresh,
            "tars.viewstatus": self._status,
            "tars.setloglevel": self._set_log_level,
            "tars.setdyeing": self._set_dyeing,
            "tars.enabledaylog": work.platform.enable_day_log,
            "tars.connection": self._connections,
            "hook.started": lambda _: self._call_hooks(self.service.started_hooks),
            "hook.stopping": lambda _: self._call_hooks(self.service.stopping_hooks),
        }
        work.control.on_ask = self._commands.carry_out
        if work.serves:
            self._app = self._app_adapter()

    async def start(self) -> None:
        """The platform's services first, then what serves. Raises SettingsError and DeclarationError for what does not
        fit together, and what keeps it from serving."""
        self._watch()
        await self._work.connected.begin(self.service.files)
        if not self._work.serves:
            return
        self._server, self._web = self._new_server(), []
        has_servants = self._add_servants()
        if self._app is not None:
            await self._app.start()
        if has_servants:
            await self._server.start()
        for web in self._web:
            await web.start()
        self._timers = Timers(self.service.timers, self._work.inheritance.lock)
        self._timers.start()

    async def hold(self) -> None:
        """Take no new connections."""
        self._server.hold()
        for web in self._web:
            web.hold()
        if self._app is not None:
            await self._app.hold()

    async def resume(self) -> None:
        self._server.resume()
        for web in self._web:
            web.resume()
        if self._app is not None:
            await self._app.resume()

    async def stop(self) -> None:
        """Finish what is under way; the platform's services end with the process."""
        self._work.connected.ends_at = asyncio.get_running_loop().time() + self.drain
        serving = max(0.1, self.drain - REPORT_SECONDS)
        parts = [self._timers.stop(serving), self._server.stop(serving)]
        if self._app is not None:
            self._app.drain = serving
            parts.append(self._app.stop())
        await asyncio.gather(*parts, *(web.stop(serving) for web in self._web))

    def gauges(self) -> dict[str, float | str]:
        """What the parent goes by when it replaces processes that have grown old or are stuck, and what it shows."""
        calls = sum(state.counters.requests for state in self._states())
        of_app = self._app.gauges() if self._app is not None else {}
        return {**self._work.told(), **of_app, "requests": calls, **self._exhaustion.gauges()}

    def collect(self) -> list[Metric]:
        """The numbers of its web applications."""
        found = [metric for web in self._web for metric in web.collect()]
        return [*found, *(self._app.collect() if self._app is not None else ())]

    def checks(self) -> Mapping[str, Check]:
        """What of the platform does not work is no reason to get no connections."""

        def platform() -> Finding:
            problems = self._platform.problems
            return Finding(not problems, "; ".join(problems), traffic=True, writes=True)

        return {"platform": platform}

    def _watch(self) -> None:
        """Have the platform told of this process: of what the service counts, its adapters, what requests leave."""
        self.service.platform = self._platform
        properties = self._platform.properties
        if properties is not None and not self._is_watched:
            self._is_watched = True
            properties.adopt(self.service.properties)
            properties.watch(self._states)
            properties.gauge("leakSlope", self._leak_slope)

    def _new_server(self) -> Server:
        required = self.configuration.set_division if self.configuration.check_set else ""
        return Server(required_set=required, observer=self._platform)

    def _states(self) -> list[ListenerState]:
        """All adapters of this process."""
        app = [self._app.state] if self._app is not None else []
        return [*self._server.states(), *app, *(web.state for web in self._web)]

    def _leak_slope(self) -> float:
        """Blocks of memory that each request and call leaves behind, where they grow significantly; else 0."""
        return self._slope.look(sum(state.counters.requests for state in self._states()))

    def _set_log_level(self, level: str) -> str:
        """For what the process writes and for what goes to the remote log."""
        try:
            self._platform.set_log_level(level)
        except SettingsError as error:
            return str(error)
        return self._commands.set_log_level(level.strip())

    def _set_dyeing(self, arguments: str) -> str:
        """`KEY OBJECT [FUNCTION]`."""
        words = arguments.split()
        if len(words) not in (2, 3):
            return "write KEY OBJECT [FUNCTION]: calls with that routekey are dyed"
        key, name, function = (*words, "")[:3]
        name = self._work.full(name)
        self._server.dyeing.set(key, name, function)
        return f"calls of {name}{'.' if function else ''}{function} with routekey {key} are dyed"

    def _connections(self, arguments: str) -> str:
        return "\n".join([self._commands.connections(), *self._platform.connections()])

    def _status(self, arguments: str) -> str:
        return "\n".join(filter(None, (self._commands.status(), self._platform.status())))

    # --- adapters

    def _app_adapter(self) -> AppAdapter | None:
        """Of the adapter at which the App is served. Raises SettingsError when there is none."""
        app = self._work.app
        if app is None:
            return None
        from skerry.roles.tars_app import AppAdapter  # services without one start sooner
        from skerry.roles.tars_http import HttpAdapter

        found = self._adapter_of(app)
        inheritance = self._work.inheritance
        shared = inheritance.sockets[found.name]
        way = HttpAdapter(found, self._context.settings, shared, inheritance.workers)
        return AppAdapter(self._context, way, self._platform, self._exhaustion)

    def _adapter_of(self, application: object) -> AdapterConfiguration:
        for adapter, served in self._served():
            if served is application:
                return adapter
        raise AssertionError("every declared object was found to have an adapter")

    def _served(self) -> Sequence[tuple[AdapterConfiguration, object]]:
        """Each adapter, and what is served there. Raises SettingsError for an object without one, or at one of another
        protocol."""
        work, found = self._work, list[tuple[AdapterConfiguration, object]]()
        servants = {work.full(name): servant for name, servant in self.service.servants.items()}
        web = {work.full(name): target for name, target in work.web.items() if name}
        only = work.web.get("")
        for adapter in self.configuration.adapters:
            if adapter.servant in (web if adapter.speaks_tars else servants):
                what = "a web application" if adapter.speaks_tars else "a servant"
                raise SettingsError(
                    f"adapter {adapter.name}",
                    f"has protocol={adapter.protocol}, and {adapter.servant} is {what}",
                )
            if adapter.servant in servants:
                found.append((adapter, servants.pop(adapter.servant)))
            elif adapter.servant in web:
                found.append((adapter, web.pop(adapter.servant)))
            elif only is not None and not adapter.speaks_tars:
                found.append((adapter, only))
                only = None
            else:
                what = f"the service declares no {adapter.servant}"
                log.warning("nobody serves adapter %s: %s", adapter.name, what)
        known = ", ".join(adapter.servant for adapter in self.configuration.adapters) or "none"
        for name in (*servants, *web):
            raise SettingsError(name, f"has no adapter in the platform's file; there are: {known}")
        if only is not None:
            raise SettingsError(
                "TARGET", f"there is no adapter with a protocol other than tars; there are: {known}"
            )
        return found

    def _add_servants(self) -> bool:
        """Every declared object but the App at its adapter. Returns whether there are servants. Raises SettingsError
        for one that has none, DeclarationError for what nothing fills."""
        has_servants = False
        for adapter, served in self._served():
            if adapter.speaks_tars:
                self._add(adapter, served)
                has_servants = True
            elif served is not self._work.app:
                self._add_web(adapter, served)
        return has_servants

    def _add_web(self, adapter: AdapterConfiguration, application: object) -> None:
        from skerry.roles.tars_web import WebAdapter  # services without one start sooner

        inheritance = self._work.inheritance
        self._web.append(
            WebAdapter(
                adapter, application, self._context.settings, inheritance.sockets[adapter.name],
                inheritance.workers, self._platform, self._exhaustion,
            )
        )  # fmt: skip

    def _add(self, adapter: AdapterConfiguration, servant: object) -> None:
        resolve, inheritance = self._context.services.resolve, self._work.inheritance
        terms = terms_of(adapter, Servant.of(adapter.servant, servant, resolve), inheritance.workers)
        shared = inheritance.sockets.get(adapter.name)
        self._server.add(
            servant,
            f"{adapter.servant}@{adapter.endpoint}",
            limits=terms.limits,
            tls=terms.tls,
            access=terms.access,
            threads=terms.threads,
            shared=None if shared is None else shared.dup(),
            account=terms.account,
            resolve=resolve,
        )

    async def _call_hooks(self, hooks: list[PlaceHook]) -> str:
        """Tell each hook its places; one that fails does not keep the others from being told."""
        for hook in hooks:
            for adapter in self.configuration.adapters:
                if hook.name and self._work.full(hook.name) != adapter.servant:
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
