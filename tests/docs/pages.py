"""Reads the documentation as Markdown: its code blocks, links and commands. Runs nothing.

A fence says what becomes of its block: `python` is run, `python no-run` is only compiled, with `file=NAME` it is added
to the end of that file (in any language); `console` shows commands.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

_FENCE = re.compile(r"^(?P<indent> {0,3})(?P<ticks>`{3,})(?P<info>[^`]*)$")
_LINK = re.compile(r"(?<!\!)\[[^\]]*\]\(([^)\s]+)(?:\s+\"[^\"]*\")?\)|!\[[^\]]*\]\(([^)\s]+)\)")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block. `line`: that of its first line of content, counted from 1."""

    language: str
    words: tuple[str, ...]
    text: str
    line: int

    @property
    def file(self) -> str | None:
        """The file that this block is added to."""
        return next((word.removeprefix("file=") for word in self.words if word.startswith("file=")), None)

    @property
    def is_run(self) -> bool:
        return self.language == "python" and "no-run" not in self.words

    @property
    def source(self) -> str:
        """The code, on the lines of the page, so that a traceback names them."""
        return "\n" * (self.line - 1) + self.text


def pages() -> list[Path]:
    """The pages at the top of the repository and everything under docs/."""
    return [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order. Raises ValueError for a fence that is not closed."""
    return _split(page)[0]


def prose(page: Path) -> str:
    """The page without its blocks."""
    return _split(page)[1]


def _split(page: Path) -> tuple[list[Block], str]:
    found: list[Block] = []
    outside: list[str] = []
    opened: re.Match[str] | None = None
    lines: list[str] = []
    start = 0
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        fence = _FENCE.match(line)
        if opened is None:
            if fence is None:
                outside.append(line)
            else:
                opened, lines, start = fence, [], number + 1
        elif fence is not None and not fence["info"].strip() and len(fence["ticks"]) >= len(opened["ticks"]):
            language, *words = opened["info"].split() or [""]
            found.append(Block(language, tuple(words), textwrap.dedent("\n".join(lines)) + "\n", start))
            opened = None
        else:
            lines.append(line)
    if opened is not None:
        raise ValueError(f"{page}:{start - 1}: a code block without an end")
    return found, "\n".join(outside)


def links(page: Path) -> list[str]:
    """The targets of links and images, without code in backticks."""
    text = re.sub(r"`[^`\n]*`", "", prose(page))
    return [first or second for first, second in _LINK.findall(text)]


def anchors(page: Path) -> set[str]:
    """What `#...` may name on a page, as GitHub makes it of headings."""
    found: set[str] = set()
    for line in prose(page).splitlines():
        if line.startswith("#"):
            text = re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", line.lstrip("#").strip().lower())
            found.add(re.sub(r"[^\w\- ]", "", text).replace(" ", "-"))
    return found


def commands(page: Path) -> list[tuple[int, list[str]]]:
    """`skerry ...` as shown in console and sh blocks and in backticks: (line, words after `skerry`)."""
    found: list[tuple[int, list[str]]] = []
    for block in blocks(page):
        if block.language in ("console", "sh", "bash", "shell"):
            for number, line in enumerate(block.text.splitlines(), block.line):
                found += [(number, words) for words in _skerry(line.lstrip("$# "))]
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        for code in re.findall(r"`(skerry [^`]+)`", line):
            found += [(number, words) for words in _skerry(code)]
    return found


def _skerry(line: str) -> Iterator[list[str]]:
    """The words after each `skerry` that a shell would start."""
    for part in re.split(r" (?:&&|\|\||\||;|&)(?: |$)", line):
        words = part.split()
        while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
            words = words[1:]
        if words and words[0] == "skerry":
            yield words[1:]
