"""A request reads its parts lazily, strictly, and shows nothing that it should not."""

from __future__ import annotations

import msgspec
import pytest

from skerry.http.headers import Headers
from skerry.http.problems import Problem
from skerry.http.request import Query, Request, new_request_id


class Item(msgspec.Struct):
    name: str


def request(target: bytes = b"/", body: bytes = b"", **fields: str) -> Request:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in fields.items()]
    return Request("GET", target, Headers(raw), body)


def test_the_query() -> None:
    """Values are decoded, blanks kept, order and repetition too."""
    query = request(b"/p?a=1&b=&a=%C3%A4&c=x+y").query
    assert query.items() == [("a", "1"), ("b", ""), ("a", "ä"), ("c", "x y")]
    assert (query.get("a"), query.get_all("a"), query.get("z"), "b" in query) == ("1", ["1", "ä"], None, True)
    assert request(b"/p").query.items() == []


@pytest.mark.parametrize("raw", [b"a=%ff", b"&".join([b"a=1"] * 1001)])
def test_a_query_that_is_refused(raw: bytes) -> None:
    """What is not UTF-8, or has more than 1,000 fields, is 400."""
    with pytest.raises(Problem) as caught:
        Query(raw)
    assert caught.value.status == 400


def test_bodies() -> None:
    """Text must be UTF-8 (415), JSON must fit (422) and be JSON (400)."""
    assert request(body=b'{"name":"n"}').json(Item) == Item("n")
    assert request(body="ä".encode()).text() == "ä"
    for body, call, status in ((b"\xff", Request.text, 415), (b"{}", lambda r: r.json(Item), 422)):
        with pytest.raises(Problem) as caught:
            call(request(body=body))
        assert caught.value.status == status


def test_ids() -> None:
    """A plain id of the client is kept, anything else is replaced; new ones never repeat."""
    assert request(x_request_id="abc-DEF_1").id == "abc-DEF_1"
    for bad in ("a b", "a\x1b[31m", "ä", "x" * 129, "<script>"):
        assert request(x_request_id=bad).id != bad
    one = request()
    assert one.id == one.id
    assert len({new_request_id() for _ in range(100)}) == 100


def test_cookies() -> None:
    """The first of a name counts, quotes are taken off."""
    assert request(cookie='a=1; b="2"; a=3; broken').cookies() == {"a": "1", "b": "2"}


def test_the_path_is_for_people() -> None:
    """`path` is decoded and `raw_path` as sent; the representation has neither query nor fields."""
    asked = request(b"/a%2Fb?token=secret", authorization="Bearer secret")
    assert (asked.path, asked.raw_path) == ("/a/b", b"/a%2Fb")
    assert "secret" not in repr(asked)
