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
    """The names that a face hands out, in the order of its table `_HOME`; nothing is imported for it."""
    place = SOURCE / face.replace(".", "/")
    path = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_HOME":
            return list(ast.literal_eval(node.value))
    raise ValueError(f"{path} has no table _HOME")
