"""Which addresses an adapter lets in."""

from __future__ import annotations

import pytest

from skerry.tars.access import AccessList


@pytest.mark.parametrize(
    ("allow", "deny", "deny_first", "let_in", "kept_out"),
    [
        ((), (), False, ["10.0.0.1", "::1"], []),
        (("10.0.0.1",), (), False, ["10.0.0.1", "::ffff:10.0.0.1"], ["10.0.0.11", "10.0.0.2"]),
        (("10.*",), (), False, ["10.0.0.1", "10.255.1.1"], ["101.0.0.1", "127.0.0.1"]),
        (("10.*.3.4",), (), False, ["10.2.3.4"], ["10.2.2.3.4", "10..3.4", "10.2.3.5"]),
        ((), ("10.*",), False, ["127.0.0.1"], ["10.0.0.1"]),
        (("10.0.*",), ("10.0.0.9",), False, ["10.0.0.9"], ["10.1.0.9"]),
        (("10.0.*",), ("10.0.0.9",), True, ["10.0.0.8"], ["10.0.0.9"]),
        (("*",), (), False, ["10.0.0.1", "::1"], []),
    ],
)
def test_lists(
    allow: tuple[str, ...], deny: tuple[str, ...], deny_first: bool, let_in: list[str], kept_out: list[str]
) -> None:
    """As TarsCpp's isIpAllow: the list that comes first decides, and who is in none may come in if nobody is listed."""
    access = AccessList(allow, deny, deny_first)
    assert [access.allows(address) for address in let_in] == [True] * len(let_in)
    assert [access.allows(address) for address in kept_out] == [False] * len(kept_out)
