"""Preconditions as RFC 9110 section 13 has them."""

from __future__ import annotations

import time

import pytest

from skerry.http.conditional import Preconditions, entity_tags, not_modified
from skerry.http.headers import Headers
from skerry.http.problems import Problem
from skerry.http.reply import Response


def headers(**fields: str) -> Headers:
    return Headers([(name.replace("_", "-").encode(), value.encode()) for name, value in fields.items()])


@pytest.mark.parametrize(
    ("field", "value", "etag", "holds"),
    [
        ("if_match", '"1"', "1", True), ("if_match", '"1"', "2", False), ("if_match", '"1"', None, False),
        ("if_match", "*", "1", True), ("if_match", "*", None, False), ("if_match", 'W/"1"', "1", False),
        ("if_match", '"a", "1"', "1", True), ("if_match", '"1"', 1, True),
        ("if_none_match", "*", None, True), ("if_none_match", "*", "1", False), ("if_none_match", '"1"', "1", False),
        ("if_none_match", 'W/"1"', "1", False), ("if_none_match", '"2"', "1", True),
        ("if_none_match", '"1"', None, True), ("if_none_match", '"a,b", "c"', "b", True),
    ],
)  # fmt: skip
def test_writes(field: str, value: str, etag: str | int | None, holds: bool) -> None:
    """If-Match compares strongly, If-None-Match weakly, `*` asks whether anything is there."""
    assert Preconditions.of(headers(**{field: value})).holds(etag) is holds


def test_no_precondition_always_holds() -> None:
    """Without the fields nothing is asked."""
    asked = Preconditions.of(headers(host="x"))
    assert not asked
    assert asked.holds("1")
    assert asked.holds(None)


@pytest.mark.parametrize("value", ["1", '"1', '1"', '"a" "b"', "", 'w/"1"'])
def test_malformed_tags_are_refused(value: str) -> None:
    """A field that is no list of tags is 400, not a guess."""
    with pytest.raises(Problem) as caught:
        Preconditions.of(headers(if_match=value))
    assert caught.value.status == 400


@pytest.mark.parametrize("value", ['"a"', '"a","b"', ' "a" ,, W/"b" ', '""', '"a b"'.replace(" ", "!")])
def test_lists_of_tags(value: str) -> None:
    """Empty list members and spaces between tags are allowed (RFC 9110 section 5.6.1)."""
    assert all(tag.endswith('"') for tag in entity_tags(value))


@pytest.mark.parametrize("gap", [",   ", " , ", ",", " ", '"",', ",\t,  "])
def test_no_field_takes_long_to_refuse(gap: str) -> None:
    """Time grows with the length, not with the number of ways to divide it: what fails, fails in milliseconds."""
    hostile = '"a"' + gap * (30_000 // len(gap)) + "x"
    began = time.process_time()
    with pytest.raises(ValueError, match="not a list of entity tags"):
        entity_tags(hostile)
    assert time.process_time() - began < 0.5


def test_not_modified_keeps_the_validators() -> None:
    """304 carries the tag and the position, not what describes a body; other statuses are never changed."""
    answer = Response.json({"a": 1}, etag="1", headers={"Skerry-Position": "e:1"})
    unchanged = not_modified(answer, headers(if_none_match='"1"'))
    kept = [("Skerry-Position", "e:1"), ("ETag", '"1"'), ("Cache-Control", "no-cache")]
    assert (unchanged.status, unchanged.headers()) == (304, kept)
    assert not_modified(answer, headers(if_none_match='"2"')) is answer
    missing = Response(b"", 404, etag="1")
    assert not_modified(missing, headers(if_none_match='"1"')) is missing
