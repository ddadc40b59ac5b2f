"""Remote files of every format become nested values; errors and differences tell no value."""

from __future__ import annotations

import pytest

from skerry.tars.platform.formats import FormatError, Values, differences, parse


@pytest.mark.parametrize(
    ("name", "text", "values"),
    [
        ("a.json", '{"a": {"b": 1}, "c": [1, true]}', Values({"a": {"b": 1}, "c": [1, True]}, True)),
        ("a.conf", ' {"a": 1}', Values({"a": 1}, True)),
        ("a.toml", "a = 1\n[b]\nc = true", Values({"a": 1, "b": {"c": True}}, True)),
        ("a.ini", "[DEFAULT]\nX=1\n[b]\nCacheTtl = 5%", Values({"X": "1", "b": {"CacheTtl": "5%"}}, False)),
        ("a.conf", "[b]\nc=1", Values({"b": {"c": "1"}}, False)),
        ("a.conf", "DEBUG=n\n<cache>\nttl=5\n</cache>\n<hosts>\nx.org\ny.org\n</hosts>",
         Values({"DEBUG": "n", "cache": {"ttl": "5"}, "hosts": ["x.org", "y.org"]}, False)),
    ],
)  # fmt: skip
def test_formats(name: str, text: str, values: Values) -> None:
    """By suffix, else by how it begins; a domain of mere keys is a list."""
    assert parse(name, text) == values


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("a.json", '{"password": "hunter2"', "line 1"),
        ("a.json", "[1]", "not an object"),
        ("a.toml", '\npassword = "hunter2\n', "line 2"),
        ("a.ini", "[a]\nx=1\nhunter2", "line 3"),
        ("a.ini", "hunter2=1", "line 1"),
        ("a.conf", "<a>\nb=hunter2\\q\n</a>", "line 2"),
        ("a.yaml", "a: hunter2", "JSON or TOML"),
    ],
)
def test_errors_name_the_line_and_no_value(name: str, text: str, told: str) -> None:
    """What is wrong is found without showing what may be a secret."""
    with pytest.raises(FormatError, match=told) as error:
        parse(name, text)
    assert "hunter2" not in str(error.value)


def test_differences_are_names() -> None:
    """Added, removed, changed, by path; lines for what is no format."""
    old, new = '{"a": {"b": 1, "c": 2}, "d": "hunter2"}', '{"a": {"b": 1, "e": 3}, "d": "hunter3"}'
    assert differences("a.json", old, new) == ("-a.c", "+a.e", "~d")
    assert differences("a.json", old, old) == ()
    assert differences("a.json", old, "hunter4\n{") == ("1 lines became 2",)
