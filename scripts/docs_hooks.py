"""For mkdocs: links to files of the repository that are no pages lead to the repository, and the words behind the
language of a fence, which are for the tests (`python no-run`, `file=NAME`), are left out."""

from __future__ import annotations

import posixpath
import re
from typing import Any

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

    return _FENCE.sub(r"\1", _LINK.sub(outside, markdown))
