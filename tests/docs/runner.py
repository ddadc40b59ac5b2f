"""Runs the Python blocks of one page in order, in one namespace: `python runner.py PAGE`, in an empty directory.

A program of its own, so that a page can neither disturb the tests nor hang them.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.docs.pages import Block, blocks


def run(page: Path) -> int:
    """Run the blocks of `page`; returns how many. What a block raises names the page and its line."""
    sys.path[0] = str(Path.cwd())  # a page has nothing to do with this repository's directory
    module = ModuleType("__main__")
    sys.modules["__main__"] = module  # msgspec and dataclasses look annotations up by module
    count = 0
    for block in blocks(page):
        if block.file is not None:
            write(block, block.file)
        elif block.language == "python":
            code = compile(block.source, str(page), "exec")
            if not block.is_run:
                continue
            exec(code, module.__dict__)
        else:
            continue
        count += 1
    return count


def write(block: Block, name: str) -> None:
    """Add the block to a file and import it anew, so that the following blocks see it as it is now."""
    path = Path(name)
    with path.open("a", encoding="utf-8") as file:
        file.write(block.text)
    if path.suffix == ".py":
        sys.modules.pop(path.stem, None)
        importlib.invalidate_caches()
        sys.dont_write_bytecode = True
        importlib.import_module(path.stem)


if __name__ == "__main__":
    print(run(Path(sys.argv[1])), "blocks")
