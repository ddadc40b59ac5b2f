"""`skerry up` and `skerry ps`: the processes of an application on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import msgspec

from skerry.cli.options import PartOption, fail, settings_of, with_settings
from skerry.clock import SystemClock
from skerry.errors import SettingsError
from skerry.hosting.settings import HostSettings
from skerry.http.auth import Tokens
from skerry.kernel.importing import source_directory
from skerry.kernel.notifier import Notifier
from skerry.kernel.settings import (
    CLOSING_SECONDS,
    PREFIX,
    REPLACED_SECONDS,
    Settings,
    address,
    load_settings,
    rate,
)
from skerry.loop.door import Door
from skerry.loop.sockets import address_text, bind_tcp
from skerry.process import control
from skerry.process.child import Spec
from skerry.process.hangup import Hangup, has_terminal
from skerry.process.operating import Operator
from skerry.process.output import Output, wants_colour
from skerry.process.reaping import fork_as_first
from skerry.process.recycling import Recycler, limits_of, limits_of_host
from skerry.process.reload import Reloader
from skerry.process.restarts import RestartSettings
from skerry.process.rollout import LAST_SECONDS
from skerry.process.runner import Runner, RunnerSettings
from skerry.process.topology import Sockets, Topology, fork_server, several, stages
from skerry.process.tree import RunnerStatus, rendered
from skerry.process.worker import HANG
from skerry.roles.wiring import plan
from skerry.server.settings import ServerSettings
from skerry.supervision.policy import Intensity


@click.command()
@click.argument("target")
@click.option(
    "--hosts",
    cls=PartOption,
    key="host.processes",
    default=None,
    allow_from_autoenv=False,
    metavar="N",
    help="processes for what the application hosts (app.host) alone [default: 0, the servers host it] "
    "($SKERRY_HOST_PROCESSES)",
)
@click.option(
    "--server-names",
    "hosts",
    default=None,
    allow_from_autoenv=False,
    metavar="HOSTS",
    help="names that are served, by commas: NAME[:PORT], .DOMAIN, *; default: on loopback those without a dot "
    "($SKERRY_HOSTS)",
)
@with_settings(group="up", but=("hosts",))
def up(target: str, **given: Any) -> None:
    """Run TARGET as processes behind a balancer: servers, a consumer, gateways, hosts; restart what fails.

    Ctrl-C (or SIGTERM) ends everything in order, a second one at once. SIGHUP replaces every process without a
    failed request.
    """  # fmt: skip
    if (hosts_given := given.get("host.processes")) is not None and not str(hosts_given).isdecimal():
        given["hosts"] = given.pop("host.processes")
        _say_deprecated()
    settings = settings_of(given)
    hosts = settings.of(HostSettings).processes
    topology = Topology(target, settings.servers, settings.consumers, settings.gateways, hosts=hosts)
    raise SystemExit(supervise(topology, settings, given))


def _say_deprecated() -> None:
    """`--hosts` was given the names that are served, as before it was a number of processes."""
    warnings.warn(
        "--hosts is the number of host processes; the names that are served are given by --server-names",
        DeprecationWarning,
        stacklevel=2,
    )
    click.echo("skerry: --hosts is the number of host processes; for names write --server-names", err=True)


def supervise(topology: Topology, settings: Settings, given: dict[str, Any]) -> int:
    """Run these processes until a signal ends them; the exit code. `given`: what was given as flags, for the children
    too. Ends the command with exit code 2 for wrong settings. As PID 1 this returns in a child (process/reaping.py)."""
    fork_as_first()
    environment = {
        PREFIX + name.replace(".", "_").upper(): str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in given.items()
        if value is not None
    }
    environment[HANG] = str(settings.hang)
    topology = replace(topology, environment=environment)
    restarts = RestartSettings(Intensity(*rate(settings.intensity, "intensity")))
    if settings.reload:  # what is broken will be mended
        restarts = RestartSettings(Intensity(1_000_000, 60.0), first_tries=1_000_000)
    try:
        root = source_directory(topology.target)
        check(settings)
        return asyncio.run(
            _Up(
                topology,
                settings,
                runner_settings(settings, restarts),
                root,
                lambda changes: load_settings({**given, **changes}),
            ).run()
        )
    except SettingsError as error:
        fail(error)


def runner_settings(settings: Settings, restarts: RestartSettings) -> RunnerSettings:
    """What requests under way may take is theirs: at the end as long as is set, in a replacement longer, except while
    somebody waits for what he has just typed."""
    replaced = settings.drain if settings.reload else max(settings.drain, REPLACED_SECONDS)
    return RunnerSettings(
        restarts,
        grace_seconds=settings.drain + CLOSING_SECONDS + LAST_SECONDS,
        replaced_seconds=replaced + CLOSING_SECONDS,
        hang_seconds=settings.hang,
        ready_seconds=settings.start_timeout,
        waits_for_change=settings.reload,
    )


def check(settings: Settings) -> None:
    """Find here, once, what every process would find. Raises SettingsError."""
    plan(settings, settings.namespace or "application", one_process=False)
    limits_of_host(settings)
    Tokens.parse(settings.tokens, SystemClock(), setting="tokens")
    if settings.tls_cert:
        settings.of(ServerSettings).tls()


def bound(text: str, setting: str) -> socket.socket:
    """A socket that listens there. Raises SettingsError, which names the `skerry up` that holds the address, if one
    does."""
    host, port = address(text, setting)
    try:
        return bind_tcp(host, port, setting=setting)
    except SettingsError:
        for status in control.running():
            if port and status.address.endswith(f":{port}"):
                where = address_text(host, port)
                raise SettingsError(
                    setting,
                    f"{where} is in use by `skerry up {status.target}` (pid {status.pid}); end that one or choose "
                    "another port",
                ) from None
        raise


def _elsewhere(settings: Settings, public_port: int, gateway_port: int) -> dict[str, str]:
    """What children need to know when the stream of events has a port of its own: pages look for it there, and
    gateways let the pages of the public port in."""
    origins = ",".join(filter(None, (settings.origins, f":{public_port}")))
    return {f"{PREFIX}LIVE_URL": settings.live_url or f":{gateway_port}", f"{PREFIX}ORIGINS": origins}


def _tell_systemd(runner: Runner, notifier: Notifier, url: str) -> None:
    """Let the service manager that has started us know how it goes, if there is one."""
    if not notifier:
        return

    def summary() -> str:
        slots = [slot for slot in runner.slots if not slot.is_stopped]
        ready = sum(slot.state in ("ready", "standby") for slot in slots)
        troubles = [f"{slot.name} {slot.state}" for slot in slots if slot.state not in ("ready", "standby")]
        return f"{url}: {ready} of {len(slots)} processes ready" + "".join(f", {each}" for each in troubles)

    def changed(*_: object) -> None:
        notifier.status(summary())

    notifier.status("starting")
    notifier.start_watchdog()
    events = runner.events
    for event in ("started", "ready", "ended", "replaced"):
        events.on(event, changed)
    events.on("all_ready", lambda: notifier.ready(summary()))
    events.on("rolling", lambda: notifier.reloading("replacing every process"))
    events.on("rolled", lambda went_through: notifier.ready(runner.rollout.halfway or summary()))
    events.on("stopping", lambda: notifier.stopping("ending"))


class _Up:
    """One `skerry up`: the sockets that outlive the children, the runner, its control socket, signals. `load(changes)`:
    the settings as they are now, with these as if they had been given as flags."""

    def __init__(
        self,
        topology: Topology,
        settings: Settings,
        runner: RunnerSettings,
        root: Path,
        load: Callable[[dict[str, Any]], Settings],
    ) -> None:
        self._topology, self._settings, self._runner_settings = topology, settings, runner
        self._root, self._load = root, load
        self._began = time.monotonic()
        self._notifier = Notifier()

    async def run(self) -> int:
        settings, topology = self._settings, self._topology
        terminal = sys.stdout.isatty()
        as_json = settings.log_format == "json" or (settings.log_format == "auto" and not terminal)
        with contextlib.ExitStack() as stack:
            public = stack.enter_context(bound(settings.bind, "bind"))
            gateway = None
            if topology.gateways:
                gateway = stack.enter_context(bound(settings.gateway_bind, "gateway_bind"))
            watched = None
            if settings.admin_bind:
                watched = stack.enter_context(bound(settings.admin_bind, "admin_bind"))
            inner, outer = map(stack.enter_context, Door.pair())
            sockets = Sockets(
                public.fileno(), inner.fileno(), outer.fileno(), gateway.fileno() if gateway else None
            )
            output = Output(sys.stdout, colour=wants_colour(sys.stdout), as_json=as_json)

            def equipped(settings: Settings) -> Topology:
                given = {**topology.environment, f"{PREFIX}LOG_FORMAT": "json" if as_json else "text"}
                if gateway is not None:
                    given |= _elsewhere(settings, public.getsockname()[1], gateway.getsockname()[1])
                return replace(topology, environment=given)

            def specs(role: str, count: int) -> list[Spec]:
                if role == "gateway" and count and gateway is None:
                    raise SettingsError(
                        "gateways", "there is no port for them: start `skerry up` with --gateways 1 or more"
                    )
                if role == "host" and not (count and topology.hosts):
                    raise SettingsError(
                        "hosts",
                        "servers know at their start whether there are any: start with or without --hosts",
                    )
                if not topology.servers and role != "host":
                    raise SettingsError(f"{role}s", "skerry host has processes called hosts")
                now = self._load({"host.processes" if role == "host" else f"{role}s": count})
                return several(equipped(now), sockets, role, count)

            forks = fork_server(equipped(settings)) if settings.fork_server and topology.servers else None
            runner = Runner(
                stages(equipped(settings), sockets), output, self._runner_settings, fork_server=forks
            )
            url = self._url(public)
            operator = Operator(runner, lambda: equipped(self._load_checked()).environment, specs)
            asked = control.Control(
                lambda: control.status_of(runner, topology.target, settings.namespace, url), operator.act
            )
            await asked.start()
            admin = None
            if settings.admin_bind:
                from skerry.kernel.admin import AdminServer  # a server needs much that a runner does not

                admin = AdminServer(settings, runner.report, runner.all_metrics, operator.obey)
                await admin.start(watched)
            admin_url = admin.url if admin is not None else ""
            runner.events.on("all_ready", lambda: self._on_all_ready(runner, url, admin_url))
            _tell_systemd(runner, self._notifier, url)
            self._catch_signals(runner, operator)
            recycler = Recycler(runner, limits_of(settings), of_hosts=limits_of_host(settings))
            runner.own(recycler.run())
            if settings.reload:
                runner.own(self._watch(runner, operator))
            try:
                return await runner.run()
            finally:
                # A child that ends while the loop is being closed would have asyncio complain on stderr.
                asyncio.get_running_loop().remove_signal_handler(signal.SIGCHLD)
                if admin is not None:
                    await admin.stop()
                await asked.stop()
                await asyncio.to_thread(output.close)
                self._notifier.close()

    def _url(self, public: socket.socket) -> str:
        scheme = "https" if self._settings.tls_cert else "http"
        host, port = public.getsockname()[:2]
        return f"{scheme}://{address_text(host, port)}"

    def _on_all_ready(self, runner: Runner, url: str, admin: str) -> None:
        took = time.monotonic() - self._began
        counts = f"{len(runner.slots)} processes"
        runner.say(f"ready on {url} after {took:.1f} s ({counts}); Ctrl-C ends it, skerry ps shows it")
        if admin:
            runner.say(f"health and numbers of all processes on {admin}")
        exposed = self._settings.exposed()
        if exposed is not None and self._topology.servers:
            runner.say(exposed, "warning")

    def _load_checked(self) -> Settings:
        """What new children will find. Raises SettingsError."""
        found = self._load({})
        check(found)
        return found

    def _catch_signals(self, runner: Runner, operator: Operator) -> None:
        loop = asyncio.get_running_loop()
        asked = [False]
        hangup = Hangup.at_start()

        def on_end(number: int) -> None:
            if asked[0]:
                runner.say("ending at once")
                runner.kill(128 + number)
            else:
                asked[0] = True
                runner.say("ending")
                runner.stop()

        def on_hangup() -> None:
            if hangup.means_the_end(has_terminal=has_terminal()):
                runner.say("the terminal was closed")
                on_end(signal.SIGHUP)
            else:
                runner.say("replacing every process")
                operator.roll_beside()

        def on_suspend() -> None:
            runner.signal_all(signal.SIGSTOP)
            os.kill(os.getpid(), signal.SIGSTOP)
            runner.signal_all(signal.SIGCONT)  # once this one goes on

        loop.add_signal_handler(signal.SIGTSTP, on_suspend)
        loop.add_signal_handler(signal.SIGINT, on_end, signal.SIGINT)
        loop.add_signal_handler(signal.SIGTERM, on_end, signal.SIGTERM)
        loop.add_signal_handler(signal.SIGHUP, on_hangup)
        loop.add_signal_handler(signal.SIGCHLD, runner.look)

    async def _watch(self, runner: Runner, operator: Operator) -> None:
        async def on_change(files: list[str]) -> None:
            names = ", ".join(Path(name).name for name in files[:3])
            more = f" and {len(files) - 3} more" if len(files) > 3 else ""
            runner.say(f"{names}{more} changed: replacing every process")
            await operator.roll_and_say()

        await Reloader({self._root, Path.cwd()}, on_change).run()


@click.command()
@click.option("--json", "as_json", is_flag=True, help="one JSON object for each runner")
@click.option("--details", is_flag=True, help="with the tracebacks of the last failures")
def ps(as_json: bool, details: bool) -> None:
    """Show the processes of every `skerry up` of this user: state, restarts, last failure, lag, memory."""
    found: list[RunnerStatus] = list(control.running())
    for number, status in enumerate(found):
        if as_json:
            click.echo(msgspec.json.encode(status))
        else:
            click.echo(("\n" if number else "") + rendered(status, time.time(), details))
    if not found:
        click.echo("no `skerry up` of this user runs here", err=True)
        raise SystemExit(1)
