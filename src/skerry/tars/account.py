"""Accounts of endpoints with `-e 1`: what a client sends before its first request, and what a server makes of it.

Pure. It proves that the client knows the password of an access key, for an hour, to a server whose line nobody
listens in on: kept for old installations; `ssl` endpoints with client certificates protect more.

Source: TarsCpp `AuthLogic`. The body is the members of `BasicAuthPackage` without a struct around them.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from functools import cache

from skerry.tars.des import encrypt
from skerry.tars.errors import DecodeError
from skerry.tars.wire.interface import Function, interface_of
from skerry.tars.wire.packet import MessageType, RequestPacket, encode_request

FUNCTION, SUCCESS, HASH = "InnerAuthServer", b"AUTH_SUCC", "sha1"
VALID_SECONDS = 3600

_PACKAGE = """
module tars
{
    interface Auth
    {
        void InnerAuthServer(string sObjName, string sAccessKey, long iTime, string sHashMethod, string sSignature);
    };
};
"""


@dataclass(frozen=True, slots=True)
class Account:
    """An access key and its password (`accesskey` and `secretkey` of the platform's file)."""

    access_key: str
    secret_key: str = field(repr=False)


def handshake(servant: str, account: Account, request_id: int, now: float) -> bytes:
    """The frame that opens a connection to `servant`; `now` in seconds since 1970."""
    signed = signature(account.secret_key, int(now)).decode("utf-8", "surrogateescape")
    body = _body().encode_args((servant, account.access_key, int(now), HASH, signed))
    return encode_request(
        RequestPacket(
            message_type=int(MessageType.AUTH),
            request_id=request_id,
            servant=servant,
            function=FUNCTION,
            body=body,
            timeout_ms=0,
        )
    )


def problem_of(request: RequestPacket, servant: str, account: Account, now: float) -> str:
    """Why a server does not take this as the opening of a connection; empty when it does."""
    if request.function != FUNCTION:
        return f"the first request is {request.function}, not the account's handshake"
    try:
        name, access_key, time, method, signed = _body().decode_args(request.body)
    except DecodeError as error:
        return f"the handshake cannot be read: {error}"
    if name != servant:
        return f"the handshake is for {name}"
    if abs(now - time) > VALID_SECONDS:
        return "the handshake's time is more than an hour off"
    if method != HASH:
        return f"the hash method is {method!r}, not {HASH}"
    right = signature(account.secret_key, time)
    if not hmac.compare_digest(access_key.encode("utf-8", "surrogateescape"), account.access_key.encode()):
        return "the access key is unknown"
    if not hmac.compare_digest(signed.encode("utf-8", "surrogateescape"), right):
        return "the password is wrong"
    return ""


@cache
def _body() -> Function:
    """The codec of the handshake; made when an account is first used."""
    from skerry.tars.idl.loader import load_text

    return interface_of(load_text(_PACKAGE).tars.Auth).functions[FUNCTION]


def signature(secret_key: str, time: int) -> bytes:
    """The hashed password, encrypted under a key of its hash and the time."""
    once = hashlib.sha1(secret_key.encode()).hexdigest()
    twice = bytearray(hashlib.sha1(once.encode()).hexdigest().encode())
    for at, byte in enumerate((time & 0xFFFFFFFFFFFFFFFF).to_bytes(8, "little")):
        twice[at] |= byte
    return encrypt(hashlib.md5(bytes(twice)).hexdigest()[:24].encode(), once.encode())
