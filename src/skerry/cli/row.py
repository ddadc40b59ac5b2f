"""`skerry row show|put|delete`: mends a row that the application cannot read, also while it runs."""

from __future__ import annotations

import getpass
from typing import Any

import click
import msgspec

from skerry.cli.options import administer, app_of, fail, with_settings
from skerry.errors import SettingsError
from skerry.journal.journal import Correction
from skerry.messages.typed import shown
from skerry.roles.admin import Admin
from skerry.roles.audit import key_of, row_correction, table_of, unfit_row

_SETTINGS = ("namespace", "journal", "transport", "partitions", "generation", "data")
MOST_SHOWN = 100


def user() -> str:
    """The user at the keyboard, as far as the system knows."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""


@click.group()
def row() -> None:
    """Look at rows and mend them. What is changed is recorded as an event, with who and why (`skerry journal tail`);
    projections that had stopped at the row come back by themselves."""


@row.command()
@click.argument("target")
@click.argument("table")
@click.argument("key", required=False)
@with_settings(*_SETTINGS)
def show(target: str, table: str, key: str | None, **given: Any) -> None:
    """One row whole; without KEY those that do not fit their type first, then others, cut. Values of fields such as
    password, token or secret are not shown. Exit code 1 when a row does not fit, or is not there."""
    declared = _checked(table_of, app_of(target).declaration, table)
    wanted = None if key is None else _checked(key_of, declared, key)

    async def look(admin: Admin) -> None:
        found: list[tuple[str, str, str]] = []
        others: list[tuple[str, str]] = []
        number = 0
        async with admin.journal.snapshot([declared.name]) as snapshot:
            async for page in snapshot.rows(declared.name):
                for text, data, _ in page:
                    if wanted is not None and text != wanted:
                        continue
                    number += 1
                    why = unfit_row(declared, text, data)
                    value = shown(_plain(data), most=None if wanted is not None else 200)
                    if why:
                        found.append((text, value, why))
                    elif len(others) < MOST_SHOWN:
                        others.append((text, value))
        if wanted is not None and not number:
            click.echo(f"table {declared.name} has no row {wanted!r}", err=True)
            raise SystemExit(1)
        for text, value, why in found[:MOST_SHOWN]:
            click.echo(f"{text}  {value}\n  {why}")
        for text, value in others[: max(0, MOST_SHOWN - len(found))]:
            click.echo(f"{text}  {value}")
        if wanted is None:
            click.echo(f"rows: {number}; not fitting {declared.name}'s type: {len(found)}", err=True)
        raise SystemExit(1 if found else 0)

    administer(target, given, look)


@row.command()
@click.argument("target")
@click.argument("table")
@click.argument("key")
@click.argument("json")
@click.option("--reason", required=True, help="why, for who reads the journal later")
@click.option("--who", default=user, show_default="you", help="who does it")
@with_settings(*_SETTINGS)
def put(target: str, table: str, key: str, json: str, reason: str, who: str, **given: Any) -> None:
    """Store a row, after checking it against the table's type."""
    declared = _checked(table_of, app_of(target).declaration, table)
    _correct(target, given, _checked(row_correction, declared, key, json, reason, who), "the row is put")


@row.command()
@click.argument("target")
@click.argument("table")
@click.argument("key")
@click.option("--reason", required=True, help="why, for who reads the journal later")
@click.option("--who", default=user, show_default="you", help="who does it")
@click.confirmation_option("-y", "--yes", prompt="The row is deleted. Go on?", help="do not ask")
@with_settings(*_SETTINGS)
def delete(target: str, table: str, key: str, reason: str, who: str, **given: Any) -> None:
    """Delete a row."""
    declared = _checked(table_of, app_of(target).declaration, table)
    _correct(target, given, _checked(row_correction, declared, key, None, reason, who), "the row is deleted")


def _correct(target: str, given: dict[str, Any], correction: Correction, done: str) -> None:
    async def write(admin: Admin) -> None:
        click.echo(f"{done}, at {await admin.journal.correct(correction)}")

    administer(target, given, write)


def _checked(function: Any, *arguments: Any) -> Any:
    """What it returns; one line and exit code 2 for what an operator got wrong."""
    try:
        return function(*arguments)
    except SettingsError as error:
        fail(error)


def _plain(data: bytes | str) -> Any:
    try:
        return msgspec.json.decode(data)
    except msgspec.MsgspecError:
        return data if isinstance(data, str) else data.decode("utf-8", "replace")
