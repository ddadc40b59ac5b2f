"""Conditional requests (RFC 9110 section 13): decides whether a precondition lets a request through. Pure.

The lane applies `not_modified` to every GET and HEAD that answers with an ETag. Writes must check inside their
transaction: hand `Preconditions.of(request.headers)` to the command, and `holds(etag)` to the decision.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from skerry.http.headers import Headers
from skerry.http.problems import Problem
from skerry.http.reply import Response

_TAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
# Nothing is ever taken back (possessive), so that no field makes the match try every way of dividing its spaces.
_TAGS = re.compile(rf"[ \t,]*+{_TAG}(?:[ \t]*+,[ \t,]*+(?:{_TAG})?+)*+[ \t]*+")
_ONE = re.compile(_TAG)


def entity_tags(value: str) -> tuple[str, ...]:
    """The tags of an If-Match or If-None-Match field, quotes and `W/` included; `("*",)` for any.

    Raises ValueError when the field is malformed.
    """
    if value.strip(" \t") == "*":
        return ("*",)
    if not _TAGS.fullmatch(value):
        raise ValueError(f"not a list of entity tags: {value[:80]!r}")
    return tuple(_ONE.findall(value))


@dataclass(frozen=True, slots=True)
class Preconditions:
    """The preconditions of a request. None: the field is absent. Tags keep their quotes; `("*",)` means
    any."""

    if_match: tuple[str, ...] | None = None
    if_none_match: tuple[str, ...] | None = None

    @classmethod
    def of(cls, headers: Headers) -> Preconditions:
        """Read both fields. Raises Problem 400 when one is malformed."""
        if not headers.conditional:
            return NONE
        match, none_match = headers.get("if-match"), headers.get("if-none-match")
        try:
            return cls(
                None if match is None else entity_tags(match),
                None if none_match is None else entity_tags(none_match),
            )
        except ValueError as error:
            raise Problem(400, f"If-Match or If-None-Match: {error}") from error

    def holds(self, etag: str | int | None) -> bool:
        """Whether a write may go on. `etag` is the opaque tag of what is there now, None when nothing is.

        If-Match compares strongly, If-None-Match weakly (sections 13.1.1, 13.1.2).
        """
        if self.if_match is not None and not _strong(self.if_match, etag):
            return False
        return not (self.if_none_match is not None and _weak(self.if_none_match, etag))

    def __bool__(self) -> bool:
        return self.if_match is not None or self.if_none_match is not None


NONE = Preconditions()


def _strong(tags: tuple[str, ...], etag: str | int | None) -> bool:
    return etag is not None and (tags == ("*",) or f'"{etag}"' in tags)


def _weak(tags: tuple[str, ...], etag: str | int | None) -> bool:
    if etag is None:
        return False
    return tags == ("*",) or any(tag.removeprefix("W/") == f'"{etag}"' for tag in tags)


def not_modified(answer: Response, headers: Headers) -> Response:
    """The answer to a GET or HEAD: itself, 304 when the client has it already, 412 when If-Match fails.

    Only answers of 200 that carry an ETag are conditional (section 13.2.1). A 304 carries the fields that the 200
    would have carried, except for those that describe the body.
    """
    if answer.etag is None or answer.status != 200:
        return answer
    wanted = Preconditions.of(headers)
    if wanted.if_match is not None and not _strong(wanted.if_match, answer.etag):
        return Problem(412, "If-Match does not name the current value").response()
    if wanted.if_none_match is not None and _weak(wanted.if_none_match, answer.etag):
        unchanged = Response(b"", 304)
        unchanged.etag = answer.etag
        lines = answer.head.split("\r\n")
        unchanged.head = "\r\n".join(line for line in lines if not line.startswith("Content-Type: "))
        return unchanged
    return answer
