"""Which tests belong to which part of `src/skerry`: those that have to notice what is changed there."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "skerry"

ROOMS = {
    "app.py": ["test_app.py"],
    "balancing.py": ["test_balancing.py"],
    "bridge": ["bridge"],
    "bus": ["bus"],
    "bus/intake.py": ["bridge"],
    "cli": ["cli"],
    "clock.py": ["test_clock.py"],
    "emitter": ["test_emitter.py", "test_emitter_async.py", "test_emitter_model.py"],
    "errors.py": ["test_errors.py"],
    "exchange.py": ["server"],
    "hosting": ["hosting", "testing/test_wsgi.py"],
    "http": ["http"],
    "injection.py": ["test_injection.py", "kernel/test_scoped_services.py"],
    "journal": ["journal", "backends/test_memory_journal.py"],
    "journal/mirror.py": ["bridge"],
    "kernel": ["kernel"],
    "loop": ["loop"],
    "messages": ["messages"],
    "options.py": ["kernel/test_settings.py"],
    "plugins.py": ["test_plugins.py"],
    "position.py": ["test_position.py"],
    "process": ["process"],
    "provenance.py": ["kernel/test_who.py"],
    "roles": ["roles"],
    "server": ["server"],
    "settings.py": ["kernel/test_settings.py"],
    "supervision": ["supervision"],
    "tars": ["tars/test_*.py"],
    "tars/idl": ["tars/idl"],
    "tars/platform": ["tars/platform"],
    "tars/web": ["tars/web", "roles/test_tars_web.py"],
    "tars/wire": ["tars/wire"],
    "telemetry.py": ["test_telemetry.py"],
    "tracing.py": ["test_tracing.py"],
    "otel.py": ["kernel/test_tracing.py"],
    "faces.py": ["test_face.py"],
    "backends": [
        "backends/test_migrations.py",
        "backends/test_memory_transport.py",
        "backends/test_local.py",
        "backends/test_queues.py",
        "backends/test_supervisor.py",
    ],
    "backends/local": ["backends/test_local.py"],
    "backends/packets.py": ["backends/test_rabbitmq_packets.py"],
    "backends/memory": ["backends/test_memory_journal.py", "backends/test_memory_transport.py"],
    "backends/postgres": ["backends/test_postgres*.py"],
    "backends/rabbitmq": ["backends/test_rabbitmq*.py"],
    "backends/sqlite": ["backends/test_sqlite*.py", "backends/test_upkeep.py"],
}
"""Parts of src/skerry, and the files and directories of tests/ that are theirs (glob patterns)."""

WITH_SERVICES = {
    "bridge",
    "bus/intake.py",
    "cli",
    "journal/mirror.py",
    "process",
    "backends/postgres",
    "backends/rabbitmq",
    "tars",
    "tars/platform",
    "tars/web",
}
"""Parts whose tests start servers or processes: minutes, not seconds."""


def room_of(path: Path) -> str | None:
    """The part that a file of src/skerry is in; None for the few that have no tests of their own."""
    name = str(path.relative_to(SOURCE))
    fitting = [room for room in ROOMS if name == room or name.startswith(room + "/")]
    return max(fitting, key=len, default=None)


def modules_of(room: str) -> list[Path]:
    """The files of a part, without those of a part within it."""
    place = SOURCE / room
    files = sorted(place.rglob("*.py")) if place.is_dir() else [place]
    return [path for path in files if room_of(path) == room]


def suite_of(room: str, tree: Path = ROOT) -> list[Path]:
    """The files and directories of tests of a part, in this tree."""
    return [path for pattern in ROOMS[room] for path in sorted((tree / "tests").glob(pattern))]
