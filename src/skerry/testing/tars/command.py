"""`skerry tars platform`: the local platform with its page, until Ctrl-C. Found by `skerry tars` when it is named."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import click

from skerry.errors import SettingsError
from skerry.kernel.logs import configure_logs
from skerry.loop.sockets import bind_tcp
from skerry.server.server import HttpServer
from skerry.server.settings import ServerSettings
from skerry.testing.tars.local import LOOK_SECONDS, LocalPlatform, problem_of
from skerry.testing.tars.page import page_of


@click.command("platform")
@click.argument("targets", nargs=-1, metavar="[TARGET[=SERVER]]...")
@click.option("--port", default=17800, show_default=True, help="of the page")
@click.option(
    "--registry-port", default=17890, show_default=True, help="of the registry; the others take free ones"
)
@click.option("--app", default="Demo", show_default=True, help="the application's name on the platform")
@click.option(
    "--data",
    default=Path("var/tars"),
    show_default=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="folder for remote files, logs and the node's files",
)
def platform(targets: tuple[str, ...], port: int, registry_port: int, app: str, data: Path) -> None:  # fmt: skip
    """A small Tars platform on this machine: registry, configuration, logs, statistics, properties, notes and a node.

    Each TARGET (a skerry.tars.Service, or a WSGI or ASGI application) is run as SERVER, as the node of a real platform
    would; without SERVER its module names it (hello:service is HelloServer). The page shows all of it, and starts,
    stops, configures and commands servers. For development: nothing is secured beyond this machine.
    """
    configure_logs("auto", "warning")
    try:
        asyncio.run(_serve(targets, port, registry_port, app, data.resolve()))
    except SettingsError as error:
        click.echo(f"skerry: {error}", err=True)
        sys.exit(2)


async def _tell_problems(local: LocalPlatform, stop: asyncio.Event) -> None:
    """Until the end: say why a server does not stay, once for each reason."""
    told: dict[str, str] = {}
    while not stop.is_set():
        for name, node in local.nodes.items():
            problem = problem_of(node)
            if problem and told.get(name) != problem:
                told[name] = problem
                click.echo(f"{name} has ended: {problem}")
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                await stop.wait()
        except TimeoutError:
            pass


async def _serve(targets: tuple[str, ...], port: int, registry_port: int, app: str, data: Path) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    bound = bind_tcp("127.0.0.1", port, setting="--port")
    async with LocalPlatform(data, app, registry_port) as local:
        server = HttpServer(page_of(local), ServerSettings(access_log="off"))
        await server.start([bound])
        click.echo(f"page:    http://127.0.0.1:{bound.getsockname()[1]}/")
        click.echo(f"locator: {local.platform.locator}")
        try:
            for target in targets:
                name, _, wanted = target.partition("=")
                short = name.partition(":")[0].rpartition(".")[2] or name
                node = await local.add(name, wanted or f"{short.title().replace('_', '')}Server")
                click.echo(f"{node.configuration.name}: --config={node.config_file}, log {node.log_file}")
                for adapter in node.configuration.adapters:
                    click.echo(f"  {adapter.servant}@{adapter.endpoint}")
            click.echo("Ctrl-C ends it")
            await _tell_problems(local, stop)
        finally:
            await server.stop(1.0)
