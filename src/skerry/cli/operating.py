"""`skerry reload`, `stop`, `restart`, `scale`: what an operator orders of a `skerry up` that runs on this machine.

Not here: what is done then (process/operating.py, process/runner.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

import click

from skerry.cli.options import fail
from skerry.errors import SettingsError
from skerry.process import control
from skerry.process.orders import AnyOrder, Outcome, Reload, Restart, Stop, scaling

F = TypeVar("F", bound=Callable[..., Any])


def of_runner(function: F) -> F:
    """The option that says which runner is meant."""
    return click.option(
        "--pid",
        type=int,
        default=None,
        help="of which `skerry up`, where several run [default: the only one]",
    )(function)


@click.command()
@of_runner
@click.option(
    "--wait", "waits", is_flag=True, help="show progress; exit code 1 when the replacement did not go through"
)
def reload(pid: int | None, waits: bool) -> None:
    """Replace every process without a failed request.

    New processes read .env and skerry.toml again, and the application as it is now. A wrong setting is said, and then
    nothing is replaced.
    """
    _give(pid, Reload(waits))


@click.command()
@click.argument("name")
@of_runner
def stop(name: str, pid: int | None) -> None:
    """End the process NAME, as in server-2, when it has finished what it has under way.

    It stays away until `skerry restart NAME`, a replacement of all (`skerry reload`) or the end.
    """
    _give(pid, Stop(name))


@click.command()
@click.argument("name")
@of_runner
def restart(name: str, pid: int | None) -> None:
    """Replace the process NAME without a failed request, or start it when it was stopped."""
    _give(pid, Restart(name))


@click.command()
@click.argument("counts", nargs=-1, required=True, metavar="servers=N...")
@of_runner
def scale(counts: tuple[str, ...], pid: int | None) -> None:
    """Have so many processes of a role: servers=N, consumers=N, gateways=N, hosts=N.

    New ones stay when they get ready; those that are too many finish what they have under way. It holds until the end.
    """
    try:
        orders: list[AnyOrder] = [scaling(text) for text in counts]
    except SettingsError as error:
        fail(error)
    _give(pid, *orders)


def _give(pid: int | None, *orders: AnyOrder) -> None:
    """Have the orders carried out, one after the other; ends the command when one is not."""
    pid = _runner(pid)
    for wish in orders:
        try:
            outcome = control.order(pid, wish, click.echo)
        except KeyboardInterrupt:
            raise SystemExit(130) from None  # the runner goes on with it
        if outcome.code:
            _refuse(outcome)
        click.echo(outcome.text)


def _refuse(outcome: Outcome) -> NoReturn:
    click.echo(f"skerry: {outcome.text}", err=True)
    raise SystemExit(outcome.code)


def _runner(pid: int | None) -> int:
    """The runner that is meant. Ends the command where that is not clear."""
    found = list(control.running())
    chosen = [status for status in found if pid in (None, status.pid)]
    if len(chosen) == 1:
        return chosen[0].pid
    if len(chosen) > 1:
        several = ", ".join(f"--pid {status.pid} ({status.target} on {status.address})" for status in chosen)
        _refuse(Outcome(2, f"several run here, say which: {several}"))
    _refuse(Outcome(1, "no `skerry up` of this user runs here" + (f" with pid {pid}" if pid else "")))
