"""What type checkers say about users' programs: nothing of those that are right, and where the wrong ones are wrong.

`programs/` and what the pages show are checked as a user would, from outside of this repository's settings.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from mypy import api
from tests.docs.pages import name_of, pages
from tests.typing.written import programs_of

PROGRAMS = Path(__file__).parent / "programs"
PAGES = [page for page in pages() if programs_of(page)]
Found = dict[str, dict[int, str]]
"""File -> line -> message."""
LOADED = re.compile(r'Name "\w+\.\w+" is not defined|has type "Any"')
"""What mypy says of an interface that is loaded at run time; docs/tars.md says to generate modules for it."""


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Directories with all programs; a page whose files are called as those of another one is in the next directory."""
    shelves: list[dict[str, str]] = [{path.name: path.read_text("utf-8") for path in PROGRAMS.glob("*.py")}]
    for page in PAGES:
        programs = programs_of(page)
        shelf = next((each for each in shelves if not each.keys() & programs.keys()), None)
        if shelf is None:
            shelves.append(shelf := {})
        shelf |= programs
    found = []
    for shelf in shelves:
        found.append(here := tmp_path_factory.mktemp("programs"))
        for name, text in shelf.items():
            (here / name).write_text(text, encoding="utf-8")
    return found


@pytest.fixture(scope="module")
def by_mypy(written: list[Path]) -> Found:
    """What `mypy --strict` reports."""
    found: Found = {}
    for here in written:
        files = sorted(str(path) for path in here.glob("*.py"))
        cache = written[0] / "cache"
        out, err, _ = api.run(["--strict", "--config-file=", f"--cache-dir={cache}", *files])
        assert not err
        for line in out.splitlines():
            match = re.match(r"(.*):(\d+): error: (.*)", line)
            if match is not None and not LOADED.search(match[3]):
                found.setdefault(Path(match[1]).name, {})[int(match[2])] = match[3]
    return found


@pytest.fixture(scope="module")
def by_pyright(written: list[Path]) -> Found:
    """What pyright reports, as editors show it."""
    found: Found = {}
    for here in written:
        command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, str(here)]
        done = subprocess.run(command, cwd=here, capture_output=True, text=True, timeout=240, check=False)
        told = json.loads(done.stdout)
        assert told["summary"]["filesAnalyzed"] == len(list(here.glob("*.py")))
        for each in told["generalDiagnostics"]:
            if each["severity"] == "error":
                line = each["range"]["start"]["line"] + 1
                found.setdefault(Path(each["file"]).name, {})[line] = each["message"]
    return found


@pytest.fixture(params=["mypy", "pyright"])
def reported(request: pytest.FixtureRequest) -> Found:
    found: Found = request.getfixturevalue(f"by_{request.param}")
    return found


def test_a_program_that_is_right_is_clean(reported: Found) -> None:
    """Every form that the decorators take passes."""
    assert "right.py" not in reported


def test_every_planted_mistake_is_found(reported: Found) -> None:
    """Thirty-four mistakes, each reported on its own line, and nothing else."""
    lines = (PROGRAMS / "mistakes.py").read_text(encoding="utf-8").splitlines()
    planted = {number for number, line in enumerate(lines, 1) if "# mistake:" in line}
    assert len(planted) == 34
    assert set(reported["mistakes.py"]) == planted


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_programs_of_a_page_are_typed(page: Path, reported: Found) -> None:
    """Newcomers copy them."""
    assert {name: reported[name] for name in programs_of(page) if name in reported} == {}
