"""`skerry doctor`: what an application stands on, and what to do about what is wrong."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from skerry.cli.options import app_of, fail, namespace_of, settings_of, with_settings
from skerry.errors import SettingsError
from skerry.roles.diagnosis import diagnose
from skerry.roles.wiring import plan

_MARKS = {"ok": ("ok", "green"), "warning": ("warning", "yellow"), "error": ("ERROR", "red")}


@click.command()
@click.argument("target", required=False)
@with_settings()
def doctor(target: str | None, **given: Any) -> None:
    """Look at settings, libraries, journal and broker; name known traps with their fix. Exit code 1 for an error."""
    app = app_of(target) if target else None
    settings, declaration = settings_of(given, app), app.declaration if app else None
    namespace = namespace_of(target, settings)

    async def look() -> int:
        errors = 0
        chosen = plan(settings, namespace, one_process=False)
        async for finding in diagnose(settings, chosen, namespace, declaration):
            mark, colour = _MARKS[finding.level]
            click.echo(f"{click.style(mark.ljust(8), fg=colour)} {finding.what}")
            if finding.fix:
                click.echo(f"         -> {finding.fix}")
            errors += finding.level == "error"
        return errors

    try:
        errors = asyncio.run(look())
    except SettingsError as error:
        fail(error)
    raise SystemExit(1 if errors else 0)
