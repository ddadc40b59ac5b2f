"""`skerry tars run`: what the node starts, and what stays. What runs in each process is in `tars_worker`."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from importlib.metadata import version

import click

from skerry.errors import DeclarationError, SettingsError
from skerry.kernel.importing import load_application
from skerry.kernel.logs import configure_logs
from skerry.kernel.settings import Settings, load_settings
from skerry.loop.sockets import bind_tcp
from skerry.process.hangup import Hangup, has_terminal
from skerry.process.output import Output, wants_colour
from skerry.process.tars import TarsParent, TarsSettings
from skerry.tars.platform.configuration import Configuration
from skerry.tars.platform.lifecycle import live

ORPHANS_SECONDS = 5.0
_CONFIG = click.option("--config", default="", metavar="FILE", help="the file that the node has written")


@click.command("run")
@click.argument("target")
@click.argument("action", default="start", type=click.Choice(["start", "stop", "restart"]))
@_CONFIG
@click.option(
    "--workers", default=0, metavar="N", help="processes [default: the file's threads, at most the cores]"
)
@click.option(
    "--hang", default=10.0, metavar="SECONDS", help="replace a process whose loop stands still for so long"
)
@click.option("--version", "show_version", is_flag=True, help="show the versions of Skerry and of TARGET")
def run(target: str, action: str, config: str, workers: int, hang: float, show_version: bool) -> None:
    """Run TARGET, a skerry.tars.Service, under the Tars platform: what the node starts.

    stop ends the one that runs, restart does both. SIGTERM and the node's shutdown end it within the file's
    deactivating-timeout; SIGHUP and the command tars.gracerestart replace its processes without a lost call.
    """
    try:
        if show_version:
            _show_version(target)
            return
        if not config:
            raise SettingsError("--config", "say which file, as the node does: --config=FILE")
        configuration = Configuration.read(config)
        if action in ("stop", "restart"):
            from skerry.tars.platform.ending import stop_server

            pid = asyncio.run(stop_server(configuration))
            what = f"has ended (pid {pid})" if pid else "does not run"
            click.echo(f"{configuration.name} {what}", err=True)
            if action == "stop":
                return
        code = asyncio.run(_run(TarsSettings(target, config, workers, hang), configuration))
    except (SettingsError, DeclarationError) as error:
        click.echo(f"skerry: {error}", err=True)
        sys.exit(2)
    except PermissionError as error:
        click.echo(f"skerry: {configuration.name} belongs to another user: {error}", err=True)
        sys.exit(1)
    sys.exit(code)


def _show_version(target: str) -> None:
    click.echo(f"skerry {version('skerry')}")
    from skerry.tars.service import Service  # only here: a parent starts sooner without it

    found = load_application(target)
    if isinstance(found, Service) and found.version:
        click.echo(f"{target} {found.version}")


async def _run(settings: TarsSettings, configuration: Configuration) -> int:
    common = load_settings({}, environ={**os.environ, **configuration.environment})
    wanted = common.log_format
    as_json = wanted == "json" or (wanted == "auto" and not sys.stdout.isatty())
    output = Output(sys.stdout, colour=wants_colour(sys.stdout), as_json=as_json)
    configure_logs("json" if as_json else "text", "info", "tars")
    try:
        environment = {"SKERRY_LOG_FORMAT": "json" if as_json else "text"}
        parent = await _parent(settings, configuration, common, environment, output)
        _catch_signals(parent)
        return await live(parent)
    except SettingsError:
        from skerry.tars.platform.ending import running_pid

        if configuration.local is not None and (pid := await running_pid(configuration)):
            raise SettingsError("--config", f"{configuration.name} runs already (pid {pid})") from None
        raise
    finally:
        await asyncio.to_thread(output.close)


async def _parent(
    settings: TarsSettings,
    configuration: Configuration,
    common: Settings,
    environment: dict[str, str],
    output: Output,
) -> TarsParent:
    """The parent, its ports bound. When it was killed before, its processes still hold them for a moment."""
    deadline = time.monotonic() + ORPHANS_SECONDS
    while True:
        try:
            return TarsParent(settings, configuration, common, environment, output)
        except SettingsError as error:
            if "is in use" not in error.problem or time.monotonic() > deadline:
                raise
            if configuration.local is not None:
                host, port = configuration.local.listens_on, configuration.local.port
                bind_tcp(host, port, setting="local").close()  # else it runs, and that is to be told at once
        await asyncio.sleep(0.1)


def _catch_signals(parent: TarsParent) -> None:
    loop = asyncio.get_running_loop()
    hangup = Hangup.at_start()
    asked = [False]

    def on_end(number: int) -> None:
        if asked[0]:
            parent.kill(128 + number)
        asked[0] = True
        parent.shutdown()

    def on_hangup() -> None:
        if hangup.means_the_end(has_terminal=has_terminal()):
            on_end(signal.SIGHUP)
        else:
            parent.replace_processes("SIGHUP")

    loop.add_signal_handler(signal.SIGINT, on_end, signal.SIGINT)
    loop.add_signal_handler(signal.SIGTERM, on_end, signal.SIGTERM)
    loop.add_signal_handler(signal.SIGHUP, on_hangup)
    if not hasattr(os, "pidfd_open"):
        loop.add_signal_handler(signal.SIGCHLD, parent.runner.look)
