"""`skerry routes` and `skerry bus`: what an application declares, without starting it."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import unquote

import click
import msgspec
from starlette.staticfiles import StaticFiles

from skerry.bus.pipeline import applies_to
from skerry.cli.options import app_of, fail
from skerry.errors import DeclarationError
from skerry.hosting.host import Host
from skerry.http.application import Application
from skerry.http.health import OWN_PAGES
from skerry.http.routes import Mount
from skerry.kernel.asyncapi import document
from skerry.messages.message import Message


@click.command()
@click.argument("target")
def routes(target: str) -> None:
    """List the routes of TARGET, and whether each is answered on the lane (from memory, without a task)."""
    app = app_of(target)
    try:
        app.http.compile(_anything)
    except DeclarationError as error:
        fail(error)
    rows = [
        (
            "/".join(sorted(route.methods)),
            route.path,
            "lane" if route.lane else "asgi",
            str(route.right or "-"),
            route.name,
        )
        for route in app.http.table.routes
    ]
    rows += own_pages(app.http)
    if app.declaration.live is not None:
        rows.append(("GET", app.declaration.live.path, "live", "read", "events"))
    rows += [
        ("*", unquote(mount.prefix.decode()) + "/*", _side(mount), str(mount.right or "-"), mount.name)
        for mount in app.http.table.mounts
    ]
    _print_table(("METHODS", "PATH", "SIDE", "RIGHT", "NAME"), rows)


@click.command()
@click.argument("target")
def bus(target: str) -> None:
    """List the messages of TARGET: the handler of each, its middleware, and what takes which event."""
    app = app_of(target)
    declared = app.declaration
    rows: list[tuple[str, ...]] = []

    def add(kind: str, message: type[Message], mode: str, handled_by: str) -> None:
        rows.append((kind, message.message_name, f"v{message.message_version}", mode, handled_by))

    for command, handler in declared.handlers.commands.items():
        chain = [
            getattr(m, "__name__", type(m).__name__) for m in declared.middlewares if applies_to(m, command)
        ]
        add("command", command, "async" if handler.is_async else "sync", " > ".join([*chain, handler.name]))
    for query, asked in declared.handlers.queries.items():
        add("query", query, "async" if asked.is_async else "sync", asked.name)
    for projection in declared.projections:
        for event, method in projection.applied_events().items():
            add("event", event, "memory", f"{projection.__name__}.{method}")
    for event, listeners in declared.handlers.events.items():
        for listener in listeners:
            add("event", event, "listener", listener.name)
    for reactor in declared.reactors:
        for event in reactor.events:
            add("event", event, "reactor", reactor.name)
    _print_table(("KIND", "NAME", "VERSION", "MODE", "HANDLED BY"), rows)


@click.command()
@click.argument("target")
def openapi(target: str) -> None:
    """Print the OpenAPI document of TARGET: its own routes, without those that a process adds."""
    app = app_of(target)
    try:
        app.http.compile(_anything)
    except DeclarationError as error:
        fail(error)
    click.echo(msgspec.json.format(msgspec.json.encode(app.http.describe())).decode())


@click.command()
@click.argument("target")
def asyncapi(target: str) -> None:
    """Print the AsyncAPI document of TARGET: its stream of events and its commands."""
    click.echo(msgspec.json.format(msgspec.json.encode(document(app_of(target).declaration))).decode())


def _side(mount: Mount) -> str:
    if isinstance(mount.app, Host):
        return mount.app.kind or "host"
    return "files" if isinstance(mount.app, StaticFiles) else "asgi"


def _anything(kind: type) -> object:
    """Any service: routes are listed without making them."""
    try:
        return object.__new__(kind)
    except TypeError:  # an abstract class, or one of a built-in's kind
        return object()


def _print_table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(len(row[n]) for row in (head, *rows)) for n in range(len(head))]
    for row in (head, *rows):
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def own_pages(http: Application) -> list[tuple[str, str, str, str, str]]:
    """What every application has beside its routes; a test compares it with a running one."""
    own = OWN_PAGES if http.hosts_everything else ""
    return [
        ("GET", f"{own}/commands/{{id}}", "asgi", "read", "command_status"),
        ("GET", f"{OWN_PAGES}/asyncapi.json", "lane", "read", "asyncapi"),
        ("GET", f"{own}/health/live", "lane", "-", "live"),
        ("GET", f"{own}/health/ready", "lane", "-", "ready"),
        ("GET", f"{own}/metrics", "lane", "read", "metrics"),
    ]
