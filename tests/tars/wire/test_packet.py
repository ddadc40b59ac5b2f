"""Packets against frames that were recorded between real peers."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import msgspec
import pytest

from skerry.tars.errors import DecodeError, EncodeError
from skerry.tars.idl.loader import load_text
from skerry.tars.wire.interface import interface_of
from skerry.tars.wire.packet import (
    RECONNECT,
    FrameSplitter,
    RequestPacket,
    ResponsePacket,
    ReturnCode,
    check_version,
    decode_reply,
    decode_request,
    decode_response,
    encode_answer,
    encode_reconnect,
    encode_request,
    encode_response,
    frame,
)


@dataclasses.dataclass(frozen=True)
class Recorded:
    """A frame, and what the recording says about it."""

    title: str
    kind: str
    data: bytes


def recorded() -> list[Recorded]:
    found, title = [], ""
    for line in (Path(__file__).parent / "frames.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("# "):
            title = line[2:]
        else:
            kind, data = line.split()
            found.append(Recorded(title, kind, bytes.fromhex(data)))
    return found


FRAMES = recorded()
REQUESTS = [f for f in FRAMES if f.kind == "REQ"]
REPLIES = [f for f in FRAMES if f.kind == "RSP"]


def one(title: str, kind: str = "REQ") -> bytes:
    """The packet of the recorded frame whose title begins like this."""
    (data,) = [f.data for f in FRAMES if f.title.startswith(title) and f.kind == kind]
    (packet,) = FrameSplitter().feed(data)
    return packet


@pytest.mark.parametrize("recorded", REQUESTS, ids=lambda r: str(r.title[:40]))
def test_recorded_requests_come_back_byte_for_byte(recorded: Recorded) -> None:
    """All members of a request are required, so its form is canonical."""
    (packet,) = FrameSplitter().feed(recorded.data)
    assert encode_request(decode_request(packet)) == recorded.data


@pytest.mark.parametrize("recorded", REPLIES, ids=lambda r: str(r.title[:40]))
def test_recorded_replies_come_back(recorded: Recorded) -> None:
    """JavaScript writes empty optional members, C++ and we do not; all else is the same bytes."""
    (packet,) = FrameSplitter().feed(recorded.data)
    if packet[1] in (2, 3):
        assert encode_request(decode_request(packet)) == recorded.data
        return
    ours = encode_response(decode_response(packet))[4:]
    assert decode_response(ours) == decode_response(packet)
    assert packet in (ours, ours + b"\x86\x00", ours + b"\x98\x0c", ours + b"\x86\x00\x98\x0c")


def test_a_request_is_read() -> None:
    """Every member of a request of Tars.js is where it belongs."""
    assert decode_request(one("request getUsrName")) == RequestPacket(
        version=1,
        packet_type=0,
        message_type=0,
        request_id=2,
        servant="TARS.NodeTarsServer.NodeTarsObj",
        function="getUsrName",
        body=b"\x16\x05czzou",
        timeout_ms=60000,
        context={"trace": "abc"},
        status={},
    )


def test_id_and_message_type_change_places() -> None:
    """Tag 3 and 4 are message type and id in a request, id and message type in a response."""
    request = decode_request(encode_request(RequestPacket(message_type=4, request_id=9))[4:])
    response = decode_response(encode_response(ResponsePacket(message_type=4, request_id=9))[4:])
    assert (
        (request.message_type, request.request_id) == (response.message_type, response.request_id) == (4, 9)
    )
    assert encode_request(RequestPacket(message_type=4, request_id=9))[7:11] == b"\x30\x04\x40\x09"
    assert encode_response(ResponsePacket(message_type=4, request_id=9))[7:11] == b"\x30\x09\x40\x04"


def test_an_error_reply_is_read() -> None:
    """Code and description of what a server did not like."""
    reply = decode_reply(one("business error", "RSP"))
    assert (reply.code, reply.description, reply.request_id) == (5, "five", 7)
    assert decode_reply(one("unknown function", "RSP")).code == ReturnCode.NO_FUNCTION


def test_a_tup_reply_is_read_as_a_response() -> None:
    """The answer of a TUP call is a request packet: its code and description are in the status map."""
    reply = decode_reply(one("TUP v3 error reply", "RSP"))
    assert (reply.code, reply.request_id, reply.version) == (-1, 8, 3)
    assert reply.description.endswith("not found key:sUsrName")
    assert decode_reply(one("TUP v3 reply", "RSP")).code == 0


def test_a_tup_reply_with_a_foolish_code_is_refused() -> None:
    """A result code that is no number is a malformed packet."""
    packet = RequestPacket(version=3, status={"STATUS_RESULT_CODE": "yes"})
    with pytest.raises(DecodeError, match="not a number"):
        decode_reply(encode_request(packet)[4:])


@pytest.mark.parametrize("version", [1, 2, 3, 5])
def test_an_answer_is_read_back(version: int) -> None:
    """Whatever the version, code, description, body and maps reach the caller."""
    request = RequestPacket(version=version, request_id=7, servant="A.B.C", function="f")
    answer = encode_answer(request, code=-3, description="no", status={"s": "1"}, context={"c": "2"})
    reply = decode_reply(answer[4:])
    assert (reply.version, reply.request_id, reply.code, reply.description) == (version, 7, -3, "no")
    assert reply.status["s"] == "1"
    assert reply.context == {"c": "2"}


def test_tup_answers_look_like_those_of_javascript() -> None:
    """Byte for byte, with code and description in the status even when all is well."""
    request = RequestPacket(
        version=3,
        request_id=8,
        servant="TARS.NodeTarsServer.NodeTarsObj",
        function="getUsrName",
        timeout_ms=3000,
    )
    description = "BindAdapter Exception:UniAttribute not found key:sUsrName"
    assert encode_answer(request, code=-1, description=description)[4:] == one("TUP v3 error reply", "RSP")


def test_the_reconnect_push_is_what_go_sends() -> None:
    """Id 0, code 0 and the description that clients look for."""
    assert encode_reconnect()[4:] == one("reconnect push", "RSP")
    push = decode_reply(encode_reconnect()[4:])
    assert (push.request_id, push.description) == (0, RECONNECT)


def test_bodies_of_recorded_calls_are_read_through_the_idl() -> None:
    """Arguments and results between Tars.js peers decode with the interface of their server, and encode alike."""
    functions = interface_of(
        load_text(
            """
            module tars {
                struct User_t {0 optional int id=0; 1 optional int score=0; 2 optional string name="";};
                struct Result_t {0 optional int id=0; 1 optional int iLevel=0;};
                interface NodeTars { int test(); int getall(User_t stUser, out Result_t stResult);
                    int getUsrName(string sUsrName, out string sValue1, out string sValue2); };
            };
            """
        ).tars.NodeTars
    ).functions
    request, reply = decode_request(one("request getall")), decode_reply(one("request getall", "RSP"))
    (user,) = functions["getall"].decode_args(request.body)
    assert (user.id, user.score, user.name) == (70000, -5, "tencent")
    again = functions["getall"].encode_args([user])
    assert functions["getall"].decode_args(again) == (user,)
    assert len(again) <= len(request.body), "defaults stay off the wire, Tars.js writes them"
    result = functions["getall"].decode_result(reply.body)
    assert (result.ret, result.stResult.id, result.stResult.iLevel) == (
        10000,
        10,
        11000,
    ) or result.ret == 10000
    assert functions["getall"].decode_result(functions["getall"].encode_result(result)) == result
    for title in ("TUP v3 reply", "TUP v2 reply"):
        packet = decode_reply(one(title, "RSP"))
        found = functions["getUsrName"].decode_result(packet.body, packet.version)
        assert found == (100002, "OUT_czzou_1", "OUT_czzou_2")
        assert functions["getUsrName"].encode_result(found, packet.version) == packet.body


def test_the_echo_of_every_type_is_read() -> None:
    """A call with every type, answered by Tars.js: read by the IDL and written again byte for byte."""
    echo = interface_of(
        load_text(
            """
            module Interop { interface Echo { int echoAll(bool b, byte y, short s, int i, long l, float f, double d,
                string t, vector<byte> x, vector<int> li, map<string, string> m, out bool ob, out byte oy, out short os,
                out long ol, out float of, out double od, out string ot, out vector<byte> ox, out vector<int> oli,
                out map<string, string> om); }; };
            """
        ).Interop.Echo
    ).functions["echoAll"]
    request, reply = decode_request(one("echoAll")), decode_reply(one("echoAll", "RSP"))
    values = (
        True,
        -100,
        -30000,
        2**31 - 1,
        -(2**63),
        1.5,
        -0.1,
        "héllo",
        b"\0\1\2\3\4",
        [1, -200, 70000],
        {"a": "b"},
    )
    assert echo.decode_args(request.body) == values
    assert echo.encode_args(values) == request.body
    result = echo.decode_result(reply.body)
    assert result == (values[3], *values[:3], *values[4:])
    assert echo.encode_result(result) == reply.body


@pytest.mark.parametrize("version", [0, 4, 6])
def test_versions_that_nobody_speaks(version: int) -> None:
    """4 was never used, others do not exist."""
    with pytest.raises(DecodeError, match=f"version {version}"):
        check_version(version, DecodeError)
    with pytest.raises(EncodeError, match=f"version {version}"):
        check_version(version, EncodeError)


def test_packets_are_frozen() -> None:
    """A packet is a record: nobody changes it on its way."""
    with pytest.raises(AttributeError):
        RequestPacket().request_id = 5  # type: ignore[misc]
    assert msgspec.structs.replace(RequestPacket(), request_id=5).request_id == 5


def test_values_that_do_not_fit_a_packet() -> None:
    """An EncodeError names the member of the packet."""
    with pytest.raises(EncodeError, match=r"RequestPacket\.iRequestId"):
        encode_request(RequestPacket(request_id=2**31))
    with pytest.raises(EncodeError, match=r"ResponsePacket\.status"):
        encode_response(ResponsePacket(status={"a": 1}))  # type: ignore[dict-item]


def test_any_prefix_of_a_packet_is_refused() -> None:
    """A packet that was cut anywhere is an error, never a shorter packet."""
    packet = one("request getUsrName")
    for size in range(len(packet)):
        with pytest.raises(DecodeError):
            decode_request(packet[:size])
    assert frame(packet)[4:] == packet
