"""Header fields are found whatever their case, repeated lines are joined."""

from __future__ import annotations

from skerry.http.headers import Headers


def test_looking_up() -> None:
    """Any case finds a field; a missing one gives the default; values never show in the representation."""
    headers = Headers([(b"accept", b"a"), (b"accept", b"b"), (b"cookie", b"x=1"), (b"cookie", b"y=2")])
    assert headers.get("accept") == headers.get("Accept") == headers["ACCEPT"] == "a, b"
    assert headers.get("cookie") == "x=1; y=2"
    assert headers.get_all("Accept") == ["a", "b"]
    assert headers.get("host") is None
    assert headers.get("Host", "none") == "none"
    assert "accept" in headers
    assert "host" not in headers
    assert "x=1" not in repr(headers)
    assert len(headers) == 4


def test_preconditions_are_noticed() -> None:
    """`conditional` is true for each of the four precondition fields and only for them."""
    for name in (b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since"):
        assert Headers([(name, b"x")]).conditional
    assert not Headers([(b"if-range", b"x"), (b"host", b"x")]).conditional
