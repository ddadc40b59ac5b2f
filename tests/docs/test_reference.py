"""The reference is whole: every public name has its place, every page its entry in the site's contents."""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

import skerry
from skerry import errors

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
FACES = [
    "skerry.http",
    "skerry.testing",
    "skerry.supervision",
    "skerry.hosting",
    "skerry.tars",
    "skerry.settings",
]
ELSEWHERE = {"Restart", "WebSocket"}
"""Names of `skerry` that are deprecated, or Starlette's."""


def shown() -> Counter[str]:
    """What the pages of the reference show, by its full name, as the site has them."""
    found: Counter[str] = Counter()
    for page in (DOCS / "reference").glob("*.md"):
        text = page.read_text(encoding="utf-8")
        found.update(re.findall(r"^::: (\S+)", text, re.MULTILINE))
        for face in re.findall(r"^<!-- names of (\S+) -->$", text, re.MULTILINE):
            found.update(f"{face}.{name}" for name in hooks().names_of(face))
    return found


def hooks() -> Any:
    """What mkdocs calls for each page."""
    spec = importlib.util.spec_from_file_location("docs_hooks", ROOT / "scripts" / "docs_hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("face", FACES)
def test_every_name_of_a_face_is_shown(face: str) -> None:
    """What can be imported is described, once."""
    names = {f"{face}.{name}" for name in importlib.import_module(face).__all__}
    found = {name: number for name, number in shown().items() if name.rpartition(".")[0] == face}
    assert found == dict.fromkeys(names, 1)


def test_every_name_of_the_framework_s_face_is_shown() -> None:
    """The same for `skerry`: under its own name, or by another face, or with the tree of errors."""
    found = {name.rpartition(".")[2] for name in shown()} | set(vars(errors))
    assert set(skerry.__all__) - ELSEWHERE - found == set()


def test_every_page_is_in_the_contents() -> None:
    """mkdocs.yml lists each page once, but for single decisions."""

    def pages(entry: Any) -> list[str]:
        if isinstance(entry, str):
            return [entry]
        return [
            page for each in (entry.values() if isinstance(entry, dict) else entry) for page in pages(each)
        ]

    listed = pages(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"])
    there = {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md") if page.parent.name != "decisions"}
    assert sorted(listed) == sorted(there | {"decisions/index.md"})
