"""`skerry host`: an existing WSGI or ASGI application, served as it is."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click

from skerry.cli.options import fail, with_part, with_settings
from skerry.cli.processes import supervise
from skerry.clock import SystemClock
from skerry.errors import DeclarationError, SettingsError, SkerryError
from skerry.hosting.host import Host
from skerry.hosting.settings import HostSettings
from skerry.http.application import Application, ApplicationSettings
from skerry.kernel.declaration import Declaration
from skerry.kernel.importing import code_of, load_application
from skerry.kernel.logs import configure_logs
from skerry.kernel.settings import Settings, load_settings
from skerry.loop.stacks import from_application
from skerry.process.recycling import limits_of_host
from skerry.process.topology import Topology
from skerry.process.worker import Worker
from skerry.roles.hosts import load_hosts
from skerry.roles.running import run_roles
from skerry.supervision.failure import Failure

logger = logging.getLogger("skerry")

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
    try:
        settings = load_settings(given)
        count = settings.of(HostSettings).processes or min(MOST_BY_DEFAULT, os.cpu_count() or 1)
        if control is None and (count > 1 or settings.reload or limits_of_host(settings)):
            raise SystemExit(
                supervise(Topology(target, servers=0, consumers=0, hosts=count), settings, given)
            )
        named = control is None or settings.log_format != "text"
        mark = control.mark if control is not None else ""
        configure_logs(settings.log_format, settings.log_level, settings.process if named else "", mark=mark)
        application = hosted(target, settings)
        if control is not None:
            control.code = code_of(target)
        code = run_roles(Declaration("host", application), settings, ("host",), control)
    except (SettingsError, DeclarationError) as error:
        if control is None:
            fail(error)
        control.failure(Failure.of("settings", error, at=SystemClock.now()), fatal=True)
        code = 2
    except SkerryError as error:
        logger.error("%s", error)
        code = 1
    except Exception as error:
        trace = from_application(error.__traceback__)
        logger.critical("ended by %s: %s", type(error).__name__, error, exc_info=(type(error), error, trace))
        code = 1
    raise SystemExit(code)


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
