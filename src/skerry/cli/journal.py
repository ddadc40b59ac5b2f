"""`skerry journal tail|verify|trim|epoch`: the journal, also while the application runs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from typing import Any

import click

from skerry.cli.options import administer, with_settings
from skerry.errors import Trimmed
from skerry.journal.epochs import Epoch
from skerry.position import Position
from skerry.roles.admin import Admin

_SETTINGS = ("namespace", "journal", "transport", "partitions", "generation", "data")


@click.group()
def journal() -> None:
    """Look at the journal of events, check it, trim it. TARGET (or --namespace) says whose."""


@journal.command()
@click.argument("target", required=False)
@click.option(
    "--lines", "-n", default=10, show_default=True, help="how many of the last events to begin with"
)
@click.option("--follow", "-f", is_flag=True, help="go on as events come; Ctrl-C ends it")
@with_settings(*_SETTINGS)
def tail(target: str | None, lines: int, follow: bool, **given: Any) -> None:
    """Print the last events: position, time, name, key, content."""

    async def show(admin: Admin) -> None:
        head = await admin.journal.head()
        after = max(head.floor, head.position.offset - lines)
        while True:
            try:
                records = await admin.journal.read(after, 500)
            except Trimmed as gone:
                after = gone.floor
                continue
            for record in records:
                at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.at))
                content = bytes(record.data).decode("utf-8", "replace")
                click.echo(
                    f"{head.position.epoch}:{record.offset}  {at}  {record.name}  {record.key}  {content}"
                )
                after = record.offset
            if not records:
                if not follow:
                    return
                await asyncio.sleep(0.5)

    administer(target, given, show)


@journal.command()
@click.argument("target", required=False)
@with_settings(*_SETTINGS)
def verify(target: str | None, **given: Any) -> None:
    """Check what is stored: positions without a gap, no row ahead of the journal. Exit code 1 for a problem. Tells the
    epochs too, where each ended, and what was lost there."""

    async def check(admin: Admin) -> None:
        problems = await admin.journal.verify()
        head = await admin.journal.head()
        for line in _told(await admin.journal.epochs()):
            click.echo(line)
        for problem in problems:
            click.echo(problem, err=True)
        if problems:
            raise SystemExit(1)
        click.echo(f"ok: {head.position}, events kept from {head.floor + 1}")

    administer(target, given, check)


def _told(epochs: Sequence[Epoch]) -> Iterator[str]:
    """The epochs in words, when there is more than one."""
    if len(epochs) < 2:
        return
    for epoch, following in zip(epochs, [*epochs[1:], None], strict=True):
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch.at))
        why = f", {epoch.reason}" if epoch.reason else ""
        if following is None:
            yield f"epoch {epoch.name}: since {at}{why}"
            continue
        trust = "" if following.common == following.began else f", to be trusted up to {following.common}"
        yield f"epoch {epoch.name}: since {at}{why}; ended at {following.began}{trust}"
        if following.lost:
            first, last = following.began + 1, following.began + following.lost
            yield f"  lost: {following.lost} events that had been seen, {epoch.name}:{first} to {last}"


@journal.command()
@click.argument("target", required=False)
@click.option("--before", type=int, help="forget events up to this offset")
@click.option("--keep", type=int, help="keep this many of the last events")
@with_settings(*_SETTINGS)
def trim(target: str | None, before: int | None, keep: int | None, **given: Any) -> None:
    """Forget old events; never those that a reactor or a stored projection still needs."""
    if (before is None) == (keep is None):
        raise click.UsageError("give either --before or --keep")

    async def cut(admin: Admin) -> None:
        head = await admin.journal.head()
        offset = before if before is not None else head.position.offset - (keep or 0)
        floor = await admin.journal.trim(Position(head.position.epoch, max(head.floor, offset)))
        click.echo(f"events up to {floor} are forgotten, {head.position.offset - floor} are kept")

    administer(target, given, cut)


@journal.command()
@click.argument("target", required=False)
@click.option(
    "--common",
    default=0,
    type=click.IntRange(min=0),
    help="positions up to this offset are still right: memory that is not ahead of it is kept (default: none is)",
)
@click.confirmation_option(prompt="Servers will load a snapshot. Begin a new epoch?")
@with_settings(*_SETTINGS)
def epoch(target: str | None, common: int, **given: Any) -> None:
    """Begin a new epoch: once after the back-up of a file was restored, so that nobody trusts positions of the lost
    history. PostgreSQL tells by itself that it was promoted, restored or restarted, and the next epoch begins with the
    next write."""

    async def begin(admin: Admin) -> None:
        click.echo(f"the journal is at {await admin.journal.new_epoch('asked for', common)}")

    administer(target, given, begin)
