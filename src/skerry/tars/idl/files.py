"""Reading `.tars` files and what they include.

An include is looked for next to the file that includes it, then in the include folders. A file that is included
twice is read once; a circle is an error. Not for: the grammar (`idl/parser.py`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from skerry.tars.errors import IdlError
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
    """The files that were read, and those that are being read."""

    def __init__(self, folders: list[Path], encoding: str) -> None:
        self._folders = folders
        self._encoding = encoding
        self._done: set[Path] = set()
        self._open: list[Path] = []

    def read(self, path: Path, place: Place | None, idl: Idl) -> None:
        """Read one file into `idl`; `place` is the include that asks for it."""
        real = path.resolve()
        if real in self._open:
            assert place is not None
            circle = " -> ".join(p.name for p in [*self._open[self._open.index(real) :], real])
            raise place.error(f"files include each other in a circle: {circle}")
        if real in self._done:
            return
        source = self._text(path, place)
        self._open.append(real)
        Parser(
            source, str(path), idl, lambda name, at: self.read(self._find(name, path, at), at, idl)
        ).parse()
        self._open.pop()
        self._done.add(real)

    def _text(self, path: Path, place: Place | None) -> str:
        try:
            return path.read_bytes().decode(self._encoding)
        except UnicodeDecodeError as error:
            line = path.read_bytes()[: error.start].count(b"\n") + 1
            problem = f"the file is not {self._encoding}: {error.reason}"
            raise IdlError(
                problem, str(path), line, 1, "the encoding it was written in (encoding=...)"
            ) from None
        except OSError as error:
            problem = f"cannot read {path}: {error.strerror or error}"
            raise (place or Place(str(path), 1, 1)).error(problem) from None

    def _find(self, name: str, includer: Path, place: Place) -> Path:
        tried = [includer.parent, *self._folders]
        for folder in tried:
            if (folder / name).is_file():
                return folder / name
        raise place.error(f"there is no file {name!r}", f"it in {', '.join(str(folder) for folder in tried)}")
