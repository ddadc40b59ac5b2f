"""Paths are matched raw and decoded strictly, so that no two paths reach one key by accident."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.errors import DeclarationError
from skerry.http.path import PathTemplate, decode, decode_path, normalize
from skerry.http.problems import Problem

keys = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1).filter(
    lambda key: key not in (".", "..")
)


@given(keys)
def test_every_key_goes_through_a_path(key: str) -> None:
    """Whatever a key holds, its quoted form matches one segment and decodes to the key, normalised or not."""
    raw = quote(key, safe="").encode()
    template = PathTemplate("/values/{key}")
    for path in (b"/values/" + raw, normalize(b"/values/" + raw), b"/values/" + raw.lower()):
        if (
            path == b"/values/" + raw.lower()
            and raw.lower() != raw
            and quote(key, safe="").lower() != quote(key, safe="")
        ):
            continue  # lower-casing changed letters of the key itself
        found = template.match(path)
        assert found is not None
        assert decode(found[0]) == key


@given(keys, keys)
def test_different_keys_stay_different(one: str, other: str) -> None:
    """Normalisation never makes two keys one."""
    a, b = (normalize(quote(key, safe="").encode()) for key in (one, other))
    assert (a == b) == (one == other)


@pytest.mark.parametrize(
    "raw",
    [b"%", b"%2", b"%zz", b"%c3", b"%ff", b"%00", b".", b"..", b"%2e", b"%2E%2e", b"%ed%a0%80", b"%c0%af"],
)
def test_what_is_refused(raw: bytes) -> None:
    """Bad escapes, invalid UTF-8 (overlong and surrogates too), U+0000 and dots are 400."""
    with pytest.raises(Problem) as caught:
        decode(raw)
    assert caught.value.status == 400


def test_slashes_and_dots_inside() -> None:
    """An escaped slash belongs to the key; a path parameter takes real ones but no dot segments."""
    assert decode(b"a%2F..%2fb") == "a/../b"
    assert decode(b"...") == "..."
    assert decode_path(b"a/b%20c") == "a/b c"
    for raw in (b"a/../b", b"../a", b"a/%2e%2e", b"./a"):
        with pytest.raises(Problem):
            decode_path(raw)


@pytest.mark.parametrize(
    ("template", "path", "expected"),
    [
        ("/a/{x}", b"/a/b", (b"b",)), ("/a/{x}", b"/a/", None), ("/a/{x}", b"/a/b/c", None), ("/a/{x}", b"/a", None),
        ("/a/{x}/c/{y}", b"/a/1/c/2", (b"1", b"2")), ("/f/{p:path}", b"/f/a/b", (b"a/b",)),
        ("/f/{p:path}", b"/f/", None),
        ("/v/{x}.json", b"/v/a.json", (b"a",)), ("/v/{x}.json", b"/v/axjson", None), ("/sp ace", b"/sp%20ace", ()),
        ("/a/{x}", b"/a/b\n", (b"b\n",)),
    ],
)  # fmt: skip
def test_matching(template: str, path: bytes, expected: tuple[bytes, ...] | None) -> None:
    """Literals match themselves, a parameter one segment, a path parameter several."""
    assert PathTemplate(template).match(path) == expected


@pytest.mark.parametrize("template", ["a", "/{x", "/x}", "/{x}/{x}", "/{x:int}", "/{1x}"])
def test_templates_that_mean_nothing(template: str) -> None:
    """They are refused at declaration."""
    with pytest.raises(DeclarationError):
        PathTemplate(template)
