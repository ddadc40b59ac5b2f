"""The services of the platform together, on free ports of this machine, in a thread with a loop of its own.

So it serves synchronous tests (of Django, of a command) as well as asynchronous ones, and a blocked loop under test
does not block it. A service can be taken away and brought back: what a server does then is what tests of the platform
are about.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from skerry.errors import LifecycleError
from skerry.tars.platform.configuration import ClientConfiguration, Configuration
from skerry.tars.server import Server
from skerry.testing.tars.config import ConfigCenter
from skerry.testing.tars.records import LogCenter, NotifyCenter, PropertyCenter, StatCenter
from skerry.testing.tars.registry import Registry

R = TypeVar("R")
OBJECTS = {
    "registry": "tars.tarsregistry.QueryObj",
    "config": "tars.tarsconfig.ConfigObj",
    "log": "tars.tarslog.LogObj",
    "stat": "tars.tarsstat.StatObj",
    "property": "tars.tarsproperty.PropertyObj",
    "notify": "tars.tarsnotify.NotifyObj",
}
PATIENCE_SECONDS = 30.0


class TarsPlatform:
    """`with TarsPlatform() as platform:`; `platform.locator` is for a server's file, the registry knows the rest.

    `registry`, `config`, `log`, `stat`, `property`, `notify` are the doubles with what they were told.
    `ports`: fixed ones, by those names.
    """

    def __init__(self, host: str = "127.0.0.1", ports: Mapping[str, int] | None = None) -> None:
        self.registry, self.config, self.log = Registry(), ConfigCenter(), LogCenter()
        self.stat, self.property, self.notify = StatCenter(), PropertyCenter(), NotifyCenter()
        self._host, self._ports = host, dict(ports or {})
        self._servers: dict[str, Server] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="tars-platform", daemon=True)

    @property
    def locator(self) -> str:
        """The registry's address, for `locator=` of the client section."""
        return self.address("registry")

    def address(self, service: str) -> str:
        """The address of a service, with its endpoint: `tars.tarslog.LogObj@tcp -h ... -p ...`."""
        return f"{OBJECTS[service]}@{self._endpoint(service)}"

    def client_configuration(self, module: str = "") -> ClientConfiguration:
        """The client section of a server's file on this platform."""
        return ClientConfiguration(
            locator=self.locator, stat=OBJECTS["stat"], property=OBJECTS["property"], module_name=module
        )

    def configuration(self, directory: Path, app: str = "Demo", server: str = "PyServer") -> Configuration:
        """The file of a server without adapters on this platform, with its paths under `directory`."""
        paths = {name: str(directory / name) for name in ("bin", "data", "log")}
        return Configuration(
            app=app,
            server=server,
            node_name=self._host,
            local_ip=self._host,
            client=self.client_configuration(f"{app}.{server}"),
            config=OBJECTS["config"],
            log=OBJECTS["log"],
            notify=OBJECTS["notify"],
            base_path=paths["bin"],
            data_path=paths["data"],
            log_path=paths["log"],
        )

    def start(self) -> None:
        """Listen, and register the services with the registry."""
        self._thread.start()
        for service in OBJECTS:
            self.bring_back(service)
            if service != "registry":
                self.registry.register(OBJECTS[service], self._endpoint(service))

    def stop(self) -> None:
        """Close everything; may be called twice."""
        if self._loop.is_closed():
            return
        for service in list(self._servers):
            self.take_away(service)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def take_away(self, service: str) -> None:
        """The service is gone: connections are cut, its port refuses."""
        self.run(self._servers.pop(service).close())

    def bring_back(self, service: str) -> None:
        """The service listens (again, at the same port), with all that it knew."""
        if service in self._servers:
            raise LifecycleError("bring back", f"{service} is there", ())
        server = Server(drain_seconds=0.2)
        server.add(self.servant(service), f"{OBJECTS[service]}@{self._endpoint(service)}")
        self.run(server.start())
        self._servers[service] = server
        self._ports[service] = server.endpoints[0].port

    def servant(self, service: str) -> Any:
        """The double behind a service's name."""
        return getattr(self, service)

    def run(self, work: Coroutine[Any, Any, R]) -> R:
        """Run a coroutine in the platform's loop and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE_SECONDS)

    def wait(self, truth: Callable[[], object], seconds: float = PATIENCE_SECONDS) -> None:
        """Return when `truth()` holds; TimeoutError after `seconds`. For threads; coroutines use `until`."""
        deadline = time.monotonic() + seconds
        while not truth():
            if time.monotonic() > deadline:
                raise TimeoutError(f"it did not come true within {seconds:g} s")
            time.sleep(0.005)

    async def until(self, truth: Callable[[], object], seconds: float = PATIENCE_SECONDS) -> None:
        """As `wait`, for coroutines."""
        async with asyncio.timeout(seconds):
            while not truth():  # noqa: ASYNC110  what changes is in another thread
                await asyncio.sleep(0.005)

    def __enter__(self) -> TarsPlatform:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _endpoint(self, service: str) -> str:
        return f"tcp -h {self._host} -p {self._ports.get(service, 0)} -t 60000"
