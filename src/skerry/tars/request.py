"""The request that a call becomes: routing key, message type, status, time left. Pure."""

from __future__ import annotations

import math
from typing import Any

from skerry.tars.call import Call
from skerry.tars.settings import CallOptions
from skerry.tars.trace import Trace
from skerry.tars.wire.interface import Function
from skerry.tars.wire.packet import (
    STATUS_DYED_KEY,
    STATUS_TRACE_KEY,
    MessageType,
    RequestPacket,
    encode_request,
)

_HASH, _DYED, _TRACE = int(MessageType.HASH), int(MessageType.DYED), int(MessageType.TRACE)
_LONGEST_MILLISECONDS = 2**31 - 1


def routing_key(
    function: Function, arguments: tuple[Any, ...], options: CallOptions
) -> int | str | bytes | None:
    """What the call is routed by: the option, else the argument that the IDL marks `routekey`, else nothing."""
    if options.hash is not None or function.route_index is None:
        return options.hash
    key = arguments[function.route_index]
    return key if isinstance(key, int | str | bytes) else str(key)


def request_frame(
    servant: str,
    function: str,
    body: bytes,
    options: CallOptions,
    hashed: bool,
    request_id: int,
    remaining_seconds: float,
    outer: Call | None,
    trace: Trace | None = None,
) -> bytes:
    """The frame of a call. `outer` is the call that is being served while this one is made: its cookies and its
    dyeing go along. `trace`: the chain that it belongs to. `remaining_seconds` becomes iTimeout, in whole milliseconds
    and at least one. EncodeError when context or status are no texts."""
    kind = _HASH if hashed else 0
    status = options.status
    if outer is not None and (passed := outer.cookies()):
        status = {**passed, **status}
    if trace is not None:
        status = {STATUS_TRACE_KEY: trace.wire, **status}
    if status:
        if STATUS_DYED_KEY in status:
            kind |= _DYED
        if STATUS_TRACE_KEY in status:
            kind |= _TRACE
    return encode_request(
        RequestPacket(
            options.version,
            1 if options.one_way else 0,
            kind,
            request_id,
            servant,
            function,
            body,
            min(math.ceil(remaining_seconds * 1000), _LONGEST_MILLISECONDS),
            options.context,  # type: ignore[arg-type]  # only read
            status,  # type: ignore[arg-type]
        )
    )
