"""Reading `.tars` files and what they include.

An include is looked for next to the file that includes it, then in the include folders. A file is read once, however
often and by whom it is included (itself too). Bytes that are not of the encoding are passed on as surrogates: they may
stand in comments. Not for: the grammar (`idl/parser.py`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from skerry.tars.idl.lexer import Place
from skerry.tars.idl.model import Idl
from skerry.tars.idl.parser import Parser

StrPath = str | os.PathLike[str]


def read_idl(path: StrPath, include: Iterable[StrPath] = (), encoding: str = "utf-8") -> Idl:
    """Parse a file and its includes; IdlError with file, line and column for whatever is wrong in them."""
    return read_idls([path], include, encoding)


def read_idls(paths: Sequence[StrPath], include: Iterable[StrPath] = (), encoding: str = "utf-8") -> Idl:
    """Parse several files as one: their modules merge, and what both include is read once."""
    reader = _Files([Path(folder) for folder in include], encoding)
    idl = Idl(str(paths[0]))
    for path in paths:
        reader.read(Path(path), None, idl)
    return idl


def parse_idl(source: str, file: str = "<text>") -> Idl:
    """Parse a text that includes nothing."""
    idl = Idl(file)
    Parser(source, file, idl, _no_include).parse()
    return idl


def _no_include(name: str, place: Place) -> None:
    raise place.error(f"a text cannot include {name!r}", "a file")


class _Files:
    """The files that were read."""

    def __init__(self, folders: list[Path], encoding: str) -> None:
        self._folders = folders
        self._encoding = encoding
        self._seen: set[Path] = set()

    def read(self, path: Path, place: Place | None, idl: Idl) -> None:
        """Read one file into `idl`; `place` is the include that asks for it."""
        real = path.resolve()
        if real in self._seen:
            return
        source = self._text(path, place)
        self._seen.add(real)
        Parser(
            source, str(path), idl, lambda name, at: self.read(self._find(name, path, at), at, idl)
        ).parse()

    def _text(self, path: Path, place: Place | None) -> str:
        try:
            return path.read_bytes().decode(self._encoding, "surrogateescape")
        except OSError as error:
            problem = f"cannot read {path}: {error.strerror or error}"
            raise (place or Place(str(path), 1, 1)).error(problem) from None

    def _find(self, name: str, includer: Path, place: Place) -> Path:
        tried = [includer.parent, *self._folders]
        for folder in tried:
            if (folder / name).is_file():
                return folder / name
        raise place.error(f"there is no file {name!r}", f"it in {', '.join(str(folder) for folder in tried)}")
