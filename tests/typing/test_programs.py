"""What a type checker says about users' programs: nothing of those that are right, and where the wrong ones are wrong.

`programs/` is checked as a user would, from outside of this repository's settings.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from mypy import api
from tests.docs.pages import blocks

ROOT = Path(__file__).parents[2]
PROGRAMS = Path(__file__).parent / "programs"
FRONT = [(ROOT / "README.md", "counter.py"), (ROOT / "docs" / "tutorial.md", "store.py")]

FIRST_BLOCKS = [
    page
    for page in sorted([*(ROOT / "docs").glob("*.md"), *(ROOT / "docs" / "event-core").glob("*.md")])
    if page.name != "tutorial.md" and any(block.is_run for block in blocks(page))
]


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[int, str]]:
    """What `mypy --strict` reports of every program: file -> line -> message."""
    here = tmp_path_factory.mktemp("programs")
    for program in PROGRAMS.glob("*.py"):
        shutil.copy(program, here)
    for page, name in FRONT:
        written = [block for block in blocks(page) if block.file is not None and block.file.endswith(".py")]
        for block in written:
            with (here / str(block.file)).open("a", encoding="utf-8") as file:
                file.write(block.text)
        assert (here / name).exists()
    for page in FIRST_BLOCKS:
        first = next(block for block in blocks(page) if block.is_run)
        (here / f"{page.stem.replace('-', '_')}_page.py").write_text(first.text, encoding="utf-8")
    files = sorted(str(path) for path in here.glob("*.py"))
    out, err, _ = api.run(["--strict", "--config-file=", f"--cache-dir={here / 'cache'}", *files])
    assert not err
    found: dict[str, dict[int, str]] = {Path(path).name: {} for path in files}
    for line in out.splitlines():
        match = re.match(r"(.*):(\d+): error: (.*)", line)
        if match is not None:
            found.setdefault(Path(match[1]).name, {})[int(match[2])] = match[3]
    return found


def test_a_program_that_is_right_is_clean(reported: dict[str, dict[int, str]]) -> None:
    """Every form that the decorators take passes `mypy --strict`."""
    assert reported["right.py"] == {}


def test_every_planted_mistake_is_found(reported: dict[str, dict[int, str]]) -> None:
    """Thirty-four mistakes, each reported on its own line, and nothing else."""
    lines = (PROGRAMS / "mistakes.py").read_text(encoding="utf-8").splitlines()
    planted = {number for number, line in enumerate(lines, 1) if "# mistake:" in line}
    assert len(planted) == 34
    assert set(reported["mistakes.py"]) == planted


@pytest.mark.parametrize("name", ["counter.py", "store.py", "test_store.py"])
def test_the_front_examples_are_typed(name: str, reported: dict[str, dict[int, str]]) -> None:
    """README's application and the tutorial's pass `mypy --strict`: newcomers copy them."""
    assert reported[name] == {}


@pytest.mark.parametrize("page", FIRST_BLOCKS, ids=lambda page: page.stem)
def test_the_first_block_of_a_page_is_typed(page: Path, reported: dict[str, dict[int, str]]) -> None:
    """What a page shows first passes `mypy --strict` as it stands."""
    assert reported[f"{page.stem.replace('-', '_')}_page.py"] == {}
