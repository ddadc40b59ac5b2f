"""Whatever is counted is shown: declared metrics are on the page, under the type that their name promises."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import Any

from skerry import App, Command, Event, Unit
from skerry.backends.memory.journal import MemoryJournal
from skerry.backends.memory.transport import MemoryHub
from skerry.http import Hub
from skerry.http.health import exposition
from skerry.http.limits import HubStats
from skerry.kernel.kernel import Kernel
from skerry.kernel.metrics import register_hub_metrics, register_memory_metrics
from skerry.kernel.settings import Settings
from skerry.telemetry import Registry
from skerry.testing import running


class Say(Command):
    key: str


class Said(Event):
    key: str


def talk() -> App:
    app = App("talk")
    app.live("/events")

    @app.handles(Say)
    def say(command: Say, unit: Unit) -> None:
        unit.emit(Said(command.key))

    @app.on(Said)
    def heard(event: Said) -> None: ...

    @app.reactor("echo", Said)
    def echo(event: Said) -> None: ...

    return app


def test_every_number_of_the_hub_is_shown() -> None:
    """Each field of its statistics is the value of a metric, those that grow as a counter."""
    registry, hub = Registry(), Hub()
    register_hub_metrics(registry, hub)
    for number, field in enumerate(fields(HubStats), 1000):
        setattr(hub.stats, field.name, number)
        shown = {
            metric.kind for metric in registry.collect() for each in metric.samples if each.value == number
        }
        wanted = "gauge" if field.name in ("listeners", "lag_seconds") else "counter"
        assert wanted in shown, f"HubStats.{field.name} is counted and shown nowhere"


async def test_every_declared_metric_is_on_the_page() -> None:
    """What the parts of a process declare can be read by Prometheus; `_total` is a counter, and a counter `_total`."""
    async with running(talk()) as world:
        await world.commands.send(Say("a"))
        page = (await world.client.get("/metrics")).text
        declared = {metric.name: metric.kind for metric in world.service(Kernel).registry.collect()}
    types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", page, re.MULTILINE))
    assert len(declared) > 30
    assert {name: types.get(name) for name in declared} == declared
    assert {
        name: kind for name, kind in types.items() if (kind == "counter") != name.endswith("_total")
    } == {}


async def test_the_write_path_counts() -> None:
    """A command, its event, its listener and its reactor leave their numbers."""
    async with running(talk()) as world:
        await world.commands.send(Say("a"))
        registry = world.service(Kernel).registry
        values = {sample.name: sample.value for m in registry.collect() for sample in m.samples}
    assert values["skerry_commands_decided_total"] == 1
    assert values["skerry_events_applied_total"] == 1
    assert values["skerry_memory_offset"] == 1


async def test_what_a_transport_throws_away_is_counted() -> None:
    """Where it counts that: hints that were not sent, and messages of another application."""

    class Wire:
        dropped, foreign = 3, 1

        def __init__(self, inner: Any) -> None:
            self._inner = inner

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inner, name)

    hub, journal = MemoryHub(), MemoryJournal()
    wire: Any = Wire(hub.endpoint("server-1"))
    kernel = Kernel(App("counted").declaration, Settings(warm_start=False), wire, journal, journal)
    register_memory_metrics(kernel)
    told = exposition(kernel.registry.collect()).decode()
    assert "skerry_hints_dropped_total 3" in told
    assert "skerry_foreign_messages_total 1" in told
