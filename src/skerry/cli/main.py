"""`skerry`: the commands. Each is in the file of its subject, which is imported when it is needed, so that the
processes of `skerry up` start faster."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

import click

from skerry.errors import SettingsError
from skerry.kernel.settings import command_options

COMMANDS = {
    "run": "skerry.cli.run:run",
    "up": "skerry.cli.processes:up",
    "ps": "skerry.cli.processes:ps",
    "reload": "skerry.cli.operating:reload",
    "stop": "skerry.cli.operating:stop",
    "restart": "skerry.cli.operating:restart",
    "scale": "skerry.cli.operating:scale",
    "server": "skerry.cli.run:server",
    "host": "skerry.cli.host:host",
    "consumer": "skerry.cli.run:consumer",
    "gateway": "skerry.cli.run:gateway",
    "balancer": "skerry.cli.balancer:balancer",
    "forkserver": "skerry.cli.forkserver:forkserver",
    "settings": "skerry.cli.settings:settings",
    "routes": "skerry.cli.inspect:routes",
    "bus": "skerry.cli.inspect:bus",
    "openapi": "skerry.cli.inspect:openapi",
    "asyncapi": "skerry.cli.inspect:asyncapi",
    "leaks": "skerry.cli.leaks:leaks",
    "infra": "skerry.cli.infra:infra",
    "doctor": "skerry.cli.doctor:doctor",
    "journal": "skerry.cli.journal:journal",
    "row": "skerry.cli.row:row",
    "dead": "skerry.cli.dead:dead",
    "tars": "skerry.cli.tars:tars",
}


CURES = {
    "--port": "the address is --bind HOST:PORT",
    "--host": "the address is --bind HOST:PORT",
    "--reload": "restarting on changes is skerry up TARGET --reload",
    "--workers": "several processes are skerry up TARGET --servers N",
}
"""Options of other programs that people try: what it is called here."""


class Commands(click.Group):
    """A group whose commands are imported when they are named."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.NoSuchOption as error:
            if cure := CURES.get(error.option_name):
                raise click.UsageError(f"No such option {error.option_name}: {cure}.", error.ctx) from error
            raise

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        home = COMMANDS.get(cmd_name)
        if home is None:
            return None
        module, _, name = home.partition(":")
        command: Any = getattr(import_module(module), name)
        assert isinstance(command, click.Command)
        return command


CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110, "auto_envvar_prefix": "SKERRY"}


@click.group(cls=Commands, context_settings=CONTEXT)
@click.version_option(package_name="skerry", prog_name="skerry")
@click.pass_context
def main(context: click.Context) -> None:
    """Skerry: event-driven services that answer from memory, write through a queue and stay fresh by events.

    TARGET is MODULE:NAME of an application, as in livekv:app. Every option is also an environment variable
    (SKERRY_...), may stand in .env and in skerry.toml; flags beat environment beats file beats default.
    """
    try:
        variables, context.default_map = command_options()
    except SettingsError as error:
        click.echo(f"skerry: {error}", err=True)
        raise SystemExit(2) from None
    for name, value in variables.items():
        os.environ.setdefault(name, value)
