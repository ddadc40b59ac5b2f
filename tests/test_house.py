"""The house stands: imports go down the floors, rooms without waiting stay without it, names stay clear."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Set
from functools import cache
from pathlib import Path

import pytest

SRC = Path(__file__).parent.parent / "src"

FLOORS = {
    "errors": 0, "faces": 0, "provenance": 0, "options": 1, "plugins": 1,
    "clock": 1, "exchange": 1, "injection": 1, "position": 1, "emitter": 1, "telemetry": 1, "tracing": 1, "otel": 2,
    "messages": 2, "loop": 2, "http": 2, "balancing": 2,
    "journal": 3, "supervision": 3, "server": 3, "tars": 3,
    "bus": 4, "hosting": 4,
    "kernel": 5, "backends": 5, "bridge": 5,
    "app": 6, "roles": 6, "process": 6,
    "testing": 7, "settings": 7,
    "cli": 8,
}  # fmt: skip

PURE = [
    "errors.py", "options.py", "clock.py", "injection.py", "position.py", "provenance.py", "telemetry.py", "tracing.py",
    "balancing.py",
    "emitter/listeners.py", "emitter/emitter.py", "emitter/async_emitter.py",
    "emitter/stream.py",
    "messages/message.py", "messages/envelope.py", "messages/serializer.py", "loop/interests.py", "loop/timers.py",
    "loop/registrations.py",
    "exchange.py", "server/http1.py", "server/parser.py", "server/framing.py", "server/inflow.py", "server/ws13.py",
    "server/handshake.py", "server/frames.py", "server/actions.py", "server/strict.py", "server/deadlines.py",
    "http/lane.py", "http/reply.py", "http/auth.py", "http/problems.py", "http/openapi.py",
    "journal/journal.py", "journal/table.py", "journal/projection.py", "journal/hints.py", "journal/memory.py",
    "journal/epochs.py", "journal/place.py",
    "supervision/policy.py", "supervision/failure.py", "supervision/rules.py",
    "hosting/trend.py",
    "bus/transport.py", "bus/handlers.py", "bus/pipeline.py", "bus/batch.py", "bus/commit_notice.py",
    "kernel/lifecycle.py", "kernel/presence.py",
]  # fmt: skip

SHOWN = {"hosting/__init__.py": {"bridge"}}
"""Faces that hand names of an upper room through: loaded when they are used, imported for types only."""

FORBIDDEN_NAMES = re.compile(r"(^|/)(core|common|utils?|helpers?|base|misc)(\.py|/)")
DRIVERS = {"apsw", "sqlite3", "asyncpg", "aiormq", "pamqp", "sqlalchemy", "nats"}


@cache
def modules() -> list[Path]:
    return sorted(SRC.glob("skerry/**/*.py"))


def wing(path: Path) -> str:
    return path.relative_to(SRC / "skerry").parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Every module that a file imports, typing imports included."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            if node.module == "skerry":
                found.update(f"skerry.{alias.name}" for alias in node.names)
            else:
                found.add(node.module)
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(SRC)))
def test_floors_hold(path: Path) -> None:
    """A wing imports wings on lower floors only: no neighbour, nothing above."""
    here = wing(path)
    if here in ("__init__", "__main__"):
        return  # the face shows every room, the door leads to the command line
    assert here in FLOORS, f"wing {here} has no floor: give it one in FLOORS and in docs/architecture.md"
    for name in imports(path):
        if not name.startswith("skerry"):
            continue
        other = name.split(".")[1] if "." in name else "__init__"
        if other == here or other in SHOWN.get(str(path.relative_to(SRC / "skerry")), ()):
            continue
        assert other in FLOORS, f"{path}: imports {name}, import from the defining module instead"
        assert FLOORS[other] < FLOORS[here], f"wing {here} may not import wing {other} ({path.name}: {name})"


def test_no_circles() -> None:
    """No file imports, over whatever other files, one that imports it; typing imports count. Faces load by name."""
    arrows = {name_of(path): file_imports(path) for path in modules()}
    assert circles(arrows) == []


def name_of(path: Path) -> str:
    """The module's dotted name."""
    return ".".join(path.relative_to(SRC).with_suffix("").parts).removesuffix(".__init__")


@cache
def module_names() -> frozenset[str]:
    return frozenset(map(name_of, modules()))


@cache
def file_imports(path: Path) -> frozenset[str]:
    """The modules of ours that a file imports, the file itself left out; none of a face, which loads them lazily."""
    text = path.read_text(encoding="utf-8")
    if path.name == "__init__.py" and "lazily(" in text:
        return frozenset()
    known = module_names()
    found: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom):
            parts = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= parts & known or {str(node.module)}
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
    return (known & found) - {name_of(path)}


def circles(arrows: Mapping[str, Set[str]]) -> list[list[str]]:
    """What is left when everything that leads nowhere, or that nothing leads to, is taken away again and again."""
    left = {name: set(wanted) for name, wanted in arrows.items()}
    while True:
        wanted = set().union(*left.values()) if left else set()
        kept = {name for name, to in left.items() if to & left.keys() and name in wanted}
        if kept == left.keys():
            break
        left = {name: left[name] & kept for name in kept}
    return [sorted(left)] if left else []


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(SRC)))
def test_only_backends_know_drivers(path: Path) -> None:
    """Database and broker clients are imported in backends and nowhere else."""
    foreign = {name.split(".")[0] for name in imports(path)} & DRIVERS
    assert not foreign or wing(path) == "backends", (
        f"{path} imports {sorted(foreign)}: that belongs in backends"
    )


def said_to_be_pure() -> set[str]:
    """Files that say so in their docstring."""
    return {
        str(path.relative_to(SRC / "skerry"))
        for path in modules()
        if re.search(r"\bPure\b", ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "")
    }


@pytest.mark.parametrize("name", sorted({*PURE, *said_to_be_pure()}))
def test_thinking_does_not_wait(name: str) -> None:
    """Rooms that decide import no socket and no wall clock, and have no task of their own."""
    path = SRC / "skerry" / name
    if not path.exists():
        pytest.fail(f"{name} is in the plan of the house but not built")
    names = imports(path)
    assert not names & {"socket", "select", "selectors", "threading", "subprocess"}, f"{name} waits: {names}"
    if name != "clock.py":
        assert "time" not in names, f"{name} reads the wall clock; take a Clock"
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        called = node.func if isinstance(node, ast.Call) else None
        if isinstance(called, ast.Attribute):
            assert called.attr not in {"create_task", "ensure_future"}, f"{name} starts a task"


def test_no_drawer_for_odds_and_ends() -> None:
    """No core, common, utils, helpers or base: a wing is a noun, a file is a noun in it."""
    odd = [str(p) for p in modules() if FORBIDDEN_NAMES.search(str(p.relative_to(SRC)))]
    assert not odd


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(SRC)))
def test_a_module_says_what_it_is_for(path: Path) -> None:
    """Every module opens with a docstring."""
    text = path.read_text(encoding="utf-8")
    assert not text.strip() or ast.get_docstring(ast.parse(text)), f"{path} has no docstring"


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(SRC)))
def test_no_bare_tasks(path: Path) -> None:
    """Every task has an owner: the result of create_task is kept."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            called = node.value.func
            if isinstance(called, ast.Attribute) and called.attr == "create_task":
                owner, place = ast.unparse(called.value), f"{path}:{node.lineno}"
                assert owner in {"tasks", "group", "self._tasks", "nursery"}, f"{place}: a task without owner"


TWICE = {("hosting", "Command"), ("process", "Stop"), ("roles", "Control"), ("testing", "World")}
"""Names that Django wants so, of a message and an order, and of what extends the other one."""


def test_a_name_means_one_thing_in_a_wing() -> None:
    """No two public classes of a wing have a name; under `backends` and `tars` each directory is a wing of its own."""
    found: dict[tuple[str, str], int] = {}
    for path in modules():
        here = wing(path)
        place = str(path.parent) if here in ("backends", "tars") else here
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[place, node.name] = found.get((place, node.name), 0) + 1
    assert {name for name, number in found.items() if number > 1} == TWICE


FEW_LINES = 50
OF_THEIR_OWN = {
    "backends/postgres/bodies.py", "bus/batch.py", "hosting/errors.py", "http/failures.py", "process/seeds.py",
    "tars/web/counting.py",
}  # fmt: skip
"""Small files that one other imports, and that a reader looks for by their name: see decision 0055."""


def test_a_piece_stands_in_its_importer() -> None:
    """A small file that only one other imports is a noun of its own, or a part of that one. What is loaded by its name
    is imported by nobody: commands, plugins, faces."""
    texts = {name_of(path): path.read_text(encoding="utf-8") for path in modules()}
    arrows = {name_of(path): file_imports(path) for path in modules()}
    found = set()
    for path in modules():
        name, place = name_of(path), str(path.relative_to(SRC / "skerry"))
        importers = [other for other, wanted in arrows.items() if name in wanted]
        is_named = any(f'"{name}' in text for other, text in texts.items() if other != name)
        if (
            len(importers) == 1
            and not is_named
            and texts[name].count("\n") <= FEW_LINES
            and path.name != "__init__.py"
        ):
            found.add(place)
    assert found <= OF_THEIR_OWN, "fold it into its importer, or say in OF_THEIR_OWN that it is a noun"
    assert found >= OF_THEIR_OWN, "it has grown, or others import it: take it out of OF_THEIR_OWN"


PAGE = (Path(__file__).parents[1] / "docs" / "architecture.md").read_text(encoding="utf-8")


def rows(heading: str) -> list[list[str]]:
    """The cells of the table below a heading of the architecture page, without its head."""
    below = PAGE.split(f"{heading}\n", 1)[1].split("\n#", 1)[0].splitlines()
    return [line.strip("|").split("|") for line in below if line.startswith("|")][2:]


def test_the_page_has_every_wing() -> None:
    """Each on its floor, and with what it holds: the way from a subject to a room begins there."""
    floors = {
        name: int(floor) for floor, wings in rows("## Floors") for name in re.findall(r"`(\w+)`", wings)
    }
    assert floors == {**FLOORS, "livekv": 7}
    shown = {name for first, *_ in rows("## Rooms") for name in re.findall(r"`(\w+)`", first)}
    assert shown == FLOORS.keys()


def named_files() -> dict[str, set[str]]:
    """What the page names of each wing, files and directories; in parentheses stands what is in one."""
    place, named = "", dict[str, set[str]]()
    for subject, files in rows("### Files"):
        place = next(iter(re.findall(r"\*\*`(\w+)`", subject)), place)
        named.setdefault(place, set()).update(re.findall(r"`([\w/.]+)`", re.sub(r"\(.*?\)", "", files)))
    return named


def test_the_page_names_every_file() -> None:
    """Under a subject, so that the room of a thought is found without a search. Directories within a wing, which have a
    technology or a framework each, are named as a whole."""
    named = named_files()
    for directory in sorted(path.parent for path in SRC.glob("skerry/*/__init__.py")):
        files = {path.stem for path in directory.glob("*.py")} - {"__init__"}
        assert files - named.get(directory.name, set()) == set(), directory.name


def test_the_page_names_files_that_are_there() -> None:
    """And directories, and statements of SQL."""
    for wing_, files_ in named_files().items():
        there = {str(p.relative_to(SRC / "skerry" / wing_)) for p in (SRC / "skerry" / wing_).rglob("*")}
        stems = {name.removesuffix(".py") for name in there}
        stems |= {part for name in there for part in (Path(name).stem, Path(name).name)}
        missing = {name for name in files_ if name.rstrip("/") not in stems | there}
        assert missing == set(), wing_
