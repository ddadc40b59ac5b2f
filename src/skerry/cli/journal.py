"""`skerry journal`: the journal, also while the application runs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from typing import Any

import click

from skerry.cli.options import administer, app_of, with_settings
from skerry.cli.row import user
from skerry.errors import SettingsError, SkerryError, Trimmed
from skerry.journal.correcting import original_of
from skerry.journal.epochs import Epoch, Epochs
from skerry.journal.journal import Correction, Record
from skerry.journal.reactor import REPLAY
from skerry.position import Position
from skerry.roles.admin import Admin
from skerry.roles.audit import audit, event_correction, is_declared, not_stored
from skerry.roles.comparing import differences

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
            epochs = Epochs.of(await admin.journal.epochs())
            for record in records:
                at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.at))
                content = bytes(record.data).decode("utf-8", "replace")
                by = f"  by {record.who}" if record.who else ""
                named = epochs.named(record.offset)
                click.echo(f"{named}  {at}  {record.name}  {record.key}  {content}{by}")
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
    """Check what is stored: positions without a gap, no row ahead of the journal; with TARGET also that every row and
    every event fits what the application declares, and that mirrors are as their tables. Exit code 1 for a problem.
    Tells the epochs too, where each ended, and what was lost there."""
    declaration = app_of(target).declaration if target else None

    async def check(admin: Admin) -> None:
        problems = list(await admin.journal.verify())
        read = ""
        if declaration is not None:
            found = await audit(admin.journal, declaration)
            problems += found.problems()
            problems += await differences(admin.journal, declaration)
            for remark in found.remarks():
                click.echo(f"note: {remark}", err=True)
            read = f"; {found.rows} rows and {found.events} events fit"
        head = await admin.journal.head()
        for line in _told(await admin.journal.epochs()):
            click.echo(line)
        for problem in problems:
            click.echo(problem, err=True)
        if problems:
            raise SystemExit(1)
        click.echo(f"ok: {head.position}, events kept from {head.floor + 1}{read}")

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
@click.argument("target")
@click.argument("position")
@click.option("--reason", required=True, help="why, for who reads the journal later")
@click.option("--who", default=user, show_default="you", help="who does it")
@click.confirmation_option(
    "-y", "--yes", prompt="Nobody will apply that event any more. Go on?", help="do not ask"
)
@with_settings(*_SETTINGS)
def skip(target: str, position: str, reason: str, who: str, **given: Any) -> None:
    """Pass over the event at POSITION from now on. It stays stored; projections that stopped there come back by
    themselves. The skip is an event at the head, with who and why."""

    async def write(admin: Admin) -> None:
        record = await _event(admin, position)
        at = await admin.journal.correct(Correction("event", reason, who, offset=record.offset))
        click.echo(f"event {record.offset} ({record.name}) is passed over, said at {at}")

    administer(target, given, write)


@journal.command()
@click.argument("target")
@click.argument("position")
@click.argument("json")
@click.option("--reason", required=True, help="why, for who reads the journal later")
@click.option("--who", default=user, show_default="you", help="who does it")
@with_settings(*_SETTINGS)
def amend(target: str, position: str, json: str, reason: str, who: str, **given: Any) -> None:
    """Have JSON read at POSITION from now on, in the present version of the event's class, which it is checked against.
    What was stored stays stored; the amendment is an event at the head, with who and why."""
    declaration = app_of(target).declaration

    async def write(admin: Admin) -> None:
        record = await _event(admin, position)
        name = original_of(record).name
        correction = event_correction(declaration, record.offset, name, json, reason, who)
        at = await admin.journal.correct(correction)
        click.echo(f"event {record.offset} ({name}) is amended, said at {at}")

    administer(target, given, write)


async def _event(admin: Admin, position: str) -> Record:
    """What stands at E:N, or N of the present epoch. Raises SettingsError."""
    head = await admin.journal.head()
    epoch, _, number = position.rpartition(":")
    if not number.isdigit():
        raise SettingsError("POSITION", f"{position!r} is neither {head.position.epoch}:N nor N")
    offset = int(number)
    if epoch and Epochs.of(await admin.journal.epochs()).carry(Position(epoch, offset)) is None:
        raise SettingsError("POSITION", f"{position} is of another history than this journal's")
    found = await admin.journal.read(offset - 1, 1) if offset else []
    if not found:
        raise SettingsError("POSITION", f"there is no event {offset}; the journal ends at {head.position}")
    return found[0]


@journal.command()
@click.argument("target", required=False)
@click.option("--before", type=click.IntRange(min=0), help="forget events up to this offset")
@click.option("--keep", type=click.IntRange(min=0), help="keep this many of the last events")
@with_settings(*_SETTINGS)
def trim(target: str | None, before: int | None, keep: int | None, **given: Any) -> None:
    """Forget old events; never those that a reactor or a stored projection still needs."""
    if (before is None) == (keep is None):
        raise click.UsageError("give either --before or --keep")
    declaration = app_of(target).declaration if target else None

    async def cut(admin: Admin) -> None:
        head = await admin.journal.head()
        if declaration is not None and (lacking := not_stored(declaration, await admin.journal.readers())):
            raise SkerryError(
                f"nothing is forgotten: {', '.join(lacking)} has stored nothing yet and needs the events from "
                "the first on; a consumer stores it when it starts, unless it has stopped (skerry journal verify)"
            )
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
@click.confirmation_option(
    "-y", "--yes", prompt="Servers will load a snapshot. Begin a new epoch?", help="do not ask"
)
@with_settings(*_SETTINGS)
def epoch(target: str | None, common: int, **given: Any) -> None:
    """Begin a new epoch: once after the back-up of a file was restored, so that nobody trusts positions of the lost
    history. PostgreSQL tells by itself that it was promoted, restored or restarted, and the next epoch begins with the
    next write."""

    async def begin(admin: Admin) -> None:
        click.echo(f"the journal is at {await admin.journal.new_epoch('asked for', common)}")

    administer(target, given, begin)


@journal.command()
@click.argument("target")
@with_settings(*_SETTINGS)
def cursors(target: str, **given: Any) -> None:
    """Who still needs old events: reactors and stored projections, how far each is, and those that are declared no more
    but hold the journal. Exit code 1 when there is one of these."""
    declaration = app_of(target).declaration

    async def show(admin: Admin) -> None:
        head = await admin.journal.head()
        undeclared = 0
        for reader in await admin.journal.readers():
            known = is_declared(declaration, reader)
            undeclared += not known
            behind = max(0, head.position.offset - reader.position.offset)
            note = "" if known else "  not declared: holds the journal, see skerry journal forget"
            click.echo(f"{reader.kind} {reader.name}  {reader.position}  {behind} behind{note}")
        raise SystemExit(1 if undeclared else 0)

    administer(target, given, show)


@journal.command()
@click.argument("target")
@click.argument("name")
@click.confirmation_option(
    "-y", "--yes", prompt="What it has not seen may be trimmed away. Go on?", help="do not ask"
)
@with_settings(*_SETTINGS)
def forget(target: str, name: str, **given: Any) -> None:
    """Forget how far a reactor, or a stored projection, has come, so that it holds the journal no longer. One that is
    declared begins as a new one does."""
    app_of(target)

    async def drop(admin: Admin) -> None:
        found = [reader for reader in await admin.journal.readers() if reader.name == name]
        if not found:
            raise SettingsError("NAME", f"there is neither a reactor nor a stored projection {name!r}")
        for reader in found:
            if reader.kind == "reactor":
                await admin.journal.forget(name)
            else:
                await admin.journal.forget_projection(name)
            click.echo(f"{reader.kind} {name} is forgotten; it was at {reader.position}")

    administer(target, given, drop)


@journal.command()
@click.argument("target")
@click.argument("name")
@click.argument("position")
@click.confirmation_option(
    "-y", "--yes", prompt="It will do again outside what it has done since. Go on?", help="do not ask"
)
@with_settings(*_SETTINGS)
def replay(target: str, name: str, position: str, **given: Any) -> None:
    """Let the reactor NAME see every event after POSITION again, in order: an offset, or EPOCH:OFFSET; 0 is the oldest
    event that is kept. It begins within seconds, or when its consumer starts."""
    declared = sorted(each.name for each in app_of(target).declaration.reactors)

    async def ask(admin: Admin) -> None:
        if name not in declared:
            known = f"; there are {', '.join(declared)}" if declared else ""
            raise SettingsError("NAME", f"the application declares no reactor {name!r}{known}")
        head = await admin.journal.head()
        epoch, _, offset = position.rpartition(":")
        if not offset.isdecimal():
            raise SettingsError("POSITION", f"{position!r} is neither an offset nor EPOCH:OFFSET")
        if epoch and epoch != head.position.epoch:
            raise SettingsError(
                "POSITION", f"the journal is in epoch {head.position.epoch}: give the offset in it"
            )
        wanted = int(offset) or head.floor
        if not head.floor <= wanted <= head.position.offset:
            kept = f"{head.floor} to {head.position.offset}"
            raise SettingsError("POSITION", f"{wanted} is not within what the journal keeps: {kept}")
        await admin.journal.advance(name + REPLAY, Position(head.position.epoch, wanted))
        click.echo(f"reactor {name} will see {head.position.offset - wanted} events again")

    administer(target, given, ask)
