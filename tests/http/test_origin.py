"""Who may listen from a page: the same origin, and what is listed."""

from __future__ import annotations

import pytest

from skerry.http.origin import allowed


@pytest.mark.parametrize(
    ("origin", "host", "extra", "expected"),
    [
        (None, "localhost:8999", (), True),
        ("http://localhost:8999", "localhost:8999", (), True),
        ("http://LOCALHOST:8999", "localhost:8999", (), True),
        ("https://kv.example", "kv.example", (), True),
        ("https://kv.example", "kv.example:443", (), True),
        ("http://kv.example:80", "kv.example", (), True),
        ("http://[::1]:8999", "[::1]:8999", (), True),
        ("http://localhost:8998", "localhost:8999", (), False),
        ("http://localhost", "localhost:8999", (), False),
        ("http://evil.example", "kv.example", (), False),
        ("http://kv.example.evil.example", "kv.example", (), False),
        ("http://kv.example@evil.example", "kv.example", (), False),
        ("null", "kv.example", (), False),
        ("null", "kv.example", ("*",), True),
        ("file://", "kv.example", (), False),
        ("http://kv.example:bad", "kv.example", (), False),
        ("http://other.example", "kv.example", ("http://other.example/",), True),
        ("https://other.example", "kv.example", ("http://other.example",), False),
        ("http://kv.example", "", (), False),
    ],
)
def test_origins(origin: str | None, host: str, extra: tuple[str, ...], expected: bool) -> None:
    """Host and port have to be ours, or the origin has to be listed; spelling does not matter."""
    assert allowed(origin, host, extra) is expected
