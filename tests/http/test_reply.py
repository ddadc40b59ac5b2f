"""An answer renders to exactly the right bytes, and cannot be made to break its message."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import msgspec
import pytest
from starlette.responses import PlainTextResponse

from skerry.http.reply import OK, Fields, Response, response_of


def test_rendering() -> None:
    """Status line, common lines, own fields, length, body; HEAD leaves only the body out."""
    answer = Response("hé", headers={"X-One": "1"}, etag="tag")
    expected = (
        b"HTTP/1.1 200 OK\r\nDate: d\r\nContent-Type: text/plain; charset=utf-8\r\nX-One: 1\r\n"
        b'ETag: "tag"\r\nCache-Control: no-cache\r\nContent-Length: 3\r\n\r\n'
    )
    assert answer.render(b"Date: d\r\n") == expected + "hé".encode()
    assert answer.render(b"Date: d\r\n", with_body=False) == expected


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 100_000])
def test_the_length_is_right(size: int) -> None:
    """Content-Length is the body's, on both sides of the table of ready lines."""
    assert b"\r\nContent-Length: %d\r\n\r\n" % size in Response(b"x" * size).render(b"")


@pytest.mark.parametrize("status", [204, 304])
def test_bodiless_statuses(status: int) -> None:
    """204 and 304 have neither a body nor a length (RFC 9110 section 8.6)."""
    rendered = Response(b"ignored", status).render(b"")
    assert b"Content-Length" not in rendered
    assert rendered.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    "fields",
    [{"X": "a\r\nB: c"}, {"X": "a\nb"}, {"X": "a\0b"}, {"X: Y": "a"}, {"X\r\n": "a"}, {"": "a"}, {"Ä": "a"}],
)
def test_no_field_breaks_the_message(fields: dict[str, str]) -> None:
    """Names that are none and control characters are refused where they are set, in every way to set them."""
    with pytest.raises(ValueError, match="header"):
        Response(b"", headers=fields)
    with pytest.raises(ValueError, match="header"):
        Fields(fields)
    for name, value in fields.items():
        with pytest.raises(ValueError, match="header"):
            Response(b"").with_header(name, value)


@pytest.mark.parametrize("tag", ['a"b', "a b", "a\r\nb"])
def test_no_tag_breaks_the_message(tag: str) -> None:
    """An entity tag has no quotes, spaces or controls."""
    with pytest.raises(ValueError, match="entity tag"):
        Response(b"", etag=tag)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((204,), "or is it status=?"),
        ((None,), "bytes or text"),
        ((b"", "200"), "not supported between"),
        ((b"", 101), "200 to 599"),
    ],
)
def test_what_is_no_answer_is_told_where_it_is_made(arguments: tuple[Any, ...], told: str) -> None:
    """A slip of arguments is an error of the view, with its line, not one of the server that writes the answer."""
    with pytest.raises((TypeError, ValueError), match=told):
        Response(*arguments)
    assert Response(b"", HTTPStatus.NOT_FOUND).render(b"").startswith(b"HTTP/1.1 404 Not Found\r\n")


def test_a_tab_is_allowed_in_a_value() -> None:
    """RFC 9110 section 5.5 allows it."""
    assert b"X: a\tb\r\n" in Response(b"", headers={"X": "a\tb"}).render(b"")


def test_fields_made_before_are_the_same() -> None:
    """`Fields` renders as the mapping it was made of; a number is a tag."""
    fields = {"Content-Type": "application/json", "Skerry-Position": "e:1"}
    made = Fields(fields)
    assert Response(b"x", headers=made, etag=5).render(b"") == Response(
        b"x", headers=fields, etag="5"
    ).render(b"")


class Item(msgspec.Struct):
    name: str


@pytest.mark.parametrize(
    ("result", "status", "media", "body"),
    [
        (None, 204, None, b""),
        ("text", 200, "text/plain; charset=utf-8", b"text"),
        (b"bytes", 200, "application/octet-stream", b"bytes"),
        (Item("n"), 200, "application/json", b'{"name":"n"}'),
        ({"a": 1}, 200, "application/json", b'{"a":1}'),
        ([1, 2], 200, "application/json", b"[1,2]"),
        (7, 200, "application/json", b"7"),
        (PlainTextResponse("p", 201), 201, "text/plain; charset=utf-8", b"p"),
    ],
)
def test_what_a_view_may_return(result: object, status: int, media: str | None, body: bytes) -> None:
    """Each kind of result becomes the answer that one expects."""
    answer = response_of(result)
    fields = {name.lower(): value for name, value in answer.headers()}
    assert (answer.status, fields.get("content-type"), answer.body) == (status, media, body)


def test_status_lines_have_the_names_of_the_standard() -> None:
    """RFC 9110's, on every Python: the library's own changed with 3.13."""
    lines = [Response(b"", status).render(b"").split(b"\r\n")[0] for status in (200, 413, 414, 422, 299)]
    assert lines == [
        b"HTTP/1.1 200 OK",
        b"HTTP/1.1 413 Content Too Large",
        b"HTTP/1.1 414 URI Too Long",
        b"HTTP/1.1 422 Unprocessable Content",
        b"HTTP/1.1 299 ",
    ]


def test_what_is_rendered_says_the_same_when_it_is_looked_at() -> None:
    """An answer whose lines are bytes already: sent as it is; its head and tag are read out of it, and what is changed
    then is sent changed."""
    lines = b'Content-Type: application/json\r\nETag: "epoch:7"\r\n'
    rest = lines + b"Content-Length: 2\r\n\r\n{}"
    answer = Response.rendered(rest, b"{}")
    assert answer.render(b"Date: x\r\n") == OK + b"Date: x\r\n" + rest
    assert answer.render(b"", with_body=False) == OK + rest[:-2]
    assert (answer.etag, answer.head) == ("epoch:7", lines.decode())
    assert answer.render(b"") == OK + rest
    changed = Response.rendered(rest, b"{}").with_header("X-More", "1")
    assert b"X-More: 1\r\n" in changed.render(b"")
    assert Response.rendered(rest, b"{}").copy().with_header("X-More", "1").render(b"") == changed.render(b"")
    with pytest.raises(AttributeError):
        _ = answer.nothing
