"""Pages and docstrings are in plain words, and the linter that says so notices what is not."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def prose() -> Any:
    spec = importlib.util.spec_from_file_location("prose", ROOT / "scripts" / "prose.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_everything_is_in_plain_words(prose: Any) -> None:
    """`python scripts/prose.py` finds nothing; docs/vocabulary.md says what to write instead."""
    found = [line for path in prose.files() for line in prose.findings(path)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "sentence",
    [
        "Who asks for it gets it.",
        "The rest is sent to whoever listens.",
        "It logs what is none.",
        "The command is set aside.",
        "The link ends without a word.",
        "Whoever misses one reads the journal.",
        "Events are pushed; who misses one reads it.",
        "It keeps the lock and wakes who waits for it.",
        "Raises ValueError for a head that is none.",
        "Seen to by hand, it is done.",
        "Then it lets go of the file.",
    ],
)
def test_what_is_not_plain_is_found(prose: Any, tmp_path: Path, sentence: str) -> None:
    """In a paragraph of a page and in the docstring of a method alike."""
    page, module = tmp_path / "page.md", tmp_path / "module.py"
    page.write_text(f"# A page\n\nA first sentence. {sentence}\n")
    module.write_text(f'class A:\n    def b(self):\n        """First.\n\n        {sentence}\n        """\n')
    assert len(list(prose.findings(page))) == 1
    assert len(list(prose.findings(module))) == 1


@pytest.mark.parametrize(
    "sentence",
    ["What is wrong is logged.", "It goes on: What stands there is read.", "What waits is decided."],
)
def test_a_clause_is_no_subject_on_a_page(prose: Any, tmp_path: Path, sentence: str) -> None:
    """A sentence about "what is ..." names the thing instead; a question may begin so."""
    page = tmp_path / "page.md"
    page.write_text(f"# A page\n\nA first sentence. {sentence}\n")
    assert len(list(prose.findings(page))) == 1
    page.write_text("# A page\n\nA first sentence. What is next? What a view takes is listed below.\n")
    assert not list(prose.findings(page))


@pytest.mark.parametrize(
    "sentence",
    [
        "Who is next? Nobody.",
        "A client who asks gets it.",
        "`set aside` is a word.",
        'It says "who asks" in quotes.',
        "It follows the table, whoever writes to it.",
        "It returns None: there is none.",
        "A message that is none of ours is skipped.",
    ],
)
def test_what_is_plain_is_left(prose: Any, tmp_path: Path, sentence: str) -> None:
    """Questions, clauses with a noun, code and quotations."""
    page = tmp_path / "page.md"
    page.write_text(f"# A page\n\n{sentence}\n\n```text\nWho asks gets it.\n```\n")
    assert list(prose.findings(page)) == []
