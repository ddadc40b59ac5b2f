"""What the JavaScript packages really send to a platform and took as answers: the doubles read, answer and keep it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from skerry.tars.endpoint import ObjectAddress
from skerry.tars.platform.interfaces import interfaces
from skerry.tars.wire.interface import Function, interface_of
from skerry.tars.wire.packet import RequestPacket, ResponsePacket, decode_reply, decode_request
from skerry.testing.tars import TarsPlatform

FRAMES: dict[tuple[str, str], bytes] = {
    (name, kind): bytes.fromhex(text)
    for name, kind, text in (
        line.split()
        for line in (Path(__file__).parent / "recorded.txt").read_text(encoding="utf-8").splitlines()
        if not line.startswith("#")
    )
}
OBJECT = "TARS.NodeTarsServer.NodeTarsObj"
Ask = Callable[[str], Awaitable[bytes]]


def function(file: str, interface: str, name: str) -> Function:
    return interface_of(getattr(interfaces(file), interface)).functions[name]


def request(name: str) -> RequestPacket:
    return decode_request(FRAMES[name, "REQ"][4:])


def recorded(name: str) -> ResponsePacket:
    return decode_reply(FRAMES[name, "RSP"][4:])


@pytest.fixture
def ask(tars_platform: TarsPlatform) -> Ask:
    """Send a recorded request, as it was, to the double of its service; the reply's bytes."""

    async def asked(name: str) -> bytes:
        servant = request(name).servant
        service = next(each for each, of in _services(tars_platform).items() if of.name == servant)
        [endpoint] = _services(tars_platform)[service].endpoints
        reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
        async with asyncio.timeout(30):
            writer.write(FRAMES[name, "REQ"])
            if request(name).packet_type == 1:
                writer.write_eof()
                return await reader.read()
            length = await reader.readexactly(4)
            reply = length + await reader.readexactly(int.from_bytes(length, "big") - 4)
        writer.close()
        return reply

    return asked


def _services(platform: TarsPlatform) -> dict[str, ObjectAddress]:
    return {
        name: ObjectAddress.parse(platform.address(name))
        for name in ("registry", "config", "log", "stat", "property", "notify")
    }


async def test_the_registry_is_asked(tars_platform: TarsPlatform, ask: Ask) -> None:
    """Our answer says the same as the one that was taken, in the row's other members too."""
    tars_platform.registry.register(OBJECT, "tcp -h 127.0.0.1 -p 14002 -t 3000")
    asked = function("QueryF", "QueryF", "findObjectByIdInSameGroup")
    ours = asked.decode_result(decode_reply((await ask("findObjectByIdInSameGroup"))[4:]).body)
    theirs = asked.decode_result(recorded("findObjectByIdInSameGroup").body)
    assert (ours.ret, ours.inactiveEp) == (theirs.ret, theirs.inactiveEp) == (0, [])
    for member in ("host", "port", "timeout", "istcp", "grid"):
        assert getattr(ours.activeEp[0], member) == getattr(theirs.activeEp[0], member)
    assert tars_platform.registry.asked == [(OBJECT, "127.0.0.1")]


async def test_a_file_is_loaded(tars_platform: TarsPlatform, ask: Ask) -> None:
    """The same answer; theirs has an empty description at its end."""
    tars_platform.config.put("Demo", "PyProbe", "a.conf", "x=1")
    assert decode_reply((await ask("loadConfigByInfo"))[4:]) == recorded("loadConfigByInfo")
    listed = function("ConfigF", "Config", "ListAllConfigByInfo")
    answer = listed.decode_result(decode_reply((await ask("ListAllConfigByInfo"))[4:]).body)
    assert tuple(answer) == (0, ["a.conf"])


async def test_lines_are_logged(tars_platform: TarsPlatform, ask: Ask) -> None:
    """By both functions; the same answers."""
    for name in ("loggerbyInfo", "logger"):
        assert decode_reply((await ask(name))[4:]) == recorded(name)
    assert tars_platform.log.text("mylog", "Demo.PyProbe") == "line one\nline one\n"
    assert [(each.format, each.kind) for each in tars_platform.log.batches] == [
        ("%Y%m%d", "1day"),
        ("%Y%m%d", ""),
    ]


async def test_reports_are_kept(tars_platform: TarsPlatform, ask: Ask) -> None:
    """One-way, structs as keys of maps."""
    for name in ("reportMicMsg", "reportPropMsg"):
        assert await ask(name) == b""
    await tars_platform.until(lambda: tars_platform.stat.reports and tars_platform.property.reports)
    totals = tars_platform.stat.totals(True, slave="TARS.NodeTarsServer")
    assert (totals["getUsrName"].failed, totals["test"].succeeded) == (0, 1)
    assert tars_platform.property.values("Demo.PyProbe")["probe"] == {
        "Count": "2", "Max": "42", "Min": "7", "Sum": "49", "Avg": "24", "Distr": "1|0,10|1,100|1",
    }  # fmt: skip


async def test_a_note_is_kept(tars_platform: TarsPlatform, ask: Ask) -> None:
    """ReportInfo, whose tags begin with 1; the caller's node is in the context."""
    assert decode_reply((await ask("reportNotifyInfo"))[4:]).code == 0
    assert tars_platform.notify.messages("Demo.PyProbe") == ["restart"]
    assert request("reportNotifyInfo").context == {"node_name": "10.0.0.1"}


def test_a_keep_alive_is_read() -> None:
    """And written: the same bytes."""
    keep_alive = function("NodeF", "ServerF", "keepAlive")
    body = request("keepAlive").body
    [info] = keep_alive.decode_args(body)
    expected: Any = interfaces("NodeF").ServerInfo(
        application="Demo", serverName="PyProbe", pid=1234, adapter="Demo.PyProbe.ObjAdapter"
    )
    assert info == expected
    assert keep_alive.encode_args((expected,)) == body
    version = function("NodeF", "ServerF", "reportVersion")
    assert version.decode_args(request("reportVersion").body) == ("Demo", "PyProbe", "1.0.0")
