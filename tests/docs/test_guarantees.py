"""Every sentence of the pages of guarantees and processes names the tests that prove it, on each pair of backends."""

from __future__ import annotations

import ast
import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PAGES = {
    name: tomllib.loads(Path(__file__).with_name(f"{name}.toml").read_text())["sentence"]
    for name in ("guarantees", "processes")
}
pages = pytest.mark.parametrize("page", PAGES)


def sentences(page: str) -> list[str]:
    """The sentences of a page in Markdown; each row of a table is one, what stands in a block of code is none."""
    found: list[str] = []
    paragraph: list[str] = []

    def end() -> None:
        text = " ".join(paragraph).strip()
        paragraph.clear()
        found.extend(part for part in re.split(r"(?<=[.!?])\s+(?=[A-Z`\"])", text) if part)

    is_code = False
    for line in (line.strip() for line in _plain(page).splitlines()):
        is_fence = line.startswith("```")
        is_code ^= is_fence
        if not line or line.startswith("#") or is_fence or is_code:
            end()
        elif line.startswith("|"):
            end()
            if not set(line) <= set("|- "):
                found.append(line.strip("| "))
        else:
            if line.startswith("- "):
                end()
            paragraph.append(line.removeprefix("- "))
    end()
    return found


def _plain(page: str) -> str:
    return re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", page).replace("**", "")


@cache
def names_in(file: str) -> frozenset[str]:
    tree = ast.parse((ROOT / file).read_text())
    functions = (each for each in ast.walk(tree) if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef))
    return frozenset(each.name for each in functions if each.name.startswith("test_"))


@pages
def test_every_sentence_is_in_the_table(page: str) -> None:
    """A sentence that is added or changed needs a look at what proves it, in the table of its page."""
    said = sentences((ROOT / "docs" / f"{page}.md").read_text())
    listed = [row["text"] for row in PAGES[page]]
    assert [each for each in said if each not in listed] == [], f"not in {page}.toml"
    assert [each for each in listed if each not in said] == [], f"no longer in {page}.md"


@pages
def test_every_promise_has_its_tests_on_every_pair(page: str) -> None:
    """Each names tests that exist: for every pair, or for the one pair that it is about."""
    missing = []
    for row in PAGES[page]:
        named = [ref for pair in ("everywhere", "embedded", "servers") for ref in row.get(pair, ())]
        missing += [f"{ref}: no such test" for ref in named if not _exists(ref)]
        if not _covered(row):
            missing.append(f"no test on one of the pairs: {row['text'][:80]}")
    assert missing == []


def _covered(row: dict[str, Any]) -> bool:
    if row.get("definition") or row.get("everywhere"):
        return True
    pairs = [row["only"]] if "only" in row else ["embedded", "servers"]
    return all(row.get(pair) for pair in pairs)


def _exists(ref: str) -> bool:
    file, _, name = ref.partition("::")
    return (ROOT / file).is_file() and name in names_in(file)
