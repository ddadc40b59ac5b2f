"""`skerry settings`: every setting, its value here and where that comes from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from skerry.cli.options import app_of, fail, settings_of, with_settings
from skerry.errors import SettingsError
from skerry.kernel.settings import Settings, given_settings, options, sections
from skerry.options import Option, options_of


@click.command()
@click.argument("target", required=False)
@click.option("--table", default="", help="only those of this table of skerry.toml, as hub")
@click.option("--changed", is_flag=True, help="only those that are not at their default")
@with_settings()
def settings(target: str | None, table: str, changed: bool, **given: Any) -> None:
    """List the settings: name, value, where it comes from, and what it means. With TARGET, those that the application
    declares count too. A secret's value is not shown."""
    found = settings_of(given, app_of(target) if target else None)
    sources = given_settings(given)
    rows = []
    for option, record in _all(found):
        if table not in ("", option.section):
            continue
        value = getattr(record, option.name)
        source = sources[option.key][1] if option.key in sources else "default"
        if source == "default" and value != option.default:
            source = "application"
        if source != "default" or not changed:
            rows.append((option.key, _shown(option, value), source, option.meaning))
    if not rows and table and table not in sections():
        fail(SettingsError("table", f"{table!r} is none of {', '.join(sections())}"))
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(3)]
    for row in rows:
        click.echo(
            "  ".join((*(text.ljust(width) for text, width in zip(row, widths, strict=False)), row[3]))
        )


def _all(found: Settings) -> Iterator[tuple[Option, object]]:
    """Each setting with the record that has its value."""
    yield from ((option, found) for option in options())
    for section, kind in sections().items():
        record: object = found.of(kind)
        yield from ((option, record) for option in options_of(kind, section))


def _shown(option: Option, value: object) -> str:
    if option.secret and value:
        return "(not shown)"
    return str(value).lower() if option.kind is bool else str(value) or "(empty)"
