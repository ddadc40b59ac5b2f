"""`flask skerry` and `flask tars`. Flask finds them by the entry points `flask.commands`."""

from __future__ import annotations

import os

import click
from flask.cli import ScriptInfo

from skerry.hosting.flask.target import target_of
from skerry.hosting.program import become_skerry, host_arguments

_ALL = {"ignore_unknown_options": True, "allow_extra_args": True}


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
