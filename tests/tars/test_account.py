"""Accounts of endpoints with -e 1: the recorded handshake, and who gets in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from skerry.errors import SettingsError
from skerry.tars import Account, ClientSettings, Communicator, Server
from skerry.tars.account import SUCCESS, handshake, problem_of, signature
from skerry.tars.call_errors import ConnectFailed
from skerry.tars.des import encrypt
from skerry.tars.wire.packet import RequestPacket, decode_reply, decode_request, encode_answer

FRAMES = {
    kind: bytes.fromhex(text)
    for name, kind, text in (
        line.split()
        for line in (Path(__file__).parent / "platform" / "recorded.txt")
        .read_text(encoding="utf-8")
        .splitlines()
        if not line.startswith("#")
    )
    if name == "auth"
}
BERT, NOW, SERVANT = Account("bert", "123456"), 1_700_000_000, "test.oko.BertObj"
OBJECT = "Test.Probe.ProbeObj"
LOCKED = f"{OBJECT}@tcp -h 127.0.0.1 -p 0 -t 60000 -e 1"


def test_the_cipher() -> None:
    """As OpenSSL's des-ede3, and as TarsCpp's TC_Des signs."""
    assert encrypt(bytes.fromhex("0123456789abcdef" * 3), b"x").hex() == "007677947d6d1b86"
    assert signature("123456", NOW).hex() == (
        "19c4e6bcb94f29a9cef2f7f97f2912844d6886b427ca7bb8a8b3b7c6cf5807e7df4f43fafcb00599adef5384f91b8819"
    )


def test_the_recorded_handshake() -> None:
    """The same bytes, both ways."""
    request = decode_request(FRAMES["REQ"][4:])
    made = decode_request(handshake(SERVANT, BERT, 1, NOW)[4:])
    assert (made.body, made.message_type, made.function) == (
        request.body,
        request.message_type,
        request.function,
    )
    assert problem_of(request, SERVANT, BERT, NOW) == ""
    assert decode_reply(encode_answer(request, body=SUCCESS)[4:]) == decode_reply(FRAMES["RSP"][4:])


@pytest.mark.parametrize(
    ("servant", "account", "now", "told"),
    [
        ("A.B.C", BERT, NOW, "for test.oko.BertObj"),
        (SERVANT, BERT, NOW + 3601, "an hour off"),
        (SERVANT, Account("ernie", "123456"), NOW, "access key"),
        (SERVANT, Account("bert", "1234567"), NOW, "password"),
    ],
)
def test_who_is_refused(servant: str, account: Account, now: int, told: str) -> None:
    """Another object, an old or future time, an unknown key, a wrong password; anything but a handshake."""
    request = decode_request(FRAMES["REQ"][4:])
    assert told in problem_of(request, servant, account, now)
    assert "not the account's handshake" in problem_of(RequestPacket(function="echo"), SERVANT, BERT, NOW)
    assert "cannot be read" in problem_of(RequestPacket(function="InnerAuthServer"), SERVANT, BERT, NOW)


async def test_in_and_out(serve: Any, make_servant: Any, probe: Any, wire: Any) -> None:
    """A client with the account calls over one connection; without it, with a wrong one, and without a handshake nobody
    gets in, and is told why."""
    server = Server()
    server.add(make_servant(), LOCKED, account=BERT)
    async with server:
        address = server.address(OBJECT)
        assert address.endswith("-e 1")
        settings = ClientSettings(accounts={OBJECT: BERT})
        async with Communicator(settings=settings, timeout_seconds=30) as communicator:
            proxy = communicator.proxy(probe, address)
            assert [await proxy.echo(text) for text in "ab"] == ["a", "b"]
        for accounts, told in (
            ({}, "wants an account"),
            ({OBJECT: Account("bert", "x")}, "does not take the account"),
        ):
            wrong = ClientSettings(accounts=accounts)
            async with Communicator(settings=wrong, timeout_seconds=30) as communicator:
                with pytest.raises(ConnectFailed, match=told):
                    await communicator.proxy(probe, address).echo("x")
        raw = await wire.to(server)
        raw.send(wire.ping())
        try:
            assert await raw.reply() is None
        except ConnectionError:
            pass  # cut
        raw.writer.close()
        assert server.states()[0].counters.refused_connections == 2


async def test_an_endpoint_without_an_account_is_told(make_servant: Any) -> None:
    """Before it listens."""
    server = Server()
    server.add(make_servant(), LOCKED)
    with pytest.raises(SettingsError, match="needs an account"):
        await server.start()
