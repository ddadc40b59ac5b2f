"""What an application adds to the supervision of its processes, in a real process: rules, parts, plugins."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from skerry import App, Event, Projection, Record
from skerry.errors import DeclarationError
from skerry.kernel.settings import Settings
from skerry.roles.running import _Process
from skerry.supervision import Failure, Hands, Intensity, Solver, SupervisionError, Supervisor, log, restart


async def run(app: App, done: Callable[[], bool], roles: tuple[str, ...] = ("consumer", "server")) -> int:
    """A process of `app` until that is so, and its end; the exit code."""
    settings = Settings(
        journal="memory:", transport="memory:", warm_start=False, bind="127.0.0.1:0", drain=0.1
    )
    process = _Process(app.declaration, settings, roles, None)
    task = asyncio.create_task(process.run())
    async with asyncio.timeout(60):
        while not (done() or task.done()):  # noqa: ASYNC110 - whatever the test looks at
            await asyncio.sleep(0.01)
        if process.runtime is not None:
            process.runtime.end(0, "that was all")
        return await task


class Changed(Event):
    key: str


class Steps(list[str]):
    """What happened, a service of the application."""


def app_with(steps: Steps) -> App:
    app = App("supervised")
    app.service(Steps)(lambda: steps)
    return app


async def test_a_part_is_injected_started_again_and_ends_with_its_process() -> None:
    """A task that fails is started again; an object with start and stop is made with its services, restarted when it
    reports a failure, and stopped before what was there before it; what belongs to other roles is not there."""
    steps = Steps()
    app = app_with(steps)

    @app.supervise()
    async def feed(steps: Steps) -> None:
        steps.append("feed")
        if steps.count("feed") == 1:
            raise ConnectionError("gone")
        await asyncio.Event().wait()

    @app.supervise(name="watch")
    class Watch:
        def __init__(self, steps: Steps, supervisor: Supervisor) -> None:
            self.steps, self.supervisor = steps, supervisor

        def start(self) -> None:
            self.steps.append("watch begins")
            if self.steps.count("watch begins") == 1:
                self.supervisor.report("watch", OSError("lost"))

        async def stop(self) -> None:
            self.steps.append("watch ends")

    @app.supervise(roles=("gateway",))
    async def elsewhere() -> None:
        steps.append("elsewhere")

    @app.supervise(ends=True)
    async def once(steps: Steps) -> None:
        steps.append("once")

    def enough() -> bool:
        return steps.count("feed") == 2 and steps.count("watch begins") == 2 and "once" in steps

    assert await run(app, enough) == 0
    assert steps.count("feed") == 2
    assert [step for step in steps if "watch" in step] == ["watch begins", "watch ends"] * 2
    assert steps.count("once") == 1
    assert "elsewhere" not in steps


async def test_a_plugin_surrounds_the_roles_and_brings_rules() -> None:
    """It starts before everything and stops last; its rule and the application's own hold, the nearest wins, for
    failures of parts as for those of anything else."""
    steps = Steps()
    app = app_with(steps)

    class Shown(Projection):
        ephemeral = True

        def clear(self) -> None:
            if "memory begins" not in steps:
                steps.append("memory begins")

        @Projection.applies(Changed)
        def changed(self, event: Changed, record: Record) -> None: ...

    app.projection(Shown)

    class Tracing:
        def rules(self) -> Iterator[tuple[type[BaseException], tuple[Solver, ...]]]:
            yield OSError, (self.solve, restart)

        async def solve(self, failure: Failure, hands: Hands) -> None:
            steps.append(f"plugin: {failure.message}")

        async def start(self, steps: Steps) -> None:
            steps.append("plugin begins")

        def stop(self) -> None:
            steps.append("plugin ends")

    async def solve(failure: Failure, hands: Hands) -> None:
        steps.append(f"rule: {failure.message}")

    app.plug(Tracing())
    app.supervise(ConnectionError, solve, restart)

    @app.supervise(roles=("server",))
    async def feed(steps: Steps) -> None:
        steps.append("feed")
        if len(errors) > steps.count("feed") - 1:
            raise errors[steps.count("feed") - 1]
        await asyncio.Event().wait()

    errors = [OSError("disk"), ConnectionError("line")]
    assert await run(app, lambda: steps.count("feed") == 3) == 0
    assert steps == [
        "plugin begins", "memory begins", "feed", "plugin: disk", "feed", "rule: line", "feed", "plugin ends",
    ]  # fmt: skip


async def test_a_part_that_cannot_be_mended_ends_the_process() -> None:
    """Beyond its own intensity it is the process's failure, that of the roles: in the end exit code 70."""
    app = App("supervised")
    runs: list[int] = []

    @app.supervise(intensity=Intensity(0, 60.0))
    async def hopeless() -> None:
        runs.append(1)
        raise ValueError("never")

    assert await run(app, lambda: False) == 70
    assert len(runs) == 4, "once, and after each of three recoveries"


def _with(*methods: str) -> type:
    """A class with these methods only."""
    return type("Half", (), {name: lambda self: None for name in methods})


def _decorate(app: App, function: Any, **options: Any) -> None:
    app.supervise(**options)(function)


async def _twice() -> None: ...


@pytest.mark.parametrize(
    ("declare", "told"),
    [
        (lambda app: _decorate(app, _with("start")), "needs the methods start() and stop()"),
        (lambda app: _decorate(app, _with("stop")), "needs the methods start() and stop()"),
        (lambda app: _decorate(app, _twice, name="server"), "give one another name="),
        (
            lambda app: _decorate(app, _twice, roles=("servers",)),
            "'servers' is none of consumer, server, gateway",
        ),
        (lambda app: _decorate(app, lambda: 1, name="x", ends=True), "ends= is for an async def"),
        (lambda app: app.supervise(_twice), "with parentheses"),
        (lambda app: app.supervise(_with("start", "stop")), "with parentheses"),
        (lambda app: app.supervise(OSError), "needs solvers"),
        (lambda app: app.plug(object()), "is no plugin"),
        (lambda app: app.plug(Path), "is no plugin"),
    ],
)
def test_slips_are_told_at_declaration(declare: Callable[[Any], None], told: str) -> None:
    """In one sentence with the cure."""
    with pytest.raises((DeclarationError, SupervisionError)) as caught:
        declare(App("supervised"))
    assert told in str(caught.value)


async def test_what_nothing_fills_is_told_before_anything_is_opened() -> None:
    """In every process, also in those where the part does not run."""
    app = App("supervised")

    @app.supervise(roles=("gateway",))
    async def feed(steps: Steps) -> None: ...

    with pytest.raises(DeclarationError, match="supervised part feed: nothing fills parameter steps"):
        await run(app, lambda: False)


def test_rules_take_the_shipped_solvers() -> None:
    """As the page on supervision has them."""
    app = App("supervised")
    app.supervise(ConnectionError, log, restart)
    assert app.declaration.supervised.rules == [(ConnectionError, (log, restart))]
