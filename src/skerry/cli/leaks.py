"""`skerry leaks`: asks routes of an application again and again, and says which of them leave something behind."""

from __future__ import annotations

import asyncio
import gc
import sys
import tracemalloc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import click

from skerry.app import App
from skerry.cli.host import hosted
from skerry.cli.options import fail, with_part, with_settings
from skerry.errors import DeclarationError, SettingsError, SkerryError
from skerry.hosting.host import Host
from skerry.hosting.leaks import Finding, Plan, Probe
from skerry.hosting.settings import HostSettings
from skerry.http.application import Application
from skerry.kernel.importing import load_application
from skerry.kernel.logs import configure_logs
from skerry.kernel.settings import Settings, load_settings
from skerry.loop.models import default, factory
from skerry.roles.hosts import load_hosts, open_hosts
from skerry.testing.app import running
from skerry.testing.client import Client

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
MOST_TYPES = 5
PLAN = Plan()
UNITS = {"blocks": "blocks of memory", "bytes": "bytes", "descriptors": "open descriptors"}


class UsedUp(SkerryError):
    """A route that answered fails after a number of requests: something that it does not give back has run out."""


class Route:
    """`PATH` or `METHOD PATH`; `{n}` in it is the number of the request. Raises SettingsError."""

    def __init__(self, text: str) -> None:
        method, space, path = text.strip().partition(" ")
        self.method, self.path = (method.upper(), path.strip()) if space else ("GET", method)
        if self.method not in METHODS or not self.path.startswith("/"):
            raise SettingsError(
                "--route", f"{text!r} is neither /PATH nor METHOD /PATH, as in 'POST /orders'"
            )

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    def asking(self, client: Client, fields: dict[str, str], body: str | None) -> Callable[[int], Any]:
        """A function that asks it, for `Probe`. Raises SettingsError when it does not answer to begin with, UsedUp when
        it ceases to."""
        first = 0

        async def ask(number: int) -> None:
            nonlocal first
            path = self.path.replace("{n}", str(number))
            try:
                status = (await client.request(self.method, path, headers=fields, body=body)).status
            except (TimeoutError, ConnectionError) as error:
                why = "does not answer" if isinstance(error, TimeoutError) else str(error)
                if first:
                    raise UsedUp(f"after {number - 1} requests: {why}") from error
                raise SettingsError("--route", f"{self}: {why}") from error
            if not first:
                if status == 404 or status >= 500:
                    raise SettingsError(
                        "--route", f"{self} answers {status}: only what works can be measured"
                    )
                first = status
            elif status >= 500:
                raise UsedUp(f"answered {first}, and after {number - 1} requests {status}")
            elif status != first and status in (401, 403, 404, 429):
                raise SettingsError("--route", f"{self} answered {first}, request {number} {status}")

        return ask


class Progress:
    """One line on a terminal, rewritten; elsewhere one for each stage."""

    def __init__(self, route: Route) -> None:
        self._route, self._stage = route, ""
        self._rewrites = sys.stderr.isatty()

    def __call__(self, text: str) -> None:
        if self._rewrites:
            click.echo(f"\r\x1b[K{self._route}: {text}", err=True, nl=False)
            return
        stage = text.rstrip("0123456789 of")
        if stage != self._stage:
            self._stage = stage
            click.echo(f"{self._route}: {text}", err=True)

    def end(self) -> None:
        if self._rewrites:
            click.echo("\r\x1b[K", err=True, nl=False)


@click.command()
@click.argument("target")
@click.option(
    "--route",
    "routes",
    multiple=True,
    required=True,
    metavar="[METHOD ]PATH",
    help="what to ask for, as /orders or 'POST /orders'; {n} in it is the number of the request; may be repeated",
)
@click.option(
    "--warm-up", default=PLAN.warm_up, show_default=True, metavar="N", help="requests that do not count"
)
@click.option(
    "--rounds", default=PLAN.rounds, show_default=True, metavar="N", help="rounds of requests, 8 or more"
)
@click.option(
    "--requests", default=PLAN.requests, show_default=True, metavar="N", help="requests in each round"
)
@click.option(
    "--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="sent with each; may be repeated"
)
@click.option("--body", metavar="TEXT", help="the body of each request")
@with_part("host", HostSettings, {"kind": "--kind"})
@with_settings("log_level")
def leaks(
    target: str,
    routes: tuple[str, ...],
    warm_up: int,
    rounds: int,
    requests: int,
    headers: tuple[str, ...],
    body: str | None,
    **given: Any,
) -> None:
    """Ask routes of TARGET again and again, and say what each request leaves behind.

    TARGET is a WSGI or ASGI application, as for `skerry host`, or an App of Skerry, which runs on a journal in memory.
    It runs in this process, without a socket. Exit code 1 when a route leaks: objects, blocks of memory, bytes,
    descriptors, threads or tasks grow (Theil-Sen and Mann-Kendall, at 1 %), and go on doing so in a second series.
    """
    gc.collect()
    gc.freeze()  # what is here already is not the application's
    tracemalloc.start()
    try:
        plan = Plan(warm_up, rounds, requests)
        asked = [Route(text) for text in routes]
        fields = dict(_field(text) for text in headers)
        settings = load_settings({**given, "log_level": given["log_level"] or "warning"})
        configure_logs("text", settings.log_level)
        with asyncio.Runner(loop_factory=factory(default())) as runner:
            found = load_application(target)
            leaky = runner.run(_look(found, target, settings, plan, asked, fields, body))
    except (SettingsError, DeclarationError) as error:
        fail(error)
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    raise SystemExit(1 if leaky else 0)


def _field(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise SettingsError("--header", f"{text!r} is not NAME: VALUE")
    return name.strip(), value.strip()


async def _look(
    found: Any,
    target: str,
    settings: Settings,
    plan: Plan,
    routes: list[Route],
    fields: dict[str, str],
    body: str | None,
) -> bool:
    """Whether any of them leaks."""
    leaky = False
    async with served(found, target, settings) as (client, hosts):
        for route in routes:
            progress = Progress(route)
            ask = route.asking(client, fields, body)
            probe = Probe(ask, plan, idle=lambda: not any(host.busy for host in hosts), say=progress)
            try:
                finding = await probe.run()
            except UsedUp as error:
                progress.end()
                click.echo(f"{route}: LEAKS: {error}")
                leaky = True
            else:
                progress.end()
                leaky = bool(finding.growths) or leaky
                for line in _told(route, finding):
                    click.echo(line)
    return leaky


@asynccontextmanager
async def served(found: Any, target: str, settings: Settings) -> AsyncIterator[tuple[Client, list[Host]]]:
    """The application, running, and what hosts of it there are. Raises SettingsError, DeclarationError."""
    if isinstance(found, App):
        ours = replace(settings, journal="memory:", transport="memory:", warm_start=False)
        load_hosts(found.http, ours)
        async with running(found, settings=ours) as world:
            yield world.client, _hosts(found.http)
        return
    around = hosted(target, settings, lambda: found)
    open_hosts(around, settings, lambda: None)
    async with Client(around) as client:
        yield client, _hosts(around)


def _hosts(application: Application) -> list[Host]:
    return [mount.app for mount in application.mounts if isinstance(mount.app, Host)]


def _told(route: Route, finding: Finding) -> list[str]:
    if not finding.growths:
        return [f"{route}: clean, {finding.requests} requests"]
    lines = [f"{route}: LEAKS, {finding.requests} requests; each leaves"]
    objects = [growth for growth in finding.growths if growth.what == "objects"]
    for growth in finding.growths:
        if growth in objects[MOST_TYPES:]:
            continue
        name = growth.name if growth.what == "objects" else UNITS.get(growth.what, growth.what)
        lines.append(f"    {growth.per_request:8.3g} {name}")
    lines += [f"    {place.where}: {place.what}" for place in finding.places]
    return lines
