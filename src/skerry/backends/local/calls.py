"""The journal calls that travel: which there are, how their values look as JSON, and errors as values.

Both ends read this one table. Everything of a journal but `prepare` and `batch`: deciding stays where the file is.
Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from skerry import errors
from skerry.backends.outcomes import encode_outcomes, outcomes_of
from skerry.journal.epochs import Epoch
from skerry.journal.journal import (
    Correction,
    DeadLetter,
    Head,
    Lease,
    LetterHead,
    Reader,
    Record,
    StoredProjection,
)
from skerry.position import Position


@dataclass(frozen=True, slots=True)
class Signature:
    """`arguments`: a tuple type, `result`: what comes back, `seconds`: how long a caller waits at most."""

    arguments: Any
    result: Any
    seconds: float = 30.0


SIGNATURES: dict[str, Signature] = {
    "outcome": Signature(tuple[str], None),  # its result: outcomes.py
    "head": Signature(tuple[int | None], Head),
    "epochs": Signature(tuple[()], list[Epoch]),
    "missed": Signature(tuple[Position], bool),
    "read": Signature(tuple[int, int], list[Record]),
    "load_projection": Signature(tuple[str], StoredProjection | None),
    "save_projection": Signature(tuple[StoredProjection], None, 60.0),
    "cursor": Signature(tuple[str], Position | None),
    "advance": Signature(tuple[str, Position], None),
    "forget": Signature(tuple[str], None),
    "acquire": Signature(tuple[str, str, float], Lease | None),
    "release": Signature(tuple[Lease], None),
    "dead_letters": Signature(tuple[str, int], list[DeadLetter]),
    "letters": Signature(tuple[int, int, bool], list[LetterHead]),
    "dead_letter": Signature(tuple[str], DeadLetter | None),
    "bury": Signature(tuple[DeadLetter], None),
    "exhume": Signature(tuple[str], bool),
    "trim": Signature(tuple[Position], int, 600.0),
    "verify": Signature(tuple[()], list[str], 600.0),
    "tables": Signature(tuple[()], list[str]),
    "readers": Signature(tuple[()], list[Reader]),
    "forget_projection": Signature(tuple[str], None),
    "correct": Signature(tuple[Correction], Position, 60.0),
    "new_epoch": Signature(tuple[str, int], Position, 60.0),
}

SNAPSHOT = "snapshot"
SnapshotArguments = tuple[list[str]]
Page = list[tuple[str, msgspec.Raw, int]]

_encode = msgspec.json.Encoder().encode
_arguments = {name: msgspec.json.Decoder(s.arguments) for name, s in SIGNATURES.items()}
_results = {name: msgspec.json.Decoder(s.result) for name, s in SIGNATURES.items()}
_page: msgspec.json.Decoder[Page | None] = msgspec.json.Decoder(Page | None)


def encode(value: Any) -> bytes:
    return _encode(value)


def encode_result(method: str, value: Any) -> bytes:
    if method == "outcome":
        return encode_outcomes([] if value is None else [value])
    return _encode(value)


def arguments_of(method: str, data: bytes) -> tuple[Any, ...]:
    """Raises TransportError for a method or arguments that do not exist."""
    decoder = _arguments.get(method)
    if decoder is None:
        raise errors.TransportError(f"no journal call {method!r}")
    try:
        return decoder.decode(data)  # type: ignore[no-any-return]
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise errors.TransportError(f"{method}: {error}") from error


def result_of(method: str, data: bytes) -> Any:
    if method == "outcome":
        return next(iter(outcomes_of(data)), None)
    return _results[method].decode(data)


def page_of(data: bytes) -> list[tuple[str, bytes | str, int]] | None:
    """A page of rows; None at the end of the table."""
    page = _page.decode(data)
    return None if page is None else [(key, bytes(row), offset) for key, row, offset in page]


def encode_page(rows: Any) -> bytes:
    return _encode([(key, msgspec.Raw(row), offset) for key, row, offset in rows])


# --- errors as values: the kinds that a caller tells apart, with their arguments

_FIELDS: dict[str, tuple[str, ...]] = {
    "Trimmed": ("offset", "floor"),
    "WrongEpoch": ("asked", "actual"),
    "Fenced": ("name",),
    "Disconnected": ("reason", "retry_after_seconds"),
    "Overloaded": ("reason", "retry_after_seconds"),
    "DeadlineExceeded": ("what", "seconds"),
}


def error_values(error: BaseException) -> tuple[str, bytes]:
    """An error's class name and values, as they travel."""
    kind = type(error).__name__
    fields = _FIELDS.get(kind)
    if fields is not None:
        return kind, _encode([getattr(error, name) for name in fields])
    text = str(error) if isinstance(error, errors.SkerryError) else f"{kind}: {error}"
    return ("Corrupt" if isinstance(error, errors.Corrupt) else "JournalError"), _encode([text])


def error_of(kind: str, values: bytes) -> errors.SkerryError:
    """The reverse of `error_values`; only kinds of the table are made."""
    known: dict[str, Any] = {name: getattr(errors, name) for name in (*_FIELDS, "Corrupt", "JournalError")}
    decoded: list[Any] = msgspec.json.decode(values, type=list[Any])
    found: errors.SkerryError = known.get(kind, errors.JournalError)(*decoded)
    return found
