"""`skerry host`: an existing WSGI or ASGI application, served as it is."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click

from skerry.cli.options import with_part, with_settings
from skerry.cli.processes import supervise
from skerry.cli.run import end_with, log_as
from skerry.errors import SettingsError
from skerry.hosting.host import Host
from skerry.hosting.settings import HostSettings
from skerry.http.application import Application, ApplicationSettings
from skerry.kernel.declaration import Declaration
from skerry.kernel.importing import code_of, load_application
from skerry.kernel.settings import Settings, load_settings
from skerry.process.recycling import limits_of_host
from skerry.process.topology import Topology
from skerry.process.worker import Worker
from skerry.roles.hosts import load_hosts
from skerry.roles.running import run_roles

MOST_BY_DEFAULT = 2
"""Processes, where nobody says how many."""
OF_A_SERVER = (
    "bind", "max_connections", "max_pending", "max_header", "request_timeout", "keep_alive", "drain", "loop_model",
    "tls_cert", "tls_key", "log_format", "log_level", "access_log", "trusted", "root_path", "admin_bind", "admin_token",
    "process", "reload", "intensity", "hang", "start_timeout", "max_rss_hard",
)  # fmt: skip
FLAGS = {
    "kind": "--kind", "threads": "--threads", "queue": "--queue", "timeout": "--timeout", "max_body": "--max-body",
    "max_stuck": "--max-stuck", "max_requests": "--max-requests", "max_rss": "--max-rss", "lifetime": "--lifetime",
    "static": "--static", "processes": "--hosts",
}  # fmt: skip


@click.command()
@click.argument("target")
@with_part("host", HostSettings, FLAGS)
@with_settings(*OF_A_SERVER, group="up")
def host(target: str, **given: Any) -> None:
    """Serve TARGET, an existing WSGI or ASGI application (Django, Flask, FastAPI, ...), as it is.

    TARGET is MODULE:NAME, MODULE (its `application` or `app`) or MODULE:FACTORY(), as in mysite.wsgi, shop:app,
    "shop:create_app()". It needs neither a journal nor anything else of Skerry.
    """
    control = Worker.inherited()

    def serve() -> int:
        settings = load_settings(given)
        count = settings.of(HostSettings).processes or _processes(settings)
        if control is None and (count > 1 or settings.reload or limits_of_host(settings)):
            return supervise(Topology(target, servers=0, consumers=0, hosts=count), settings, given)
        log_as(settings, control)
        application = hosted(target, settings)
        if control is not None:
            control.code = code_of(target)
        return run_roles(Declaration("host", application), settings, ("host",), control)

    end_with(serve, control)


def _processes(settings: Settings) -> int:
    """How many where nobody says so. With --reload one: of several the first to be replaced would answer with the new
    code in turns with others that have the old."""
    return 1 if settings.reload else min(MOST_BY_DEFAULT, os.cpu_count() or 1)


def hosted(target: str, settings: Settings, load: Callable[[], Any] | None = None) -> Application:
    """An application that has nothing but the target, which `load` gives (by default it is imported). Raises
    SettingsError."""
    around = Application(ApplicationSettings(target, openapi=None, docs=None))
    host = Host(target, load or partial(load_application, target))
    around.mount("/", host, name=target, rights=None, hosted=True)
    for path, directory in settings.of(HostSettings).directories().items():
        if not Path(directory).is_dir():
            raise SettingsError("host.static", f"there is no directory {directory!r} here")
        around.static(path, directory, rights=None)
    load_hosts(around, settings)
    return around
