"""The warm-start file: a process's memory on local disk, so that reads survive a start while the database is away.

A frame per page: length and CRC-32 (4 bytes each, big-endian), then msgpack. The first frame is the header (format,
epoch, offset, projections with versions), the last one the number of rows; the file is written beside its place and
moved there, so that a crash leaves the old one. It is a cache: what does not fit is ignored, never trusted.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from skerry.errors import SkerryError
from skerry.journal.projection import Projection
from skerry.journal.table import AnyTable
from skerry.position import Position

FORMAT = 3
_PAGE = 1000
_encode = msgspec.msgpack.encode


class Header(msgspec.Struct, frozen=True):
    """What the file is a copy of; see `Copied`."""

    format: int
    offset: int
    command_id: str
    epochs: list[tuple[str, int, int]]
    projections: dict[str, int]
    known_at: float = 0.0


class Page(msgspec.Struct, frozen=True, array_like=True):
    """Rows of one table for one projection: (key, row JSON, offset). A stored projection's state: `state`."""

    projection: str
    table: str
    rows: list[tuple[str, bytes, int]]
    state: bytes | None = None


class Trailer(msgspec.Struct, frozen=True):
    """Proof that the file is whole."""

    rows: int


@dataclass(frozen=True, slots=True)
class Copied:
    """Of which memory a file is a copy: where it was, whose event stands there, and by which epochs (name, began,
    common) it came there, so that it can be told whether that is still the journal's history. `known_at`: when (seconds
    since 1970) it was last known to equal the journal."""

    position: Position
    command_id: str = ""
    epochs: tuple[tuple[str, int, int], ...] = ()
    known_at: float = 0.0


class SnapshotFile:
    """One file at `path`, readable by its owner only."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, copy: Copied, projections: Sequence[Projection]) -> bool:
        """Write a whole copy; False (and no file) when a projection cannot be dumped. Blocks: a start or stop job."""
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        beside = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        try:
            with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                versions = {type(p).__name__: p.version for p in projections}
                epochs = list(copy.epochs) or [(copy.position.epoch, 0, 0)]
                at = (copy.position.offset, copy.command_id, epochs)
                _write(file, Header(FORMAT, *at, versions, copy.known_at))
                total = 0
                for page in _pages(projections):
                    if page is None:
                        return False
                    _write(file, page)
                    total += len(page.rows)
                _write(file, Trailer(total))
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, self.path)
            return True
        finally:
            beside.unlink(missing_ok=True)

    def read(self, projections: Sequence[Projection]) -> Copied | None:
        """Load the projections from the file; None when it is missing, damaged or of other versions of them
        (they may then be half loaded: clear them)."""
        by_name = {type(p).__name__: p for p in projections}
        tables = {table.name: table for p in projections for table in p.source_tables()}
        try:
            with self.path.open("rb") as file:
                header = _read(file, Header)
                if header is None or header.format != FORMAT:
                    return None
                if header.projections != {name: p.version for name, p in by_name.items()}:
                    return None
                for projection in projections:
                    projection.clear()
                if not _load(file, by_name, tables):
                    return None
                position = Position(header.epochs[-1][0], header.offset)
                return Copied(position, header.command_id, tuple(header.epochs), header.known_at)
        except (OSError, msgspec.DecodeError, SkerryError, KeyError, IndexError, ValueError):
            return None  # damaged, or its rows do not fit the tables any more


def _pages(projections: Sequence[Projection]) -> Iterator[Page | None]:
    for projection in projections:
        name = type(projection).__name__
        if projection.stored:
            yield Page(name, "", [], projection.state())
            continue
        rows = projection.dump()
        if rows is None:
            yield None
            return
        pages: dict[str, list[tuple[str, bytes, int]]] = {}
        for table, key, row, offset in rows:
            page = pages.setdefault(table.name, [])
            page.append((table.key_text(key), table.encode(row), offset))
            if len(page) >= _PAGE:
                yield Page(name, table.name, pages.pop(table.name))
        for table_name, page in pages.items():
            yield Page(name, table_name, page)


def _load(file: BinaryIO, projections: dict[str, Projection], tables: dict[str, AnyTable]) -> bool:
    total = 0
    while True:
        data = _frame(file)
        if data is None:
            return False
        try:
            page = msgspec.msgpack.decode(data, type=Page)
        except msgspec.ValidationError:
            return msgspec.msgpack.decode(data, type=Trailer).rows == total
        projection = projections[page.projection]
        if page.state is not None:
            projection.restore(page.state)
            continue
        table = tables[page.table]
        for text, row, offset in page.rows:
            projection.load(table, table.key_of(text), table.decode(row), offset)
        total += len(page.rows)


def _write(file: BinaryIO, value: msgspec.Struct) -> None:
    data = _encode(value)
    file.write(len(data).to_bytes(4, "big") + zlib.crc32(data).to_bytes(4, "big"))
    file.write(data)


def _frame(file: BinaryIO) -> bytes | None:
    """The next frame's content; None when it is cut or changed. Never takes more memory than the file is long."""
    size, check = int.from_bytes(file.read(4), "big"), int.from_bytes(file.read(4), "big")
    if size > os.fstat(file.fileno()).st_size:
        return None
    data = file.read(size)
    return data if data and len(data) == size and zlib.crc32(data) == check else None


def _read(file: BinaryIO, kind: type[Any]) -> Any:
    data = _frame(file)
    return None if data is None else msgspec.msgpack.decode(data, type=kind)
