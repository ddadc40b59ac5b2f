"""The face: what an application imports is there, cheap to import, and known to type checkers."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import warnings
from importlib import import_module
from pathlib import Path

import pytest

import skerry

PROMISED = (
    "App Command Query Event Table Unit Projection Reactor Journal Position Request Response WebSocket Hub "
    "EventEmitter Loop Supervisor Restart Plugin Role Settings Receipt SkerryError"
)


ROOT = Path(__file__).parents[1]
FACES = (
    "skerry", "skerry.tars", "skerry.http", "skerry.testing", "skerry.supervision", "skerry.journal",
    "skerry.messages", "skerry.settings", "skerry.roles", "skerry.backends",
    "skerry.backends.sqlite", "skerry.backends.rabbitmq", "skerry.backends.postgres",
    "skerry.hosting", "skerry.hosting.django", "skerry.hosting.flask",
)  # fmt: skip
FLAT = re.compile(r"skerry(\.\w+)?|skerry\.(backends|hosting)\.\w+")
DEEP = re.compile(r"^\s*(?:from|import) (skerry[\w.]*)", re.MULTILINE)
READ = [
    ROOT / "README.md",
    *(each for each in (ROOT / "docs").rglob("*.md") if each.parent.name != "decisions"),
    *(each for each in (ROOT / "examples").rglob("*.py") if ".venv" not in each.parts),
]


def typed_names(face: str = "skerry") -> set[str]:
    """What a face shows to type checkers: the names of its `if TYPE_CHECKING` block."""
    tree = ast.parse(Path(str(import_module(face).__file__)).read_text(encoding="utf-8"))
    [block] = [node for node in tree.body if isinstance(node, ast.If)]
    found: set[str] = set()
    for node in block.body:
        if isinstance(node, ast.ImportFrom):
            # Only `X as X` is passed on, by the rule of type checkers; an underscore is for the block itself.
            found |= {a.asname for a in node.names if a.asname is not None and a.asname == a.name}
        elif isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return found


def test_what_a_newcomer_imports_is_there() -> None:
    """The house's list, in one import line."""
    assert set(PROMISED.split()) <= set(skerry.__all__)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", skerry.__all__)
def test_every_name_is_there(name: str) -> None:
    """Loaded when it is first used, and the same object afterwards."""
    first = getattr(skerry, name)
    assert getattr(skerry, name) is first
    assert first.__doc__ or name == "WebSocket"  # Starlette's own


@pytest.mark.parametrize("face", FACES)
def test_type_checkers_see_the_same_names(face: str) -> None:
    """What can be imported at run time can be imported in typed code."""
    module = import_module(face)
    assert typed_names(face) == set(module.__all__)
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        assert all(hasattr(module, name) for name in module.__all__)


@pytest.mark.parametrize("name", ["Hub", "Restart"])
def test_a_name_that_leads_nowhere_says_where_to_go(name: str) -> None:
    """Public names stay, with a warning that names what to import instead, at the line of whoever uses them."""
    with pytest.warns(DeprecationWarning, match=rf"skerry\.{name} is deprecated: .*from skerry\.") as told:
        getattr(skerry, name)
    assert told[0].filename == __file__


@pytest.mark.parametrize("path", READ, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_is_read_imports_flat_addresses(path: Path) -> None:
    """README, pages, examples and livekv import from faces only: newcomers copy what they see."""
    deep = {name for name in DEEP.findall(path.read_text(encoding="utf-8")) if not FLAT.fullmatch(name)}
    assert not deep


def test_what_is_not_there_is_an_attribute_error() -> None:
    """As for any module, so that `hasattr` and tab completion work."""
    with pytest.raises(AttributeError, match="module 'skerry' has no 'Manager'"):
        _ = skerry.Manager
    assert not hasattr(skerry, "__wrapped__")


def test_importing_the_face_loads_no_house() -> None:
    """A tool that needs one room does not pay for all: no web framework, no database, no event loop."""
    code = (
        "import sys, skerry, skerry.http, skerry.testing, skerry.supervision, skerry.errors;"
        "heavy = {'starlette', 'uvicorn', 'apsw', 'asyncpg', 'aiormq', 'asyncio', 'click'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert out.stdout.strip() == "[]"


def test_the_runner_loads_nothing_that_only_its_processes_run() -> None:
    """`skerry up` starts sooner, and its first process takes 8 MiB less, without what serves and decides."""
    code = (
        "import sys, skerry.cli.processes;"
        "heavy = {'skerry.kernel.kernel', 'skerry.http.application', 'skerry.journal.projector', 'prometheus_client'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert out.stdout.strip() == "[]"
