"""The journal calls that travel: which there are, how their values look as JSON, and errors as values.

Both ends read one table, which is derived from `JournalPeer`: everything of a journal but deciding, which stays where
the file is.
Pure.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_type_hints

import msgspec

from skerry import errors
from skerry.backends.outcomes import encode_outcomes, outcomes_of
from skerry.journal.journal import JournalPeer


@dataclass(frozen=True, slots=True)
class Signature:
    """`arguments`: a tuple type, `result`: what comes back, `seconds`: how long a caller waits at most, `declared`: the
    method's own signature, without `self`."""

    arguments: Any
    result: Any
    seconds: float
    declared: inspect.Signature


USUAL_SECONDS = 30.0
SECONDS = {"save_projection": 60.0, "trim": 600.0, "verify": 600.0, "correct": 60.0, "new_epoch": 60.0}
"""Of calls that may take longer than the usual."""


def _signature(name: str, method: Callable[..., Any]) -> Signature:
    types = get_type_hints(method)
    result = None if name == "outcome" else types["return"]  # as for outcomes everywhere: outcomes.py
    given = inspect.signature(method)
    parameters = list(given.parameters.values())[1:]
    arguments: Any = tuple[tuple(types[each.name] for each in parameters)]  # type: ignore[misc]
    seconds = SECONDS.get(name, USUAL_SECONDS)
    return Signature(arguments, result, seconds, given.replace(parameters=parameters))


SIGNATURES = {
    name: _signature(name, method)
    for name, method in inspect.getmembers(JournalPeer, inspect.iscoroutinefunction)
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
