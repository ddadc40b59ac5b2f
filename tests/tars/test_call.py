"""What a servant knows about its call."""

from __future__ import annotations

import pytest

from skerry.tars.call import Call, current, serving
from skerry.tars.errors import TarsError
from skerry.tars.wire.packet import STATUS_DYED_KEY, MessageType, RequestPacket


def test_outside_of_a_servant_there_is_none() -> None:
    """current() says so instead of giving something empty."""
    with pytest.raises(TarsError, match="for servants"):
        current()


def test_inside_it_is_the_one_being_served() -> None:
    """The context variable holds it."""
    call = Call(RequestPacket(servant="A.B.C", function="f", context={"k": "v"}), ("10.0.0.1", 5), 0.0)
    token = serving.set(call)
    try:
        assert current() is call
        assert (call.servant, call.function, call.context, call.one_way) == ("A.B.C", "f", {"k": "v"}, False)
    finally:
        serving.reset(token)


def test_deadline() -> None:
    """received + iTimeout; a request without iTimeout has none and never expires."""
    assert Call(RequestPacket(timeout_ms=1500), ("h", 1), 10.0).deadline == 11.5
    endless = Call(RequestPacket(), ("h", 1), 10.0)
    assert endless.deadline is None
    assert endless.remaining_seconds() is None
    assert not endless.expired()
    assert Call(RequestPacket(timeout_ms=1), ("h", 1), 0.0).expired()


def test_cookies() -> None:
    """Keys that do not begin with STATUS_ (any case) travel on, the dyeing key when the call is dyed."""
    status = {"user": "7", "status_x": "no", STATUS_DYED_KEY: "d"}
    assert Call(RequestPacket(status=status), ("h", 1), 0.0).cookies() == {"user": "7"}
    dyed = RequestPacket(status=status, message_type=int(MessageType.DYED))
    assert Call(dyed, ("h", 1), 0.0).cookies() == {"user": "7", STATUS_DYED_KEY: "d"}
