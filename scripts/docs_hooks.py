"""For mkdocs: links to files of the repository that are no pages lead to the repository. The words behind the language
of a fence, which are for the tests (`python no-run`, `file=NAME`), are left out. `<!-- names of skerry.http -->` is
replaced by the reference of every name that can be imported from there.
"""

from __future__ import annotations

import ast
import posixpath
import re
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).parents[1] / "src"
REFERENCE = Path(__file__).parents[1] / "docs" / "reference"
_NAMES = re.compile(r"^<!-- names of ([\w.]+) -->$", re.MULTILINE)
_FENCE = re.compile(r"^( {0,3}`{3,}\w+) [^`\n]+$", re.MULTILINE)
_LINK = re.compile(r"(\]\()((?:\.\./)+[^)#\s]*)((?:#[^)\s]*)?\))")


def on_page_markdown(markdown: str, *, page: Any, config: Any, **_: Any) -> str:
    """The page as mkdocs is to read it; links within docs/ stay as they are."""
    here = posixpath.dirname(page.file.src_uri)

    def outside(match: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join("docs", here, match[2]))
        if path.startswith("docs/"):
            return match[0]
        return f"{match[1]}{config.repo_url}/blob/main/{path}{match[3]}"

    markdown = _NAMES.sub(
        lambda match: "\n\n".join(f"::: {match[1]}.{name}" for name in names_of(match[1])), markdown
    )
    return _FENCE.sub(r"\1", _LINK.sub(outside, markdown))


def names_of(face: str) -> list[str]:
    """The names that a face hands out, in the order of its table `_HOME`; nothing is imported for it. Of `skerry` those
    that no other page shows, under this name or that of another face."""
    place = SOURCE / face.replace(".", "/")
    path = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_HOME":
            names = list(ast.literal_eval(node.value))
            return names if face != "skerry" else [name for name in names if name not in elsewhere()]
    raise ValueError(f"{path} has no table _HOME")


def elsewhere() -> set[str]:
    """Names of `skerry` that pages of other subjects show: what is there by name, and what other faces hand out."""
    found = {"Restart", "WebSocket"}  # deprecated, and Starlette's
    for page in REFERENCE.glob("*.md"):
        text = page.read_text(encoding="utf-8")
        found.update(re.findall(r"^::: skerry\.(\w+)$", text, re.MULTILINE))
        for face in _NAMES.findall(text):
            found.update(names_of(face) if face != "skerry" else ())
    errors = ast.parse((SOURCE / "skerry" / "errors.py").read_text(encoding="utf-8")).body
    return found | {node.name for node in errors if isinstance(node, ast.ClassDef)}
