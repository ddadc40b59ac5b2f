"""The hosted applications of a process: imported, opened with the settings of the process, counted."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

from skerry.errors import SettingsError
from skerry.hosting.host import Host
from skerry.hosting.settings import HostSettings
from skerry.hosting.wsgi import OnAnswer
from skerry.http.application import Application
from skerry.http.routes import Mount
from skerry.kernel.logs import keep_logs
from skerry.kernel.settings import Settings
from skerry.server.moving import unserved
from skerry.telemetry import Metric

logger = logging.getLogger("skerry.host")


HOSTS = "host"
"""The role, and the group, of the processes that serve hosted applications apart."""


def load_hosts(application: Application, settings: Settings) -> None:
    """Import them; best before a loop runs. Raises SettingsError, DeclarationError."""
    for host in _hosts(application):
        host.load(settings.of(HostSettings).kind)
    keep_logs()


def are_apart(settings: Settings) -> bool:
    """Whether a `skerry up` has processes of their own for them."""
    return settings.of(HostSettings).processes > 0


def is_apart(mount: Mount, application: Application, settings: Settings) -> bool:
    """Whether it is served there then. What Skerry's own rights guard is not: who has which is known to servers."""
    guarded = bool(settings.tokens) or application.authenticates
    return isinstance(mount.app, Host) and (mount.right is None or not guarded)


def only_apart(application: Application, settings: Settings) -> Application:
    """What the processes of hosted applications serve of an application. Raises SettingsError when that is nothing."""
    found = application.mounted(lambda mount: is_apart(mount, application, settings))
    if not found.mounts:
        guarded = any(isinstance(mount.app, Host) for mount in application.mounts)
        why = (
            "what the application hosts has rights=, and is served by its servers" if guarded
            else "the application hosts nothing: app.host(...) says what"
        )  # fmt: skip
        raise SettingsError("hosts", f"they would have nothing to do: {why}")
    return found


def leave_apart(application: Application, settings: Settings) -> None:
    """Have other processes serve what is theirs."""
    for mount in application.mounts:
        if is_apart(mount, application, settings):
            mount.app, mount.name, mount.elsewhere = unserved, HOSTS, True


def without_apart(application: Application, settings: Settings) -> Application:
    """What is left of the hosted applications for the servers."""
    return application.mounted(lambda mount: not is_apart(mount, application, settings))


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


def answer_hosted(application: Application, told: OnAnswer, *, late: int, queue_seconds: float) -> None:
    """Tell of each answer of those that are WSGI applications. `late`: the status of one that did not come in time;
    `queue_seconds`: how long a request may wait for a thread. Call it before they are opened."""
    for host in _hosts(application):
        host.on_answer, host.late, host.queue_seconds = told, late, queue_seconds


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
