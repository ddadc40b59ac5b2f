"""`skerry tars deploy`: the archive that the node unpacks, tried under a node before it leaves this machine."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import click

from skerry.cli.tars_worker import service_of
from skerry.errors import DeclarationError, SettingsError
from skerry.process.release import Release, made, sent
from skerry.testing.tars.trial import Trial, tried


@click.command("deploy")
@click.argument("target")
@click.option("--app", required=True, metavar="NAME", help="the application's name on the platform")
@click.option("--server", required=True, metavar="NAME", help="the server's name; the launcher's, too")
@click.option("--out", default="", metavar="FILE", help="the archive [default: SERVER.tgz]")
@click.option(
    "--include", multiple=True, metavar="PATH",
    help="a file or folder of this directory; repeatable [default: all but hidden ones, environments, caches]",
)  # fmt: skip
@click.option(
    "--with", "extra", multiple=True, metavar="NAME",
    help="a distribution that TARGET needs and does not import when it is loaded; repeatable",
)  # fmt: skip
@click.option("--release", default="", metavar="NAME", help="name of the release [default: date and time]")
@click.option("--check/--no-check", default=True, help="start and stop it under a double of the node")
@click.option(
    "--upload", default="", metavar="URL", help="address of TarsWeb: upload and publish the archive"
)
@click.option("--token-file", default="", metavar="FILE", help="where TarsWeb's token is, for --upload")
def deploy(
    target: str,
    app: str,
    server: str,
    out: str,
    include: tuple[str, ...],
    extra: tuple[str, ...],
    release: str,
    check: bool,
    upload: str,
    token_file: str,
) -> None:
    """Make the archive of TARGET for the platform's web page: the launcher, this directory, and what TARGET imports.

    Distributions are taken as they are installed here: the machine that runs them needs the same system and the same
    version of Python.
    """
    wanted = Release(target, app, server, Path.cwd(), include, extra, release)
    archive = Path(out or f"{server}.tgz")
    try:
        token = Path(token_file).read_text(encoding="utf-8").strip() if token_file else ""
        if upload and not token:
            raise SettingsError("--token-file", "say where the token is, for --upload")
        service = service_of(target)
        contents = made(wanted, archive)
        size = archive.stat().st_size / 2**20
        click.echo(f"{archive}: {contents.files} files, {size:.1f} MiB, skerry {version('skerry')}")
        click.echo(f"  of this directory: {', '.join(contents.own)}")
        click.echo(f"  distributions: {', '.join(contents.distributions)}")
        if check:
            with tempfile.TemporaryDirectory() as directory:
                found = asyncio.run(tried(Trial(archive, app, server, service), Path(directory)))
            click.echo(f"  starts in {found.start_seconds:.1f} s, stops in {found.stop_seconds:.1f} s")
        if upload:
            click.echo(sent(archive, wanted, upload, token))
    except (SettingsError, DeclarationError) as error:
        click.echo(f"skerry: {error}", err=True)
        sys.exit(2)
    except OSError as error:
        click.echo(f"skerry: {error}", err=True)
        sys.exit(1)
    if not upload:
        click.echo(
            f"upload it in TarsWeb as a release of {app}.{server} (type tars_cpp), or with --upload and --token-file"
        )
