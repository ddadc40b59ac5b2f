"""Tokens, and the sessions of browsers that logged in with one. Pure; the login form is `http.login`.

A token carries one right, `write` includes `read`, and may have a name, which logs and events then tell. Without tokens
every route is open. Tokens are kept as hashes and compared in constant time, each against all. A browser that logged in
holds a cookie that proves the token without containing it, and that ends with the token, or when it is revoked.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Container, Iterable
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

from skerry.clock import Clock
from skerry.errors import SettingsError
from skerry.http.headers import Headers
from skerry.http.identity import Identity as Identity
from skerry.http.identity import Right as Right
from skerry.http.origin import may_write
from skerry.http.problems import Problem

COOKIE = "skerry_session"
SESSION_SECONDS = 12 * 3600
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # RFC 6750 section 2.1
_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")


class Outer(Protocol):
    """Knows for which host a client asks."""

    @property
    def host(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class _Token:
    digest: bytes
    right: Right
    name: str


class Tokens:
    """The tokens of one application. Empty: nothing is protected."""

    def __init__(self, tokens: Iterable[tuple[Right, str, str]], clock: Clock) -> None:
        """`tokens`: right, name ("" for none), token."""
        self.clock = clock
        self.revoked: Container[str] = ()
        """Ids of sessions that were ended before their time."""
        self._tokens: list[_Token] = []
        for right, name, secret in tokens:
            digest = hashlib.sha256(secret.encode("ascii")).digest()
            known_by = name or "token-" + hashlib.sha256(digest).hexdigest()[:8]
            self._tokens.append(_Token(digest, right, known_by))

    @classmethod
    def parse(cls, text: str, clock: Clock, *, setting: str = "SKERRY_TOKENS") -> Tokens:
        """Read `read:TOKEN,write:NAME=TOKEN,...`. Raises SettingsError, which never repeats a token."""
        found: list[tuple[Right, str, str]] = []
        for number, entry in enumerate(filter(None, (part.strip() for part in text.split(","))), 1):
            right, separator, secret = entry.partition(":")
            if not separator or right not in ("read", "write"):
                what = "is none of `read:TOKEN`, `write:TOKEN`, `read:NAME=TOKEN`, `write:NAME=TOKEN`"
                raise SettingsError(setting, f"entry {number} {what}")
            name, separator, rest = secret.partition("=")
            if not separator or not _NAME.fullmatch(name):
                name, rest = "", secret
            elif not rest.strip("="):
                # Perhaps a token of base64 with its padding: it must not become a name without a token.
                what = "is a name without a token, or a token that looks like one"
                raise SettingsError(setting, f"entry {number} {what}: write NAME=TOKEN")
            if not _TOKEN.fullmatch(rest):
                what = "characters other than letters, digits and -._~+/="
                if "=" in rest.rstrip("="):
                    what += (
                        " (a name before = has lower case letters, digits and -, a letter first, 32 at most)"
                    )
                raise SettingsError(setting, f"the token of entry {number} has {what}")
            found.append((right, name, rest))  # type: ignore[arg-type]  # it is one of the two literals
        return cls(found, clock)

    def __bool__(self) -> bool:
        return bool(self._tokens)

    def check(self, secret: str) -> Identity | None:
        """The holder of this token."""
        found = self._find(secret)
        return None if found is None else Identity(found.name, rights=found.right, source="token")

    def identify(self, headers: Headers) -> Identity | None:
        """The sender of these header fields: the bearer token counts, without one the cookie."""
        authorization = headers.get("authorization")
        if authorization is not None:
            scheme, _, secret = authorization.partition(" ")
            return self.check(secret.strip()) if scheme.lower() == "bearer" else None
        session = self.session_of(headers)
        return None if session is None else session.identity

    def session(self, secret: str) -> str | None:
        """The cookie value that proves this token for twelve hours; None for an unknown token."""
        found = self._find(secret)
        if found is None:
            return None
        start = f"{int(self.clock.now()) + SESSION_SECONDS:x}.{secrets.token_hex(8)}"
        return f"{start}.{_proof(found, start)}"

    def session_of(self, headers: Headers) -> Session | None:
        """The session that a cookie proves."""
        for part in (headers.get("cookie") or "").split(";"):
            name, _, value = part.strip().partition("=")
            if name == COOKIE:
                return self._of_cookie(value)
        return None

    def _find(self, secret: str) -> _Token | None:
        digest = hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
        found: _Token | None = None
        for token in self._tokens:  # all of them, so that the time tells nothing
            if hmac.compare_digest(token.digest, digest) and (found is None or token.right == "write"):
                found = token
        return found

    def _of_cookie(self, value: str) -> Session | None:
        start, _, proof = value.rpartition(".")
        expires, _, id = start.partition(".")
        try:
            ends = int(expires, 16)
        except ValueError:
            return None
        if ends < self.clock.now() or id in self.revoked:
            return None
        found: _Token | None = None
        given = proof.encode("utf-8", "replace")
        for token in self._tokens:
            if hmac.compare_digest(_proof(token, start).encode("ascii"), given):
                found = token
        if found is None:
            return None
        identity = Identity(found.name, rights=found.right, expires=ends, source="session", session=id)
        return Session(id, ends, identity)


@dataclass(frozen=True, slots=True)
class Session:
    """A browser's: its id, when it ends (seconds since 1970), and who it is."""

    id: str
    expires: int
    identity: Identity


def _proof(token: _Token, start: str) -> str:
    said = b"skerry session " + start.encode("utf-8", "replace")
    return hmac.new(token.digest, said, hashlib.sha256).hexdigest()


def permit(
    identity: Identity | None,
    right: str,
    method: str,
    headers: Headers,
    writers: Iterable[str] = (),
    peer: Outer | None = None,
) -> Identity:
    """The identity, if it may do this; `peer` knows the host that is asked for, where Host is not. Raises Problem 401
    (nobody), 403 (not enough, or sent by a foreign page)."""
    if identity is None:
        raise Problem(
            401,
            f"this needs a token with the {right} right",
            headers={"WWW-Authenticate": 'Bearer realm="skerry"'},
        )
    if not identity.may(right):
        raise Problem(403, f"this token has no {right} right")
    if method not in SAFE_METHODS and headers.get("authorization") is None:
        # Something that a browser sends by itself proved who it is.
        host = None if peer is None else peer.host
        if identity.by_cookie:
            if not same_origin(headers, host):
                raise Problem(403, "a browser session may change things from its own pages only")
        elif not may_write(headers, writers, host):
            raise Problem(403, "a page of another site may not change things here")
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
