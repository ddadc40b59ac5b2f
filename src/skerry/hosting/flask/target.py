"""A Flask application as a target of `skerry host` and `skerry tars run`: from what `flask --app` was given."""

from __future__ import annotations

import os
import sys
from types import ModuleType

import click
from flask import Flask
from flask.cli import ScriptInfo, prepare_import

FLASK_APP = "FLASK_APP"
FACTORIES = ("create_app", "make_app")
"""Names that Flask looks for, in this order."""
LOCATED = "skerry.hosting.flask.target:located()"


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
