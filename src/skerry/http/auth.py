"""Tokens and rights: who asks, and may they. Pure; the login form is `http.login`.

A token carries one right, `write` includes `read`. Without tokens every route is open. Tokens are kept as hashes and
compared in constant time, each against all. A browser that logged in holds a cookie that proves the token without
containing it, and that ends with the token.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Protocol
from urllib.parse import urlsplit

from skerry.clock import Clock
from skerry.errors import SettingsError
from skerry.http.headers import Headers
from skerry.http.origin import may_write
from skerry.http.problems import Problem

Right = Literal["read", "write"]
COOKIE = "skerry_session"
SESSION_SECONDS = 12 * 3600
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # RFC 6750 section 2.1


class Outer(Protocol):
    """Whoever knows for which host a client asks."""

    @property
    def host(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Identity:
    """Somebody with a right. `name` is stable for one token and tells nothing about it; `by_cookie`: a browser."""

    name: str
    right: Right
    by_cookie: bool = False

    def may(self, right: Right) -> bool:
        return right == self.right or self.right == "write"


@dataclass(frozen=True, slots=True)
class _Token:
    digest: bytes
    right: Right
    name: str


class Tokens:
    """The tokens of one application. Empty: nothing is protected."""

    def __init__(self, tokens: Iterable[tuple[Right, str]], clock: Clock) -> None:
        self._clock = clock
        self._tokens: list[_Token] = []
        for right, secret in tokens:
            digest = hashlib.sha256(secret.encode("ascii")).digest()
            self._tokens.append(_Token(digest, right, "token-" + hashlib.sha256(digest).hexdigest()[:8]))

    @classmethod
    def parse(cls, text: str, clock: Clock, *, setting: str = "SKERRY_TOKENS") -> Tokens:
        """Read `read:TOKEN,write:TOKEN,...`. Raises SettingsError, which never repeats a token."""
        found: list[tuple[Right, str]] = []
        for number, entry in enumerate(filter(None, (part.strip() for part in text.split(","))), 1):
            right, separator, secret = entry.partition(":")
            if not separator or right not in ("read", "write"):
                raise SettingsError(setting, f"entry {number} is not `read:TOKEN` or `write:TOKEN`")
            if not _TOKEN.fullmatch(secret):
                raise SettingsError(
                    setting,
                    f"the token of entry {number} has characters other than letters, digits and -._~+/=",
                )
            found.append((right, secret))  # type: ignore[arg-type]  # it is one of the two literals
        return cls(found, clock)

    def __bool__(self) -> bool:
        return bool(self._tokens)

    def check(self, secret: str) -> Identity | None:
        """Who holds this token."""
        found = self._find(secret)
        return None if found is None else Identity(found.name, found.right)

    def identify(self, headers: Headers) -> Identity | None:
        """Who sent these header fields: the bearer token counts, without one the cookie."""
        authorization = headers.get("authorization")
        if authorization is not None:
            scheme, _, secret = authorization.partition(" ")
            return self.check(secret.strip()) if scheme.lower() == "bearer" else None
        cookie = headers.get("cookie")
        return None if cookie is None else self._of_cookie(cookie)

    def session(self, secret: str) -> str | None:
        """The cookie value that proves this token for twelve hours; None for an unknown token."""
        found = self._find(secret)
        if found is None:
            return None
        expires = f"{int(self._clock.now()) + SESSION_SECONDS:x}"
        return f"{expires}.{_proof(found, expires)}"

    def _find(self, secret: str) -> _Token | None:
        digest = hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
        found: _Token | None = None
        for token in self._tokens:  # all of them, so that the time tells nothing
            if hmac.compare_digest(token.digest, digest) and (found is None or token.right == "write"):
                found = token
        return found

    def _of_cookie(self, header: str) -> Identity | None:
        for part in header.split(";"):
            name, _, value = part.strip().partition("=")
            if name == COOKIE:
                return self._of_session(value)
        return None

    def _of_session(self, value: str) -> Identity | None:
        expires, _, proof = value.partition(".")
        try:
            if int(expires, 16) < self._clock.now():
                return None
        except ValueError:
            return None
        found: _Token | None = None
        given = proof.encode("utf-8", "replace")
        for token in self._tokens:
            if hmac.compare_digest(_proof(token, expires).encode("ascii"), given):
                found = token
        return None if found is None else Identity(found.name, found.right, by_cookie=True)


def _proof(token: _Token, expires: str) -> str:
    return hmac.new(
        token.digest, b"skerry session " + expires.encode("utf-8", "replace"), hashlib.sha256
    ).hexdigest()


def authorize(
    tokens: Tokens, right: Right, method: str, headers: Headers, peer: Outer | None = None
) -> Identity:
    """The identity that may do this; `peer` knows the host that is asked for, where Host is not. Raises Problem 401
    (nobody), 403 (not enough, or a forged form)."""
    identity = tokens.identify(headers)
    if identity is None:
        raise Problem(
            401,
            f"this needs a token with the {right} right",
            headers={"WWW-Authenticate": 'Bearer realm="skerry"'},
        )
    if not identity.may(right):
        raise Problem(403, f"this token has no {right} right")
    may_be_forged = identity.by_cookie and method not in SAFE_METHODS
    if may_be_forged and not same_origin(headers, None if peer is None else peer.host):
        raise Problem(403, "a browser session may change things from its own pages only")
    return identity


def refuse_foreign_page(
    method: str, headers: Headers, writers: Iterable[str] = (), peer: Outer | None = None
) -> None:
    """For routes that no token guards. Raises Problem 403 for what a page of another site would change, except for
    the origins of `writers`."""
    if method in SAFE_METHODS:
        return
    if not may_write(headers, writers, None if peer is None else peer.host):
        raise Problem(403, "a page of another site may not change things here")


def same_origin(headers: Headers, host: str | None = None) -> bool:
    """Whether a browser says that the request comes from this site's own page. Without any sign of it: no. `host`: as
    a proxy in front says it, else Host."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = headers.get("origin")
    if origin is None:
        return False
    authority = urlsplit(origin).netloc.lower()
    return bool(authority) and authority == (host or headers.get("host") or "").lower()
