"""Packets: what goes over a connection, both ways, in every version.

`RequestPacket` and `ResponsePacket` as values, and the functions that turn them to frames and back. A TUP call
(version 2 or 3) is answered by a RequestPacket whose status map holds the return code; `encode_answer`
writes that and `decode_reply` reads it, so that nobody else has to know.

Not for: what is in `body` (`wire/interface.py`), cutting a stream (`wire/frame.py`).

Source: TarsProtocol `RequestF.tars`. In a request tag 3 is the message type and 4 the id, in a
response it is the other way round.
"""

from __future__ import annotations

from collections.abc import Mapping
from struct import Struct as Format
from typing import Final

import msgspec

from skerry.tars.errors import DecodeError
from skerry.tars.wire.codec import DEFAULT_LIMITS, Limits, body_codec
from skerry.tars.wire.codes import (
    RECONNECT,
    STATUS_DYED_KEY,
    STATUS_GRID_KEY,
    STATUS_RESULT_CODE,
    STATUS_RESULT_DESC,
    STATUS_SETNAME_VALUE,
    STATUS_TRACE_KEY,
    MessageType,
    PacketType,
    ReturnCode,
    Version,
    check_version,
)
from skerry.tars.wire.frame import (
    DEFAULT_MAX_FRAME_BYTES,
    MIN_FRAME_BYTES,
    FrameSplitter,
    frame,
    split_datagram,
)
from skerry.tars.wire.reader import INT8, INT16, INT32, INT64, ZERO, read_head, skip
from skerry.tars.wire.types import BYTE, BYTES, INT, SHORT, STRING, Map, Member, Type, zero_of

__all__ = [
    "DEFAULT_MAX_FRAME_BYTES",
    "MIN_FRAME_BYTES",
    "RECONNECT",
    "STATUS_DYED_KEY",
    "STATUS_GRID_KEY",
    "STATUS_RESULT_CODE",
    "STATUS_RESULT_DESC",
    "STATUS_SETNAME_VALUE",
    "STATUS_TRACE_KEY",
    "FrameSplitter",
    "MessageType",
    "PacketType",
    "RequestPacket",
    "ResponsePacket",
    "ReturnCode",
    "Version",
    "check_version",
    "decode_reply",
    "decode_request",
    "decode_response",
    "encode_answer",
    "encode_reconnect",
    "encode_request",
    "encode_response",
    "frame",
    "reply_id",
    "split_datagram",
]


class RequestPacket(msgspec.Struct, frozen=True, gc=False):
    """A call. `timeout_ms` is what the caller is going to wait, in milliseconds; 0 says nothing."""

    version: int = 1
    packet_type: int = 0
    message_type: int = 0
    request_id: int = 0
    servant: str = ""
    function: str = ""
    body: bytes = b""
    timeout_ms: int = 0
    context: dict[str, str] = {}
    status: dict[str, str] = {}


class ResponsePacket(msgspec.Struct, frozen=True, gc=False):
    """An answer, or with `request_id` 0 a push. `code` is iRet, `description` sResultDesc."""

    version: int = 1
    packet_type: int = 0
    request_id: int = 0
    message_type: int = 0
    code: int = 0
    body: bytes = b""
    status: dict[str, str] = {}
    description: str = ""
    context: dict[str, str] = {}


def _member(tag: int, name: str, kind: Type, *, required: bool = True) -> Member:
    zero = zero_of(kind)
    constant = {} if isinstance(kind, Map) else {"constant": zero()}
    return Member(tag, name, name, kind, required, zero, **constant)


_TEXTS: Final = Map(STRING, STRING)

_REQUEST: Final = body_codec(
    [
        _member(1, "iVersion", SHORT),
        _member(2, "cPacketType", BYTE),
        _member(3, "iMessageType", INT),
        _member(4, "iRequestId", INT),
        _member(5, "sServantName", STRING),
        _member(6, "sFuncName", STRING),
        _member(7, "sBuffer", BYTES),
        _member(8, "iTimeout", INT),
        _member(9, "context", _TEXTS),
        _member(10, "status", _TEXTS),
    ],
    "RequestPacket",
    RequestPacket,
)

_RESPONSE_REQUIRED: Final = [
    _member(1, "iVersion", SHORT),
    _member(2, "cPacketType", BYTE),
    _member(3, "iRequestId", INT),
    _member(4, "iMessageType", INT),
    _member(5, "iRet", INT),
    _member(6, "sBuffer", BYTES),
    _member(7, "status", _TEXTS),
]
_RESPONSE_OPTIONAL: Final = [
    _member(8, "sResultDesc", STRING, required=False),
    _member(9, "context", _TEXTS, required=False),
]
_RESPONSE: Final = body_codec(_RESPONSE_REQUIRED + _RESPONSE_OPTIONAL, "ResponsePacket", ResponsePacket)
_SHORT_RESPONSE: Final = body_codec(_RESPONSE_REQUIRED, "ResponsePacket")
_DESCRIBED_RESPONSE: Final = body_codec(_RESPONSE_REQUIRED + _RESPONSE_OPTIONAL[:1], "ResponsePacket")

_length: Final = Format(">I").pack
_TUP_STARTS: Final = (b"\x10\x02", b"\x10\x03")
_INTEGER_BYTES: Final = {ZERO: 0, INT8: 1, INT16: 2, INT32: 4, INT64: 8}
_EMPTY_ATTRIBUTES: Final = b"\x08\x0c"


def encode_request(packet: RequestPacket) -> bytes:
    """A request as a whole frame, ready to be written; EncodeError when a value does not fit."""
    data = _REQUEST.encode(
        packet.version,
        packet.packet_type,
        packet.message_type,
        packet.request_id,
        packet.servant,
        packet.function,
        packet.body,
        packet.timeout_ms,
        packet.context,
        packet.status,
    )
    return _length(len(data) + 4) + data


def encode_response(packet: ResponsePacket) -> bytes:
    """A response as a whole frame. Optional members at the end that say nothing are left out, as C++ does."""
    values = (
        packet.version,
        packet.packet_type,
        packet.request_id,
        packet.message_type,
        packet.code,
        packet.body,
        packet.status,
    )
    if packet.context:
        data = _RESPONSE.encode(*values, packet.description, packet.context)
    elif packet.description:
        data = _DESCRIBED_RESPONSE.encode(*values, packet.description)
    else:
        data = _SHORT_RESPONSE.encode(*values)
    return _length(len(data) + 4) + data


def decode_request(packet: bytes, limits: Limits = DEFAULT_LIMITS) -> RequestPacket:
    """Read a packet (without its length bytes) as a request; DecodeError when it is malformed."""
    request: RequestPacket = _REQUEST.decode(packet, limits.depth, [limits.items])
    return request


def decode_response(packet: bytes, limits: Limits = DEFAULT_LIMITS) -> ResponsePacket:
    """Read a packet as a ResponsePacket; for the answers of TUP calls see `decode_reply`."""
    response: ResponsePacket = _RESPONSE.decode(packet, limits.depth, [limits.items])
    return response


def decode_reply(packet: bytes, limits: Limits = DEFAULT_LIMITS) -> ResponsePacket:
    """Read what a server sent, whatever its version. The answer of a TUP call comes as a ResponsePacket whose
    code and description are those of its status map."""
    if packet[:2] not in _TUP_STARTS:
        return decode_response(packet, limits)
    reply = decode_request(packet, limits)
    text = reply.status.get(STATUS_RESULT_CODE, "0")
    try:
        code = int(text)
    except ValueError:
        raise DecodeError(
            f"{STATUS_RESULT_CODE} is {text!r:.40}, not a number,", 0, "RequestPacket.status"
        ) from None
    return ResponsePacket(
        reply.version,
        reply.packet_type,
        reply.request_id,
        reply.message_type,
        code,
        reply.body,
        reply.status,
        reply.status.get(STATUS_RESULT_DESC, ""),
        reply.context,
    )


def reply_id(packet: bytes) -> int:
    """The request id of a reply that cannot be read as a whole; 0 when it cannot be told.

    An answer to a TUP call has it at tag 4, before a text; any other at tag 3, TarsCpp's to TUP version 2 included.
    """
    found: dict[int, int] = {}
    at, end = 0, len(packet)
    try:
        while at < end and 5 not in found:
            tag, kind, start = read_head(packet, at, end)
            size = _INTEGER_BYTES.get(kind)
            if size is None:
                found[tag] = 0
                at = (
                    end
                    if tag == 5
                    else skip(packet, start, end, kind, DEFAULT_LIMITS.depth, [DEFAULT_LIMITS.items])
                )
            else:
                at = start + size
                found[tag] = int.from_bytes(packet[start:at], "big", signed=True)
                if tag == 5:
                    return found.get(3, 0)
    except DecodeError:
        return 0
    return found.get(4 if packet[:2] in _TUP_STARTS else 3, 0)


def encode_answer(
    request: RequestPacket,
    *,
    code: int = 0,
    body: bytes = b"",
    description: str = "",
    status: Mapping[str, str] | None = None,
    context: Mapping[str, str] | None = None,
) -> bytes:
    """The frame that answers `request` in its own version. `code` is a return code, `body` the encoded result
    (empty when there is none), `description` says what went wrong."""
    if request.version in (Version.TUP, Version.TUP_SIMPLE):
        result = {STATUS_RESULT_CODE: str(int(code)), STATUS_RESULT_DESC: description}
        return encode_request(
            RequestPacket(
                version=request.version,
                request_id=request.request_id,
                servant=request.servant,
                function=request.function,
                body=body or _EMPTY_ATTRIBUTES,
                context=dict(context or {}),
                status={**(status or {}), **result},
            )
        )
    return encode_response(
        ResponsePacket(
            version=request.version,
            request_id=request.request_id,
            message_type=request.message_type,
            code=code,
            body=body,
            status=dict(status or {}),
            description=description,
            context=dict(context or {}),
        )
    )


def encode_reconnect() -> bytes:
    """The push with which a server that is about to stop sends its clients away."""
    return encode_response(ResponsePacket(description=RECONNECT))
