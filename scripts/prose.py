"""Checks the prose of documentation pages and docstrings: `python scripts/prose.py [FILE]...`, part of `make lint`.

What it refuses: relative clauses that stand for a noun ("who asks", "what is none"), and the expressions in the last
column of docs/vocabulary.md, which says what to write instead; on pages also sentences with such a clause as their
subject ("What is wrong is logged"). Code, commands and quotations are left out. Exit code 1 with one line for each
finding.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
VOCABULARY = ROOT / "docs" / "vocabulary.md"
UNSEEN = {"CHANGELOG.md"}
"""Pages that are not checked: what was released is not written anew."""

CHECKED = ["src", "examples", "scripts"]
"""The directories whose docstrings are checked."""

_VERBS = r"[a-z]+(?:s|ed)\b|can\b|could\b|may\b|might\b|must\b|will\b|would\b|did\b|read\b|sent\b"
CLAUSES = {
    r"(?:^|[.:;(] )Who (?:"
    + _VERBS
    + ")": 'a clause for a noun: write "a client that ...", "a caller that ..."',
    r"\b(?:to|of|for|by|from|with|than|and|or|lets?|tells?|told) who (?:" + _VERBS + ")": (
        'a clause for a noun: write "a client that ...", "a caller that ..."'
    ),
    r"; who (?:" + _VERBS + ")": 'a clause for a noun: write "a client that ...", "a caller that ..."',
    r"(?<!, )\b[Ww]hoever (?!wrote|writes)": 'a clause for a noun: write "the process that ...", "every client ..."',
    r"\b(?:answers?|asks?|calls?|gives?|holds?|keeps?|lets?|refuses?|serves?|stops?|tells?|wakes?) who (?:"
    + _VERBS
    + ")": 'a clause for a noun: write "a client that ...", "a caller that ..."',
    r"\b(?:what|which|that|it|they|one) (?:is|are|was|were) none\b(?! of)": (
        'name the thing: "malformed", "no server", not what it is none of'
    ),
}

SUBJECTS = {
    r"(?:^|[.:;] )What (?:is|are|was|were|has|had|may|must|can|cannot|stands?|comes?|goes|happens|follows|waits)\b": (
        'a clause for a noun: "rows that ...", "the data that ...", or say who does it'
    ),
}
"""What is looked for on pages only: in docstrings there is more of it than the rule is worth."""

LEFT_ALONE = {"benchmarks.md", "machines.md"}
"""Pages that still have such subjects. Decision records keep theirs, as they are not written anew."""


def banned() -> dict[str, str]:
    """The expressions of the vocabulary's last columns, each as a pattern, and the word that stands in its row."""
    found: dict[str, str] = {}
    for line in VOCABULARY.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and len(cells) > 1:
            for text in re.findall(r"`([^`]+)`", cells[-1]):
                found[rf"\b{re.escape(text)}\b"] = f"docs/vocabulary.md: {cells[0]}"
    return found


def paragraphs_of(page: Path) -> Iterator[tuple[int, str]]:
    """The paragraphs of a page with their lines: no fences, code, quotations or links' targets."""
    fenced, start, lines = False, 1, list[str]()
    for number, line in enumerate([*page.read_text(encoding="utf-8").splitlines(), ""], 1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        ends = fenced or not line.strip() or line.lstrip().startswith(("#", "|", "```", "- ", "* "))
        if ends and lines:
            yield start, " ".join(lines)
            lines = []
        if not fenced and line.strip() and not line.lstrip().startswith(("#", "```")):
            start = number if not lines else start
            lines.append(line.strip())


def docstrings_of(module: Path) -> Iterator[tuple[int, str]]:
    """The docstrings of a module, also those below attributes, with the lines where their paragraphs begin."""
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        ):
            line = node.lineno
            for paragraph in inspect.cleandoc(node.value.value).split("\n\n"):
                if not paragraph.startswith("    "):  # else an example
                    yield line, " ".join(paragraph.split())
                line += paragraph.count("\n") + 2


def plain(text: str) -> str:
    """The sentence without code, quotations and addresses of links."""
    text = re.sub(r"``?[^`]*``?", "CODE", text)
    text = re.sub(r"\"[^\"]*\"|“[^”]*”", "QUOTE", text)
    return re.sub(r"\]\([^)]*\)", "]", text)


def findings(path: Path) -> Iterator[str]:
    """What is to be written otherwise in a page or a module."""
    words = {} if path == VOCABULARY else banned()
    is_page = path.suffix == ".md" and path.name not in LEFT_ALONE and path.parent.name != "decisions"
    patterns = {**CLAUSES, **words, **(SUBJECTS if is_page else {})}
    paragraphs = docstrings_of(path) if path.suffix == ".py" else paragraphs_of(path)
    for line, paragraph in paragraphs:
        text = plain(paragraph)
        for pattern, cure in patterns.items():
            for match in re.finditer(pattern, text, re.IGNORECASE if pattern in words else 0):
                if "?" in re.split(r"[.;:] ", text[match.start() + 2 :])[0]:
                    continue  # a question
                around = text[max(0, match.start() - 30) : match.end() + 30]
                yield f"{path.relative_to(ROOT) if path.is_relative_to(ROOT) else path}:{line}: ...{around}...: {cure}"


def files() -> list[Path]:
    """The pages and modules that are checked."""
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    modules = [path for place in CHECKED for path in (ROOT / place).rglob("*.py")]
    return sorted(path for path in [*pages, *modules] if path.name not in UNSEEN)


def main(names: list[str]) -> int:
    found = [
        line for path in ([Path(name).resolve() for name in names] or files()) for line in findings(path)
    ]
    print(*found, sep="\n" if found else "", end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
