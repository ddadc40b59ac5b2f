"""`skerry host`: an existing WSGI or ASGI application, served as it is."""

from __future__ import annotations

import logging
from typing import Any

import click

from skerry.cli.options import fail, with_part, with_settings
from skerry.clock import SystemClock
from skerry.errors import DeclarationError, SettingsError, SkerryError
from skerry.hosting.detection import kind_of
from skerry.hosting.settings import HostSettings
from skerry.hosting.wsgi import Wsgi
from skerry.http.application import Application, ApplicationSettings
from skerry.kernel.importing import code_of, load_application
from skerry.kernel.logs import configure_logs, keep_logs
from skerry.kernel.settings import Settings, load_settings
from skerry.loop.stacks import from_application
from skerry.process.worker import Worker
from skerry.roles.hosting import run_host
from skerry.supervision.failure import Failure

logger = logging.getLogger("skerry")

OF_A_SERVER = (
    "bind", "max_connections", "max_pending", "max_header", "request_timeout", "keep_alive", "drain", "loop_model",
    "tls_cert", "tls_key", "log_format", "log_level", "access_log",
)  # fmt: skip
FLAGS = {
    "kind": "--kind", "threads": "--threads", "queue": "--queue", "timeout": "--timeout", "max_body": "--max-body",
    "max_stuck": "--max-stuck",
}  # fmt: skip


@click.command()
@click.argument("target")
@with_part("host", HostSettings, FLAGS)
@with_settings(*OF_A_SERVER)
def host(target: str, **given: Any) -> None:
    """Serve TARGET, an existing WSGI or ASGI application (Django, Flask, FastAPI, ...), as it is.

    TARGET is MODULE:NAME, MODULE (its `application` or `app`) or MODULE:FACTORY(), as in mysite.wsgi, shop:app,
    "shop:create_app()". It needs neither a journal nor anything else of Skerry.
    """
    control = Worker.inherited()
    try:
        settings = load_settings(given)
        named = control is None or settings.log_format != "text"
        mark = control.mark if control is not None else ""
        configure_logs(settings.log_format, settings.log_level, settings.process if named else "", mark=mark)
        application = hosted(target, settings)
        if control is not None:
            control.code = code_of(target)
        code = run_host(application, settings, control)
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


def hosted(target: str, settings: Settings) -> Application:
    """An application that has nothing but the target. Raises SettingsError."""
    limits = settings.of(HostSettings)
    found = load_application(target)
    keep_logs()
    chosen = limits.kind if limits.kind != "auto" else kind_of(found, target)
    around = Application(ApplicationSettings(target, openapi=None, docs=None))
    app: Any = found
    if chosen == "wsgi":
        app = Wsgi(found, limits, name=target)
        app.logs = settings.access_log
    around.mount("/", app, name=target, rights=None)
    return around
