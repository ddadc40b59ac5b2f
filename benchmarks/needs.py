"""What the benchmarks need that is not a part of the development environment, and which figures fail without it."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from skerry.testing.services import available

NODE_PEERS = Path(__file__).parent.parent / "var" / "tars-peers" / "node_modules"


@dataclass(frozen=True, slots=True)
class Need:
    """Something that is there or not. `benchmarks`: those that cannot do without; `rows`: what is left out else."""

    name: str
    is_here: Callable[[], bool]
    benchmarks: tuple[str, ...]
    rows: str = "all rows"


def _program(*names: str) -> Callable[[], bool]:
    beside = Path(sys.executable).parent
    return lambda: any(shutil.which(name) is not None or (beside / name).exists() for name in names)


def _module(name: str) -> Callable[[], bool]:
    return lambda: importlib.util.find_spec(name) is not None


NEEDS = (
    Need("wrk", _program("wrk"), ("http_get", "hosting", "balancer")),
    Need("nginx", _program("nginx"), ("http_get",), "ratios to nginx"),
    Need("a C compiler (cc)", _program("cc"), ("fanout",), "ratio to a loop in C"),
    Need("Chromium", _program("chromium", "chromium-browser"), ("page",)),
    Need(
        "PostgreSQL",
        lambda: available("postgresql"),
        ("writes", "consumers", "reactors", "journals", "commits", "bridge", "mirrors"),
    ),
    Need("redis-server", _program("redis-server"), ("mirrors",), "rows of Redis"),
    Need("the client of Redis", _module("redis"), ("mirrors",), "rows of Redis"),
    Need("RabbitMQ", lambda: available("rabbitmq"), ("writes", "consumers", "rabbitmq")),
    Need(
        "Node.js with @tars/rpc",
        lambda: shutil.which("node") is not None and NODE_PEERS.exists(),
        ("tars_rpc",),
    ),
    Need("grpcio", _module("grpc"), ("tars_rpc",), "the row for orientation"),
    Need("tarsio", _module("tarsio"), ("tars_codec",), "ratio to tarsio"),
    Need("gunicorn", _module("gunicorn"), ("hosting",), "rows against gunicorn"),
    Need("waitress", _module("waitress"), ("hosting",), "rows against waitress"),
    Need("granian", _module("granian"), ("hosting",), "rows against granian"),
    Need("uwsgi", _program("uwsgi"), ("hosting",), "rows against uWSGI"),
)


def missing(chosen: Collection[str], needs: Collection[Need] = NEEDS) -> list[str]:
    """One line for each thing that these benchmarks lack."""
    lines = []
    for need in needs:
        wanted = [name for name in need.benchmarks if name in chosen]
        if wanted and not need.is_here():
            lines.append(f"MISSING: {need.name}; {need.rows} of {', '.join(wanted)} will not be measured")
    return lines
