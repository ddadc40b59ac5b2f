"""`skerry dead list|show|retry|drop`: commands that could not be decided."""

from __future__ import annotations

import time
from typing import Any

import click

from skerry.cli.options import administer, fail, with_settings
from skerry.errors import SettingsError, SkerryError
from skerry.journal.intake import LETTER
from skerry.journal.journal import DeadLetter
from skerry.roles.admin import Admin

_SETTINGS = ("namespace", "journal", "transport", "partitions", "generation", "data")


@click.group()
def dead() -> None:
    """Commands that failed, and events that a reactor gave up, are kept here as dead letters, with their bytes, until
    somebody retries or drops them."""


@dead.command("list")
@click.argument("target", required=False)
@click.option("--target", "named", help="MODULE:NAME of the application")
@click.option("--limit", default=100, show_default=True, help="how many at most")
@with_settings(*_SETTINGS)
def list_(target: str | None, named: str | None, limit: int, **given: Any) -> None:
    """List dead letters in the order in which they came, and commands that wait for a newer consumer: id, time, name,
    key, reason."""

    async def listed(admin: Admin) -> None:
        letters = await admin.journal.letters(limit=limit)
        for letter in letters:
            at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(letter.at))
            reason = letter.reason.splitlines()[0] if letter.reason else ""
            click.echo(f"{letter.command_id}  {at}  {letter.name or '?'}  {letter.key}  {reason[:100]}")
        if not letters:
            click.echo("none", err=True)

    administer(target or named, given, listed)


@dead.command()
@click.argument("id")
@click.argument("target", required=False)
@click.option("--target", "named", help="MODULE:NAME of the application")
@with_settings(*_SETTINGS)
def show(id: str, target: str | None, named: str | None, **given: Any) -> None:
    """Show one dead letter whole: bytes and traceback included."""
    if ":" in id and target is None and named is None:
        fail(SettingsError("ID", f"{id} is a TARGET: write skerry dead show ID {id} (skerry dead list {id})"))

    async def one(admin: Admin) -> None:
        letter = await _find(admin, id)
        click.echo(f"id        {letter.command_id}")
        click.echo(f"command   {letter.name or '?'} version {letter.version}")
        click.echo(f"key       {letter.key}")
        click.echo(f"attempts  {letter.attempts}")
        click.echo(f"reason    {letter.reason}")
        for name, value in letter.headers.items():
            click.echo(f"header    {name}: {value}")
        click.echo(f"body      {letter.body.decode('utf-8', 'backslashreplace')}")
        if letter.details:
            click.echo("\n" + letter.details)

    administer(target or named, given, one)


@dead.command()
@click.argument("ids", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="all of them, in the order in which they came")
@click.option("--target", help="MODULE:NAME of the application")
@with_settings(*_SETTINGS)
def retry(ids: tuple[str, ...], everything: bool, target: str | None, **given: Any) -> None:
    """Send commands again, under their own ids; an event is tried again by its reactor. The application has to run."""

    async def again(admin: Admin) -> None:
        for id in await _chosen(admin, ids, everything):
            letter = await admin.journal.dead_letter(id) if everything else await _find(admin, id)
            if letter is None:  # it waited for a newer consumer, or somebody else was quicker
                click.echo(f"{id}  is no dead letter any more")
                continue
            await admin.retry(letter)
            outcome = await admin.journal.outcome(letter.command_id)
            told = (
                "will be tried"
                if letter.headers.get("reactor") or letter.command_id.startswith(LETTER)
                else outcome.status.value
                if outcome
                else "sent"
            )
            click.echo(f"{letter.command_id}  {told}")

    administer(target, given, again)


@dead.command()
@click.argument("ids", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="all of them")
@click.option("--target", help="MODULE:NAME of the application")
@with_settings(*_SETTINGS)
def drop(ids: tuple[str, ...], everything: bool, target: str | None, **given: Any) -> None:
    """Give commands, or events of reactors, up for good."""

    async def away(admin: Admin) -> None:
        for id in await _chosen(admin, ids, everything):
            await admin.journal.exhume(id)
            click.echo(f"{id}  dropped")

    administer(target, given, away)


async def _find(admin: Admin, id: str) -> DeadLetter:
    letter = await admin.journal.dead_letter(id)
    if letter is None:
        raise SkerryError(f"there is no dead letter {id!r}; see skerry dead list")
    return letter


async def _chosen(admin: Admin, ids: tuple[str, ...], everything: bool) -> list[str]:
    """The ids, all that there are now, in the order in which they came; their bytes are fetched one by one."""
    if bool(ids) == everything:
        raise click.UsageError("name dead letters by id, or give --all")
    if not everything:
        return [(await _find(admin, id)).command_id for id in ids]
    found: list[str] = []
    after = 0
    while page := await admin.journal.letters(after, 500):
        after = page[-1].number
        found += [letter.command_id for letter in page]
    return found
