"""The hosted applications of a process: imported, opened with the settings of the process, counted."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

from skerry.hosting.host import Host
from skerry.hosting.settings import HostSettings
from skerry.http.application import Application
from skerry.kernel.logs import keep_logs
from skerry.kernel.settings import Settings
from skerry.telemetry import Metric

logger = logging.getLogger("skerry.host")


def load_hosts(application: Application, settings: Settings) -> None:
    """Import them; best before a loop runs. Raises SettingsError, DeclarationError."""
    for host in _hosts(application):
        host.load(settings.of(HostSettings).kind)
    keep_logs()


def open_hosts(application: Application, settings: Settings, on_exhausted: Callable[[], None]) -> None:
    """Make them ready to serve, before the application is compiled. `on_exhausted` is called when too many threads of
    one are stuck. Raises as `load_hosts`."""
    limits = settings.of(HostSettings)
    for host in _hosts(application):
        host.open(
            limits,
            logs=settings.access_log,
            drain_seconds=max(settings.drain, 0.1),
            on_exhausted=on_exhausted,
        )
    keep_logs()


def hosted_metrics(application: Application) -> Iterator[Metric]:
    """The numbers of all of them."""
    for host in _hosts(application):
        yield from host.collect()


def hosted_answers(application: Application) -> int:
    """Requests that all of them have answered; the server's own count does not have them."""
    return sum(host.answered for host in _hosts(application))


def _hosts(application: Application) -> Iterator[Host]:
    for mount in application.mounts:
        if isinstance(mount.app, Host):
            yield mount.app
