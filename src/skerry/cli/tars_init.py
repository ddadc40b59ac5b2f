"""`skerry tars init`: a service to begin with."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from skerry.errors import SettingsError
from skerry.process.blueprint import write_service


@click.command("init")
@click.argument("name")
@click.option("--directory", default="", metavar="DIR", help="where to [default: NAME in small letters]")
def init(name: str, directory: str) -> None:
    """Write a working service NAME (as Hello): interface, servant, tests, a configuration for this machine."""
    where = Path(directory or name.lower())
    try:
        files = write_service(name, where)
    except SettingsError as error:
        click.echo(f"skerry: {error}", err=True)
        sys.exit(2)
    except OSError as error:
        click.echo(f"skerry: cannot write {error.filename}: {error.strerror}", err=True)
        sys.exit(1)
    for file in files:
        click.echo(file)
    click.echo(f"\ncd {where} && skerry tars run service:service --config=conf/local.conf")
