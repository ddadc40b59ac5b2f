"""`skerry forkserver`: imports TARGET once for the processes of `skerry up`, which are forked from it."""

from __future__ import annotations

import faulthandler
import os
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import click

from skerry.cli.balancer import start_balancer
from skerry.cli.main import main
from skerry.cli.options import load_app
from skerry.cli.run import start
from skerry.kernel.importing import source_directory
from skerry.kernel.settings import load_settings
from skerry.loop.models import default, factory
from skerry.process.forking import Forking, ignore_terminal
from skerry.process.freshness import Freshness
from skerry.roles.kind import role_kinds
from skerry.roles.wiring import plan

ROLES = ("server", "consumer", "gateway")
USED = (
    "skerry.roles.running", "skerry.roles.composition",
    "skerry.kernel.checks", "asyncio", "logging.config",
)  # fmt: skip
"""What the processes need beside the application and its backends."""
UNUSED = ("doctor", "sqlalchemy")
"""Modules of backends that no process of an application needs."""


@click.command("forkserver", hidden=True)
@click.argument("target")
@click.argument("room", default="")
def forkserver(target: str, room: str) -> None:
    """Import TARGET and fork the processes of `skerry up`; not to be started by hand."""
    try:
        forking = Forking.inherited()
    except KeyError:
        raise click.UsageError("this is started by skerry up") from None
    ignore_terminal()
    faulthandler.enable()
    freshness = Freshness({source_directory(target), Path.cwd()})
    arguments = forking.serve(lambda: _load(target), freshness)
    role, *rest = arguments
    if rest == [target] and role in ROLES:  # settings are in the environment: nothing is left to be parsed
        start(target, (role,), {})
    if role != "balancer":
        main(arguments, prog_name="skerry")
    # It is none of the application's processes, and does nothing at its end that the import has asked for.
    code = 1
    try:
        start_balancer({})
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        os._exit(code)


def _load(target: str) -> None:
    """Import what every process needs."""
    app = load_app(target)
    settings = load_settings({}, declared=app.declaration.settings)
    for name in USED:
        import_module(name)
    for role in ROLES:
        role_kinds((role,))
    chosen = plan(settings, settings.namespace or app.declaration.namespace, one_process=False)
    for backend in (chosen.journal_side.check.__module__, chosen.transport_side.open.__module__):
        for name in _modules_of(backend):
            import_module(name)
    factory(settings.loop_model or default())


def _modules_of(backend: str) -> Iterator[str]:
    """The modules of a backend that processes import when they open it; empty for one that is a single module."""
    package = import_module(backend.rpartition(".")[0])
    for each in iter_modules(package.__path__):
        if each.name not in UNUSED:
            yield f"{package.__name__}.{each.name}"
