"""What is in the request of a call."""

from __future__ import annotations

from typing import Any

from skerry.tars.call import Call
from skerry.tars.request import request_frame, routing_key
from skerry.tars.settings import CallOptions
from skerry.tars.wire.packet import STATUS_DYED_KEY, MessageType, RequestPacket, decode_request


def sent(
    options: CallOptions, hashed: bool = False, seconds: float = 1.0, outer: Call | None = None
) -> RequestPacket:
    frame = request_frame("A.B.C", "f", b"body", options, hashed, 7, seconds, outer)
    assert int.from_bytes(frame[:4], "big") == len(frame)
    return decode_request(frame[4:])


def test_names_body_and_options() -> None:
    """Version, one-way, context and status as the options say."""
    options = CallOptions(version=3, one_way=True, context={"a": "b"}, status={"c": "d"})
    request = sent(options)
    assert (request.servant, request.function, request.body, request.request_id) == ("A.B.C", "f", b"body", 7)
    assert (request.version, request.packet_type, request.context, request.status) == (
        3,
        1,
        {"a": "b"},
        {"c": "d"},
    )


def test_time_left_is_whole_milliseconds() -> None:
    """Rounded up, so that a little is not nothing (0 would mean "no limit"); bounded by what fits an int."""
    assert sent(CallOptions(), seconds=0.0001).timeout_ms == 1
    assert sent(CallOptions(), seconds=1.5).timeout_ms == 1500
    assert sent(CallOptions(), seconds=1e9).timeout_ms == 2**31 - 1


def test_message_type() -> None:
    """HASH for a routed call, DYED when a dyeing key travels."""
    assert sent(CallOptions()).message_type == 0
    assert sent(CallOptions(), hashed=True).message_type == int(MessageType.HASH)
    assert sent(CallOptions(status={STATUS_DYED_KEY: "x"})).message_type == int(MessageType.DYED)


def test_cookies_of_the_call_being_served() -> None:
    """They go along; own status wins."""
    outer = Call(RequestPacket(status={"user": "7", "lang": "de"}), ("h", 1), 0.0)
    assert sent(CallOptions(status={"lang": "en"}), outer=outer).status == {"user": "7", "lang": "en"}


def test_routing_key(probe: Any) -> None:
    """The option first, then the argument marked `routekey`, else none."""
    functions = probe.__tars_interface__.functions
    assert routing_key(functions["routed"], (6,), CallOptions()) == 6
    assert routing_key(functions["routed"], (6,), CallOptions(hash="own")) == "own"
    assert routing_key(functions["echo"], ("x",), CallOptions()) is None
