"""`skerry infra create|check|tidy|drop`: tables, queues and files of an application, before and after its life."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any

import click

from skerry.cli.options import app_of, fail, namespace_of, settings_of, with_settings
from skerry.errors import SettingsError, SkerryError
from skerry.roles import infra as work
from skerry.roles.wiring import plan

_SETTINGS = ("namespace", "journal", "transport", "partitions", "generation", "data")


@click.group()
def infra() -> None:
    """Make, check and remove what an application keeps: tables, queues, files. TARGET says whose, and which tables;
    with --namespace alone, only the journal and the broker are looked at."""


@infra.command()
@click.argument("target", required=False)
@click.option("--dry-run", is_flag=True, help="only say what would be made, with the SQL of triggers")
@with_settings(*_SETTINGS)
def create(target: str | None, dry_run: bool, **given: Any) -> None:
    """Make what is missing; harmless to repeat. (A start does the same, but for the triggers of mirrors, which stand on
    tables of others.) Exit code 1 when a server is away or a table in use, 2 when something exists otherwise."""
    if dry_run:
        told = _done(work.would_create(_belongings(target, given)))
        for line in told or ["nothing is missing"]:
            click.echo(line)
        return
    made = _done(work.create(_belongings(target, given)))
    for what in made:
        click.echo(f"made {what}")
    if not made:
        click.echo("nothing was missing")


@infra.command()
@click.argument("target")
@click.confirmation_option(
    "-y", "--yes", prompt="The journal is this application's from now on. Go on?", help="do not ask"
)
@with_settings(*_SETTINGS)
def adopt(target: str, **given: Any) -> None:
    """Take a journal over, after the application was renamed. Exit code 1 while it is at work, or away."""
    for what in _done(work.adopt(_belongings(target, given))) or ["nothing was to be done"]:
        click.echo(what)


@infra.command()
@click.argument("target", required=False)
@with_settings(*_SETTINGS)
def check(target: str | None, **given: Any) -> None:
    """Say what is missing or different, and change nothing. Exit code 0 when all is well, 1 when not."""
    problems = _done(work.check(_belongings(target, given)))
    for problem in problems:
        click.echo(problem, err=True)
    if problems:
        sys.exit(1)
    click.echo("ok")


@infra.command()
@click.argument("target", required=False)
@with_settings(*_SETTINGS)
def tidy(target: str | None, **given: Any) -> None:
    """Delete queues of former partitions and generations that are empty and unused, and name those that are not. Exit
    code 0 when none is left, 1 when one is."""
    found = _done(work.tidy(_belongings(target, given)))
    for what in found:
        click.echo(what)
    if not found:
        click.echo("nothing was left behind")
    if any(what.startswith("left ") for what in found):
        sys.exit(1)


@infra.command()
@click.argument("target", required=False)
@click.option("--yes", "-y", is_flag=True, help="do not ask")
@click.option("--force", is_flag=True, help="also while commands wait, or processes are at work")
@click.option("--broker-only", is_flag=True, help="queues and exchanges; the database stays as it is")
@with_settings(*_SETTINGS)
def drop(target: str | None, yes: bool, force: bool, broker_only: bool, **given: Any) -> None:
    """Delete everything of the namespace for good.

    Events, rows, queues, this machine's copies of memory; tables of the application's own, where its migrations have an
    erase.sql. Refused while commands wait or processes are at work. Exit code 1 when it was not done."""
    own = _belongings(target, given)
    if not yes:
        where = work.place(own, broker_only=broker_only)
        click.confirm(f"Everything of {own.namespace!r} in {where} is deleted. Go on?", abort=True)
    dropped = _done(work.drop(own, force=force, broker_only=broker_only))
    for what in dropped:
        click.echo(f"dropped {what}" if not what.startswith("(") else what)
    if not dropped:
        click.echo("there was nothing")


def _belongings(target: str | None, given: dict[str, Any]) -> work.Belongings:
    app = app_of(target) if target else None
    settings, declaration = settings_of(given, app), app.declaration if app else None
    namespace = namespace_of(target, settings)
    try:
        tables = list(declaration.tables) if declaration else []
        chosen = plan(settings, namespace, one_process=False, tables=tables)
    except SettingsError as error:
        fail(error)
    migrations = declaration.migrations if declaration else None
    return work.Belongings(settings, chosen, namespace, migrations, declaration)


def _done(doing: Coroutine[Any, Any, list[str]]) -> list[str]:
    """What came of it; one line and exit code 2 for wrong settings, 1 for anything that keeps it from being done."""
    try:
        return asyncio.run(doing)
    except SettingsError as error:
        fail(error)
    except SkerryError as error:
        click.echo(f"skerry: {error}", err=True)
        sys.exit(1)
