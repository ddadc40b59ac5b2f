"""What the pages of the documentation show, as programs that a type checker can read.

A block that uses names of earlier ones is one program with them; one that brings its own is a program of its own.
Blocks that are added to a file are that file.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator
from pathlib import Path

from tests.docs.pages import Block, blocks, name_of


def programs_of(page: Path) -> dict[str, str]:
    """The programs of a page, by the names of their files."""
    found: dict[str, str] = {}
    for block in blocks(page):
        if block.file is not None and block.file.endswith(".py"):
            found[block.file] = found.get(block.file, "") + block.text
    stem = name_of(page).removesuffix(".md").replace("/", "_").replace("-", "_").lower()
    for group in groups([block for block in blocks(page) if block.is_run and block.file is None]):
        found[f"{stem}_{group[0].line}.py"] = "\n".join(block.text for block in group)
    return found


def groups(shown: list[Block]) -> Iterator[list[Block]]:
    """Blocks that belong together, in order: a block joins the last group that has a name which it uses."""
    found: list[tuple[list[Block], set[str]]] = []
    for block in shown:
        made, used = names(block.text)
        for group, known in reversed(found):
            if used & known:
                group.append(block)
                known |= made
                break
        else:
            found.append(([block], made))
    return (group for group, _ in found)


def names(text: str) -> tuple[set[str], set[str]]:
    """Those that the text makes, and those that it uses and does not make."""
    made, used = set[str](), set[str]()
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Name(id=name, ctx=ast.Load()):
                used.add(name)
            case ast.Name(id=name):
                made.add(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                made.add(name)
            case ast.arg(arg=name):
                made.add(name)
            case ast.alias(name=name, asname=other):
                made.add(other or name.partition(".")[0])
            case (
                ast.ExceptHandler(name=str(name))
                | ast.MatchAs(name=str(name))
                | ast.MatchStar(name=str(name))
            ):
                made.add(name)
    return made, used - made - set(dir(builtins))
