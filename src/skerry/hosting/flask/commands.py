"""`flask skerry` and `flask tars`. Flask finds them by the entry points `flask.commands`."""

from __future__ import annotations

import os
import sys
from types import ModuleType

import click
from flask import Flask
from flask.cli import ScriptInfo, prepare_import

from skerry.hosting.program import become_skerry, host_arguments

_ALL = {"ignore_unknown_options": True, "allow_extra_args": True}


FLASK_APP = "FLASK_APP"

FACTORIES = ("create_app", "make_app")
"""Names that Flask looks for, in this order."""

LOCATED = "skerry.hosting.flask.commands:located()"


@click.command("skerry", context_settings=_ALL)
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def skerry(context: click.Context, options: tuple[str, ...]) -> None:
    """Serve the application: [[HOST:]PORT], then the options of `skerry host` (see skerry host --help).

    With --debug one process, replaced when a file changes. The setting SKERRY_APP names an App that hosts the
    application, as shop.live:app: then the options are those of `skerry up`, and the settings SKERRY_JOURNAL and
    SKERRY_NAMESPACE say where its journal is, unless the environment does."""
    info = context.ensure_object(ScriptInfo)
    app, target = info.load_app(), target_of(info)
    for name in ("SKERRY_JOURNAL", "SKERRY_NAMESPACE"):
        if found := app.config.get(name):
            os.environ.setdefault(name, str(found))
    become_skerry(host_arguments(target, options, app=app.config.get("SKERRY_APP") or "", debug=app.debug))


@click.command("tars", context_settings=_ALL)
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def tars(context: click.Context, options: tuple[str, ...]) -> None:
    """Run the application under the Tars platform: --config=FILE [start|stop|restart], as the node calls it.

    See skerry tars run --help. The setting SKERRY_TARS_SERVICE names a skerry.tars.Service that has the application."""
    info = context.ensure_object(ScriptInfo)
    target = info.load_app().config.get("SKERRY_TARS_SERVICE") or target_of(info)
    become_skerry(["tars", "run", target, *options])


def located() -> Flask:
    """The application that FLASK_APP names, found as Flask itself finds it. A target of its own: for applications that
    no module has by a name."""
    return ScriptInfo(os.environ.get(FLASK_APP)).load_app()


def target_of(info: ScriptInfo) -> str:
    """The application of a command line as TARGET: by its name in its module, or its factory's, else by `located`.
    Raises click's errors for one that is not to be found, or that only this command line can make."""
    app = info.load_app()
    for module in _modules(info) if info.create_app is None else ():
        for name, value in vars(module).items():
            if value is app:
                return f"{module.__name__}:{name}"
        named = (info.app_import_path or "").partition(":")[2]
        for name in [named.removesuffix("()")] if named else FACTORIES:
            if name.isidentifier() and callable(getattr(module, name, None)):
                return f"{module.__name__}:{name}()"
    if info.create_app is not None:
        raise click.UsageError(
            f"{app.import_name} has no name for its application: say which with --app, as in --app shop:create_app"
        )
    if info.app_import_path:
        os.environ[FLASK_APP] = info.app_import_path
    return LOCATED


def _modules(info: ScriptInfo) -> list[ModuleType]:
    """Those that Flask has looked for the application in."""
    path = (info.app_import_path or "").partition(":")[0]
    names = [prepare_import(each) for each in ([path] if path else ("wsgi.py", "app.py"))]
    return [sys.modules[each] for each in names if each in sys.modules]
