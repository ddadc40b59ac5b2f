"""Tokens: read from a setting, checked without telling anything, proved by a cookie that ends."""

from __future__ import annotations

import pytest

from skerry.errors import SettingsError
from skerry.http.auth import COOKIE, SESSION_SECONDS, Tokens, permit, same_origin
from skerry.http.headers import Headers
from skerry.http.identity import Identity, Right
from skerry.http.problems import Problem


class StandingClock:
    """A clock that stands where it was put."""

    def __init__(self) -> None:
        self.at = 1_000_000.0

    def monotonic(self) -> float:
        return self.at

    def now(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None: ...


CLOCK = StandingClock()
TOKENS = Tokens.parse("read:abc, write:def", CLOCK)


def sent(**fields: str) -> Headers:
    return Headers([(name.replace("_", "-").encode(), value.encode()) for name, value in fields.items()])


def authorize(tokens: Tokens, right: Right, method: str, headers: Headers) -> Identity:
    return permit(tokens.identify(headers), right, method, headers)


def test_rights() -> None:
    """Read reads, write does both, another token nothing; the scheme's case does not matter."""
    reader, writer = TOKENS.check("abc"), TOKENS.check("def")
    assert reader is not None
    assert writer is not None
    assert (reader.may("read"), reader.may("write")) == (True, False)
    assert (writer.may("read"), writer.may("write")) == (True, True)
    assert TOKENS.check("abcd") is None
    assert TOKENS.check("") is None
    assert TOKENS.identify(sent(authorization="bearer abc")) == reader
    assert TOKENS.identify(sent(authorization="Basic abc")) is None
    assert "abc" not in reader.name


@pytest.mark.parametrize(
    "text",
    [
        "abc",
        "admin:abc",
        "read:",
        "read:a b",
        "read:abc,write",
        "read:ä",
        "read:abc=",
        "write:abc==",
        "read:CI=abc",
    ],
)
def test_wrong_settings_name_the_entry_and_not_the_token(text: str) -> None:
    """The message says which entry is wrong and never repeats a secret."""
    with pytest.raises(SettingsError, match="SKERRY_TOKENS: ") as caught:
        Tokens.parse(text, CLOCK)
    assert "abc" not in str(caught.value)


def test_a_token_may_have_a_name() -> None:
    """What stands before = is a name when it can be one; tokens of base64 keep what they meant."""
    tokens = Tokens.parse("read:ci=abc,write:ci=new,read:a-2=YWJj==,read:Zm9v=,write:Zm9v==", CLOCK)
    found = {secret: tokens.check(secret) for secret in ("abc", "new", "YWJj==", "Zm9v=", "Zm9v==")}
    who = {secret: (each.subject, each.right) for secret, each in found.items() if each is not None}
    assert who["abc"] == ("ci", "read")
    assert who["new"] == ("ci", "write")
    assert who["YWJj=="] == ("a-2", "read")
    assert who["Zm9v="][0].startswith("token-")
    assert who["Zm9v="][0] != who["Zm9v=="][0]
    assert tokens.check("ci=abc") is None
    unnamed = TOKENS.check("abc")
    assert unnamed is not None
    assert unnamed.scope == unnamed.name == "token-" + unnamed.name[-8:]


def test_no_tokens_protect_nothing() -> None:
    """An empty setting is an empty set."""
    assert not Tokens.parse("", CLOCK)
    assert TOKENS


def test_authorize() -> None:
    """401 without a token (and how to bring one), 403 with too little."""
    with pytest.raises(Problem) as caught:
        authorize(TOKENS, "read", "GET", sent())
    assert caught.value.status == 401
    assert caught.value.headers is not None
    assert "Bearer" in caught.value.headers["WWW-Authenticate"]
    with pytest.raises(Problem) as caught:
        authorize(TOKENS, "write", "PUT", sent(authorization="Bearer abc"))
    assert caught.value.status == 403
    assert authorize(TOKENS, "write", "PUT", sent(authorization="Bearer def")).right == "write"


def test_a_session_proves_the_token_until_it_ends() -> None:
    """The cookie does not contain the token, cannot be altered, and ends by time or with the token."""
    session = TOKENS.session("def")
    assert session is not None
    assert "def" not in session.split(".")[0]
    found = TOKENS.identify(sent(cookie=f"a=b; {COOKIE}={session}"))
    assert found is not None
    assert found.may("write")
    assert found.by_cookie
    assert found.expires == CLOCK.at + SESSION_SECONDS
    expires, id, proof = session.split(".")
    longer = f"{int(expires, 16) + 100:x}"
    for altered in (
        f"{longer}.{id}.{proof}",
        f"{expires}.{id[:-1]}x.{proof}",
        f"{expires}.{proof}",
        f"{expires}.{id}.{proof[:-1]}x",
        proof,
        "",
        "zz.zz",
        f"{expires}.{id}.",
    ):
        assert TOKENS.identify(sent(cookie=f"{COOKIE}={altered}")) is None, altered
    assert Tokens.parse("write:other", CLOCK).identify(sent(cookie=f"{COOKIE}={session}")) is None
    assert TOKENS.session("nope") is None
    CLOCK.at += SESSION_SECONDS + 1
    try:
        assert TOKENS.identify(sent(cookie=f"{COOKIE}={session}")) is None
    finally:
        CLOCK.at -= SESSION_SECONDS + 1


def test_a_session_changes_things_from_its_own_pages_only() -> None:
    """An unsafe method with a cookie needs a sign of the same origin; reading does not."""
    cookie = f"{COOKIE}={TOKENS.session('def')}"
    assert authorize(TOKENS, "read", "GET", sent(cookie=cookie)).by_cookie
    for fields in (
        {},
        {"origin": "http://evil", "host": "x"},
        {"sec_fetch_site": "cross-site"},
        {"origin": "null"},
    ):
        with pytest.raises(Problem) as caught:
            authorize(TOKENS, "write", "PUT", sent(cookie=cookie, **fields))
        assert caught.value.status == 403
    for fields in ({"origin": "http://x:1", "host": "x:1"}, {"sec_fetch_site": "same-origin"}):
        assert authorize(TOKENS, "write", "PUT", sent(cookie=cookie, **fields)).by_cookie


def test_same_origin() -> None:
    """Host and port must agree."""
    assert same_origin(sent(origin="https://A:8", host="a:8"))
    assert not same_origin(sent(origin="https://a:9", host="a:8"))
