"""`skerry run`, `server`, `consumer`, `gateway`: roles in this process."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import click

from skerry.cli.options import fail, load_app, with_settings
from skerry.clock import SystemClock
from skerry.errors import DeclarationError, SettingsError, SkerryError
from skerry.http.application import Application
from skerry.kernel.importing import code_of
from skerry.kernel.logs import configure_logs
from skerry.kernel.settings import Settings, listed, load_settings
from skerry.loop.stacks import from_application
from skerry.process.worker import Worker
from skerry.roles.hosts import are_apart, load_hosts, only_apart, without_apart
from skerry.roles.running import JOIN, run_roles
from skerry.supervision.failure import Failure

logger = logging.getLogger("skerry")


@click.command()
@click.argument("target")
@with_settings(group="run")
def run(target: str, **given: Any) -> None:
    """Run TARGET in this process: consumer and server together, or only the roles that are named."""
    start(target, (), given)


@click.command()
@click.argument("target")
@with_settings()
def server(target: str, **given: Any) -> None:
    """Run the server role of TARGET: answer requests from memory, send commands."""
    start(target, ("server",), given)


@click.command()
@click.argument("target")
@with_settings()
def consumer(target: str, **given: Any) -> None:
    """Run the consumer role of TARGET: decide commands, run reactors."""
    start(target, ("consumer",), given)


@click.command()
@click.argument("target")
@with_settings()
def gateway(target: str, **given: Any) -> None:
    """Run the gateway role of TARGET: the stream of events on a port of its own."""
    start(target, ("gateway",), given)


def start(target: str, roles: tuple[str, ...], given: dict[str, Any]) -> None:
    """Run the roles, or those of the settings, until a signal ends them. Exit code 2 for wrong settings, 1 for a
    failure. A runner that started this process is told what is wrong, and says it once for all its children."""
    control = Worker.inherited()

    def serve() -> int:
        app = load_app(target)
        settings = load_settings(given, declared=app.declaration.settings)
        if control is not None:
            control.code = code_of(target)
        log_as(settings, control)
        chosen = roles or tuple(listed(settings.role)) or ("consumer", "server")
        if {"server", "host", "hosted"} & set(chosen):
            load_hosts(_served(app.http, settings, chosen), settings)
        return run_roles(app.declaration, settings, chosen, control)

    end_with(serve, control)


def _served(application: Application, settings: Settings, roles: Sequence[str]) -> Application:
    """What this process has to import of what is hosted: under a runner there may be processes for it alone."""
    if "hosted" in roles:
        return only_apart(application, settings)
    if JOIN in os.environ and are_apart(settings):
        return without_apart(application, settings)
    return application


def log_as(settings: Settings, control: Worker | None) -> None:
    """Log as set; under a runner a line of text gets its process's name there."""
    named = control is None or settings.log_format != "text"
    mark = control.mark if control is not None else ""
    configure_logs(settings.log_format, settings.log_level, settings.process if named else "", mark=mark)


def end_with(serve: Callable[[], int], control: Worker | None) -> NoReturn:
    """End the program with the exit code of `serve`; 2 for wrong settings, which a runner is told, 1 for a failure."""
    try:
        code = serve()
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
