"""`skerry tars worker`: one process of a Tars service, as `skerry tars run` starts it."""

from __future__ import annotations

import logging
from importlib.metadata import version

import click

from skerry.clock import SystemClock
from skerry.errors import DeclarationError, SettingsError
from skerry.kernel.importing import code_of, load_application
from skerry.kernel.logs import configure_logs, keep_logs
from skerry.kernel.settings import load_settings
from skerry.process.worker import Worker
from skerry.roles.tars import Inheritance, run_service
from skerry.supervision.failure import Failure
from skerry.tars.platform.commands import set_log_level
from skerry.tars.platform.configuration import Configuration
from skerry.tars.platform.services import Services
from skerry.tars.service import Service
from skerry.tars.web.frameworks import Frameworks


@click.command("worker", hidden=True)
@click.argument("target")
@click.option("--config", default="", metavar="FILE")
@click.option("--remote-log", default="", metavar="LEVEL", envvar="SKERRY_TARS_REMOTE_LOG")
@click.option("--decides", is_flag=True, help="decide the commands of its App, without adapters")
def worker(target: str, config: str, remote_log: str, decides: bool) -> None:
    """One process of `skerry tars run`; not to be started by hand."""
    control = Worker.inherited()
    if control is None:
        raise click.UsageError("this is started by skerry tars run")
    try:
        inheritance = Inheritance.taken()
        configuration = Configuration.read(config)
        settings = load_settings({})
        # In text a line gets its process's name where the parent writes it.
        process = settings.process if settings.log_format != "text" else ""
        configure_logs(settings.log_format, "info", process, mark=control.mark)
        set_log_level(configuration.log_level)
        services = Services(configuration, version=version("skerry"), log_level=remote_log)
        services.capture_logs()
        frameworks = Frameworks(services)
        frameworks.prepare()
        services.on_application = frameworks.configure
        service = service_of(target)
        keep_logs()  # what was imported may have configured logging
        services.capture_logs()
        control.code = code_of(target)
        code = run_service(service, services, control, inheritance, settings, decides=decides)
    except (SettingsError, DeclarationError) as error:
        control.failure(Failure.of("settings", error, at=SystemClock.now()), fatal=True)
        code = 2
    except Exception as error:
        logging.getLogger("skerry").critical("ended by %s: %s", type(error).__name__, error, exc_info=error)
        code = 1
    raise SystemExit(code)


def service_of(target: str) -> Service:
    """The service that TARGET names; for a WSGI or ASGI application one that consists of it. Raises SettingsError."""
    found = load_application(target)
    if isinstance(found, Service):
        return found
    if not callable(found):
        raise SettingsError(
            "TARGET",
            f"{target} is a {type(found).__name__}, neither a skerry.tars.Service nor a WSGI or ASGI application",
        )
    made = Service()
    made.only = found
    return made
