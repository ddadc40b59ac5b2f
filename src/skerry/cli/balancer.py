"""`skerry balancer`: under `skerry up` hands connections to the servers, alone forwards bytes to other machines."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

import click

from skerry.cli.options import fail, settings_of, with_settings
from skerry.errors import SettingsError
from skerry.http.health import READY, Finding, Health, Purpose
from skerry.kernel.admin import AdminServer
from skerry.kernel.logs import configure_logs
from skerry.kernel.settings import Settings, address, listed
from skerry.loop.door import Door
from skerry.loop.sockets import adopt_listener, bind_tcp
from skerry.process.metrics import exposition
from skerry.process.topology import DOOR, GATEWAY_LISTEN, LISTEN
from skerry.process.worker import Worker
from skerry.roles.balancer import Balancer, BalancerSettings
from skerry.roles.proxy import Proxy, ProxySettings, Upstream
from skerry.telemetry import Registry


@click.command()
@click.argument("target", default="")
@with_settings(
    "to", "health", "send_proxy", "bind", "drain", "max_connections", "log_format", "log_level", "process", "tls_cert",
    "tls_key", "admin_bind", "admin_token", "hosts",
    group="balancer",
)  # fmt: skip
def balancer(target: str, **given: Any) -> None:
    """Share connections out between servers elsewhere, fewest open connections first, with health checks.

    `skerry up` starts its own balancer, which hands the connections themselves to the server processes of this
    machine. TARGET only names the application.
    """
    start_balancer(given)


def start_balancer(given: dict[str, Any]) -> NoReturn:
    """Run it until a signal, or the runner, ends it."""
    control = Worker.inherited()
    settings = settings_of(given)
    named = control is None or settings.log_format != "text"
    mark = control.mark if control is not None else ""
    configure_logs(settings.log_format, settings.log_level, settings.process if named else "", mark=mark)
    registry = Registry()
    try:
        if control is not None and LISTEN in os.environ:
            code = asyncio.run(_hand_over(control, settings, registry))
        elif settings.to:
            code = asyncio.run(_forward(settings, registry))
        else:
            raise SettingsError(
                "to", "name the servers: --to HOST:PORT, once for each (see skerry up for one machine)"
            )
    except SettingsError as error:
        fail(error)
    raise SystemExit(code)


async def _hand_over(control: Worker, settings: Settings, registry: Registry) -> int:
    """The balancer of `skerry up`, on the sockets that the runner holds."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stopping.set)
    listeners: dict[socket.socket, str] = {adopt_listener(int(os.environ.pop(LISTEN))): "server"}
    if GATEWAY_LISTEN in os.environ:
        listeners[adopt_listener(int(os.environ.pop(GATEWAY_LISTEN)))] = "gateway"
    door = Door.inherited(int(os.environ.pop(DOOR)))
    tls = frozenset(listeners.values()) if settings.tls_cert else frozenset[str]()
    role = Balancer(listeners, door, settings.of(BalancerSettings), registry, tls, further=("host",))
    control.gauges = lambda: {"connections": role.waiting, "servers": len(role.servers)}
    control.metrics = lambda: exposition(registry.collect())
    await control.start(lambda seconds: stopping.set())
    await role.start()
    control.ready()
    await stopping.wait()
    await role.stop(0.5)
    await control.close()
    return 0


async def _forward(settings: Settings, registry: Registry) -> int:
    """The level-4 proxy, in a container or on a machine of its own."""
    to = [Upstream(*address(text, "to")) for text in listed(settings.to)]
    role = Proxy(
        [bind_tcp(*address(settings.bind))],
        to,
        settings.of(ProxySettings),
        registry,
    )
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        if stopping.is_set():
            os._exit(130)
        stopping.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal)
    admin = AdminServer(
        settings, lambda purpose: _report(role, stopping.is_set(), purpose), _numbers(registry)
    )
    if settings.admin_bind:
        await admin.start()
    await role.start()
    healthy = [str(each) for each in to if each.healthy]
    click.echo(
        f"forwarding {settings.bind} to {', '.join(healthy) or 'nobody yet: no server is healthy'}", err=True
    )
    await stopping.wait()
    await role.stop(settings.drain)
    await admin.stop()
    return 0


def _numbers(registry: Registry) -> Callable[[], Awaitable[str]]:
    async def numbers() -> str:
        return exposition(registry.collect())

    return numbers


def _report(role: Proxy, ending: bool, purpose: Purpose) -> tuple[bool, dict[str, Any]]:
    """It is ready for connections as long as it runs (with no healthy server it tries them all); for everything, when
    each of its servers is healthy; for writes, when one is."""
    health = Health()
    health.add("balancer", lambda: Finding(not ending, "ending" if ending else ""))
    well = any(each.healthy for each in role.upstreams)
    for upstream in role.upstreams:
        found = READY if upstream.healthy else Finding(False, "it is not healthy", traffic=True, writes=well)
        health.add(str(upstream), lambda found=found: found)  # type: ignore[misc]
    return health.report(purpose)
