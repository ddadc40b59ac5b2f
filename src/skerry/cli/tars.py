"""`skerry tars`: its commands, gathered. Each is loaded when it is needed: a service starts sooner for it."""

from __future__ import annotations

from importlib import import_module

import click

COMMANDS = {
    "deploy": "skerry.cli.tars_deploy:deploy",
    "generate": "skerry.cli.tars_generate:generate_command",
    "init": "skerry.cli.tars_init:init",
    "run": "skerry.cli.tars_run:run",
    "worker": "skerry.cli.tars_worker:worker",
    "call": "skerry.cli.tars_call:call",
    "ping": "skerry.cli.tars_call:ping",
    "admin": "skerry.cli.tars_call:admin",
    "platform": "skerry.testing.tars.command:platform",
}
"""Where they are."""


class TarsCommands(click.Group):
    """Those of `COMMANDS`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        found: object = getattr(import_module(module), name)
        assert isinstance(found, click.Command)
        return found


@click.group("tars", cls=TarsCommands)
def tars() -> None:
    """Tars: services for the Tars platform, and interfaces from `.tars` files."""
