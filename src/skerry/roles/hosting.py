"""Runs a host in this process until a signal, or the runner that started it, ends it."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal

from skerry.clock import SystemClock
from skerry.http.application import Application
from skerry.http.health import exposition
from skerry.kernel.runtime import Limits, Runtime
from skerry.kernel.settings import CLOSING_SECONDS, REPLACED_SECONDS, Settings, address
from skerry.loop.door import Door
from skerry.loop.models import default, factory
from skerry.loop.sockets import adopt_listener, bind_tcp
from skerry.roles.host import HostRole
from skerry.roles.running import BLOCKED_SECONDS, JOIN, LISTENER, LOOK_SECONDS, MISSED_LOOKS, Control
from skerry.supervision.failure import Failure

logger = logging.getLogger("skerry")


def run_host(application: Application, settings: Settings, control: Control | None = None) -> int:
    """Serve what is mounted in `application` until SIGINT, SIGTERM or the runner ends it; a second signal ends at once.
    Returns the exit code. Raises SettingsError."""
    with asyncio.Runner(loop_factory=factory(settings.loop_model or default())) as runner:
        return runner.run(_Process(application, settings, control).run())


class _Process:
    def __init__(self, application: Application, settings: Settings, control: Control | None) -> None:
        self._settings, self._control = settings, control
        self._name = settings.process or "host"
        self._role = HostRole(application, settings, name=self._name)
        longest = max(REPLACED_SECONDS, settings.drain)
        limits = Limits(
            role_seconds=max(longest + 20.0, settings.start_timeout), stop_seconds=2 * longest + 30.0
        )
        self._runtime = Runtime(self._name, [self._role], limits=limits)
        self._role.reasons = lambda: self._runtime.reasons
        self._is_started = False

    async def run(self) -> int:
        control, runtime = self._control, self._runtime
        try:
            if control is not None:
                await control.start(self._stop)
                control.gauges = lambda: {"connections": self._role.http.connections}
                control.metrics = lambda: exposition(self._role.metrics()).decode()
                runtime.supervisor.events.on("failure", control.failure)
                runtime.events.on("fail", lambda failure: control.state("not ready", list(runtime.reasons)))
                runtime.events.on("after_resume", control.ready)
            self._let_in()
            runtime.events.on("after_start", self._started)
            # The runner hears a Ctrl-C itself and ends its children in order.
            signals = (signal.SIGTERM,) if control is not None else (signal.SIGINT, signal.SIGTERM)
            return await runtime.serve(signals=signals)
        except Exception as error:
            if control is not None:
                control.failure(Failure.of(self._name, error, at=SystemClock.now()), fatal=True)
            raise
        finally:
            self._is_started = False
            if control is not None:
                await control.close()

    def _let_in(self) -> None:
        """Give it its way in: what the balancer hands over, a socket that the runner left, or one of its own."""
        door = os.environ.pop(JOIN, "")
        inherited = os.environ.pop(LISTENER, "")
        if door:
            self._role.join = Door.inherited(int(door)).knock
        elif inherited:
            self._role.sockets = [adopt_listener(int(inherited))]
        else:
            self._role.sockets = [bind_tcp(*address(self._settings.bind, "bind"), setting="bind")]

    def _started(self) -> None:
        self._is_started = True
        gc.collect()
        gc.freeze()  # what was loaded stays: a collection over a million objects would take a tenth of a second
        self._runtime.loop.watch_blocking(BLOCKED_SECONDS)
        for where in self._role.http.addresses:
            logger.info("listening on %s", where)
        if self._control is not None:
            self._control.ready()
            self._watch_joined(self._control)

    def _watch_joined(self, control: Control, missed: int = 0) -> None:
        """Tell the runner while no connection comes in. A balancer that is started anew is away for a moment."""
        if not self._is_started:
            return
        if self._role.joined:
            if missed > MISSED_LOOKS:
                control.ready()
            missed = 0
        else:
            missed += 1
            if missed == MISSED_LOOKS + 1:
                control.state("not ready", ["it has not joined the balancer"])
        asyncio.get_running_loop().call_later(LOOK_SECONDS, self._watch_joined, control, missed)

    def _stop(self, seconds: float) -> None:
        if seconds:
            self._role.drain = max(0.1, seconds - CLOSING_SECONDS)
        self._runtime.end(0, "the runner said so")
