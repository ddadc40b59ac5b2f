"""The trace log: both ends of a call, with the parameters that the beginner of its chain asks for."""

from __future__ import annotations

from base64 import b64decode
from typing import Any

import pytest

import skerry.tars
from skerry.tars.call import Call
from skerry.tars.communicator import Communicator
from skerry.tars.platform.trace_log import TOO_LONG, TraceLog
from skerry.tars.server import Server
from skerry.tars.settings import ClientSettings
from skerry.tars.trace import Trace
from skerry.tars.wire.packet import STATUS_TRACE_KEY

NAME = "Demo.PyServer.SumObj"
CHAIN = "ee824ad0eb4dacf56b29d230a229c584"
demo: Any = skerry.tars.load_text("""
module Demo { interface Sum { int sum(int a, string text, out string said); void fail(int a); }; };
""").Demo


class SumServant(demo.Sum):  # type: ignore[misc]
    def __init__(self) -> None:
        self.proxy: Any = None

    async def sum(self, a: int, text: str) -> tuple[int, str]:
        if a:
            return tuple(await self.proxy.sum(0, text))
        return len(text), "said"

    async def fail(self, a: int) -> None:
        raise skerry.tars.ServantError(5, "no")


async def lines_of(flags: str, text: str, *, version: int = 1, fails: bool = False) -> dict[str, list[str]]:
    """What is in the trace log of a server that is called, and calls itself, in a chain with these flags, as texts
    behind their annotations."""
    found: list[str] = []
    log = TraceLog(found.append, "Demo.PyServer")

    class Observer:
        def served(self, call: Call, code: int, seconds: float) -> None:
            log.served(call, code, seconds)

    servant, server = SumServant(), Server(observer=Observer())
    server.add(servant, f"{NAME}@tcp -h 127.0.0.1 -p 0 -t 60000")
    settings = ClientSettings(traced=log.called)
    async with (
        server,
        Communicator(settings=settings, timeout_seconds=60) as inner,
        Communicator(timeout_seconds=60) as outer,
    ):
        servant.proxy = inner.proxy(demo.Sum, server.address(NAME))
        status = {STATUS_TRACE_KEY: f"{flags}-{CHAIN}|00f067aa0ba902b7"}
        proxy = outer.proxy(
            demo.Sum, server.address(NAME), timeout_seconds=60, version=version, status=status
        )
        if fails:
            with pytest.raises(skerry.tars.RemoteError):
                await proxy.fail(7)
        else:
            await proxy.sum(1, text)
    told: dict[str, list[str]] = {}
    for line in found:
        parts = line.split("|")
        told.setdefault(parts[3], []).append(b64decode(parts[9]).decode() if parts[9] else "")
    return told


@pytest.mark.parametrize("version", [1, 3, 5])
async def test_parameters_are_in_it_as_the_chain_asks(version: int) -> None:
    """JSON by name, the return value without one, as TarsCpp writes them; at each end of the call."""
    told = await lines_of("f", "four", version=version)
    assert told["cs"] == ['{"a":0,"text":"four"}']
    assert told["sr"] == ['{"a":0,"text":"four"}', '{"a":1,"text":"four"}']
    assert told["cr"] == ['{"said":"said","":4}']
    assert told["ss"] == ['{"said":"said","":4}'] * 2


async def test_what_is_not_asked_for_is_not_written() -> None:
    """A bit for each annotation; a chain of HTTP asks for none, and flags that are none ask for none."""
    told = await lines_of("4", "four")
    assert (told["cs"], told["cr"], told["ss"]) == ([""], [""], ["", ""])
    assert told["sr"][0] == '{"a":0,"text":"four"}'
    for flags in ("0", "1f", "x"):
        assert {text for texts in (await lines_of(flags, "four")).values() for text in texts} == {""}


async def test_long_parameters_are_named_as_such() -> None:
    """Beyond a kilobyte, or what the chain allows."""
    assert (await lines_of("f", "x" * 2000))["cs"] == [TOO_LONG]
    assert len((await lines_of("f.2", "x" * 2000))["cs"][0]) > 2000


async def test_a_failure_has_no_answer() -> None:
    """What was asked is there all the same."""
    told = await lines_of("f", "", fails=True)
    assert told == {"sr": ['{"a":7}'], "ss": [""]}


def test_flags() -> None:
    """As TarsCpp reads them."""
    wants = [Trace(f"{flags}-{CHAIN}", "", "1").wants for flags in ("0", "f", "c.16", "10", "", "f.x")]
    assert wants == [(0, 1), (15, 1), (12, 16), (0, 1), (0, 1), (15, 1)]
