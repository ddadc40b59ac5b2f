"""Call chains: both texts say the same, calls carry them on, OpenTelemetry's spans are in them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import pytest

import skerry.tars
from skerry.provenance import TRACE, carried, provenance
from skerry.tars import trace as traces
from skerry.tars.call import current
from skerry.tars.call_errors import ServantError
from skerry.tars.communicator import Communicator
from skerry.tars.servant import lane
from skerry.tars.server import Server
from skerry.tars.settings import ClientSettings
from skerry.tars.trace import Trace, of_traceparent, received
from skerry.tars.wire.packet import STATUS_TRACE_KEY

CHAIN, SPAN = "ee824ad0eb4dacf56b29d230a229c584", "00f067aa0ba902b7"
NAME = "Demo.Chain.ChainObj"
demo: Any = skerry.tars.load_text("""
module Demo { interface Chain { string here(int further); string lane(); void fail(); }; };
""").Demo


class ChainServant(demo.Chain):  # type: ignore[misc]
    """Tells what it knows of its chain; `further` calls deep."""

    def __init__(self) -> None:
        self.proxy: Any = None

    async def here(self, further: int) -> str:
        if further:
            return str(await self.proxy.here(further - 1))
        return self._told()

    @lane
    def lane(self) -> str:
        return self._told()

    async def fail(self) -> None:
        raise ServantError(5, "no")

    def _told(self) -> str:
        trace = current().trace
        return f"{trace} {carried.get().get(TRACE)}"


@contextmanager
def caused_by(traceparent: str) -> Iterator[None]:
    token = carried.set(provenance(trace=traceparent))
    try:
        yield
    finally:
        carried.reset(token)


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """OpenTelemetry is loaded; its spans that have ended."""
    api, ended = recording()
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", api)
    return ended


@pytest.fixture
async def chain(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A servant that calls itself, a proxy for it, and what was told of calls that belong to a chain."""
    spans = iter(range(1, 1000))
    monkeypatch.setattr(traces, "new_span", lambda: f"{next(spans):016x}")
    told: list[tuple[str, str, int]] = []
    settings = ClientSettings(
        traced=lambda trace, servant, function, code, seconds, bodies: told.append(
            (trace.key, function, code)
        )
    )
    servant, server = ChainServant(), Server()
    server.add(servant, f"{NAME}@tcp -h 127.0.0.1 -p 0 -t 60000")
    async with server, Communicator(settings=settings, timeout_seconds=60) as communicator:
        servant.proxy = communicator.proxy(demo.Chain, server.address(NAME))
        yield servant.proxy, told


def test_both_texts_say_the_same() -> None:
    """From HTTP to Tars and back; ids of other lengths become ones that HTTP takes."""
    came = of_traceparent(f"00-{CHAIN}-{SPAN}-01")
    assert came == Trace(f"0-{CHAIN}", "", SPAN)
    sent = came.child()
    assert sent.wire == f"0-{CHAIN}|{sent.span}"
    served = received(sent.wire)
    assert served is not None
    assert served.traceparent == f"00-{CHAIN}-{sent.span}-01"
    gateway = received(f"f.2-{CHAIN}|{SPAN}|0102030405060708")
    assert gateway == Trace(f"f.2-{CHAIN}", "", SPAN)
    assert gateway.traceparent == f"00-{CHAIN}-{SPAN}-01"
    odd = received("0-short|7")
    assert odd is not None
    assert of_traceparent(odd.traceparent) is not None
    assert odd.traceparent == odd.traceparent


@pytest.mark.parametrize(
    "text", [None, "", "00-xyz-1-01", f"00-{CHAIN}-{SPAN}-00", f"00-{'0' * 32}-{SPAN}-01"]
)
def test_what_is_malformed_or_not_sampled_begins_no_chain(text: str | None) -> None:
    """An unsampled trace has no word in Tars."""
    assert of_traceparent(text) is None


@pytest.mark.parametrize("text", ["", "0-x", "|1", "0-x|"])
def test_half_a_key_is_none(text: str) -> None:
    """A caller that sets the bit and says nothing is served as any other."""
    assert received(text) is None


async def test_a_request_of_http_goes_through_several_servers(chain: Any) -> None:
    """Each call has a span of its own under the caller's; what a servant causes carries the trace."""
    proxy, told = chain
    with caused_by(f"00-{CHAIN}-{SPAN}-01"):
        said = await proxy.here(2)
    assert told == [
        (f"0-{CHAIN}|{3:016x}|{2:016x}", "here", 0),
        (f"0-{CHAIN}|{2:016x}|{1:016x}", "here", 0),
        (f"0-{CHAIN}|{1:016x}|{SPAN}", "here", 0),
    ]
    assert said == f"{Trace(f'0-{CHAIN}', '', f'{3:016x}')} 00-{CHAIN}-{3:016x}-01"


async def test_a_chain_of_another_server_goes_on_as_it_came(chain: Any) -> None:
    """Its flags are kept; a failed call is told with its code; the lane leaves nothing behind."""
    proxy, told = chain
    key = {STATUS_TRACE_KEY: f"f.2-{CHAIN}|{SPAN}"}
    traced = skerry.tars.configure(proxy, status=key)
    said = await traced.here(1)
    assert said.startswith(str(Trace(f"f.2-{CHAIN}", "", f"{1:016x}")))
    assert told == [(f"f.2-{CHAIN}|{1:016x}|{SPAN}", "here", 0)]
    assert await traced.lane() == f"{Trace(f'f.2-{CHAIN}', '', SPAN)} 00-{CHAIN}-{SPAN}-01"
    assert await proxy.lane() == "None None"
    with caused_by(f"00-{CHAIN}-{SPAN}-01"), pytest.raises(skerry.tars.RemoteError):
        await proxy.fail()
    assert told[-1][1:] == ("fail", 5)


async def test_spans_of_opentelemetry(ended: list[Any], chain: Any) -> None:
    """Served calls continue the caller's trace, calls that they make are within; failures are marked."""
    proxy, _ = chain
    traced = skerry.tars.configure(proxy, status={STATUS_TRACE_KEY: f"f.2-{CHAIN}|{SPAN}"})
    said = await traced.here(1)
    assert said.startswith(f"Trace(chain='f.2-{CHAIN}'")
    with pytest.raises(skerry.tars.RemoteError):
        await traced.fail()
    kinds = [(each.name, each.kind.name, f"{each.context.trace_id:032x}" == CHAIN) for each in ended]
    assert sorted(kinds) == sorted([
        (f"{NAME}/here", "CLIENT", False), (f"{NAME}/here", "SERVER", True),
        (f"{NAME}/here", "CLIENT", True), (f"{NAME}/here", "SERVER", True),
        (f"{NAME}/fail", "CLIENT", False), (f"{NAME}/fail", "SERVER", True),
    ])  # fmt: skip
    failed = next(each for each in ended if each.name.endswith("fail") and each.kind.name == "SERVER")
    assert failed.attributes["rpc.tars.code"] == 5
    assert failed.status.name == "ERROR"


def recording() -> tuple[ModuleType, list[Any]]:
    """OpenTelemetry's interface with a tracer that records, and the spans that have ended."""
    api: Any = pytest.importorskip("opentelemetry.trace")

    ended: list[Any] = []
    numbers = iter(range(1, 1000))

    class Recorded(api.NonRecordingSpan):  # type: ignore[misc]
        def __init__(self, name: str, context: Any, kind: Any, attributes: Any) -> None:
            super().__init__(context)
            self.name, self.context, self.kind, self.attributes = name, context, kind, dict(attributes)
            self.status: Any = None

        def is_recording(self) -> bool:
            return True

        def set_attribute(self, key: str, value: Any) -> None:
            self.attributes[key] = value

        def set_status(self, status: Any, description: Any = None) -> None:
            self.status = status

        def end(self, end_time: Any = None) -> None:
            ended.append(self)

    class Tracer(api.NoOpTracer):  # type: ignore[misc]
        def start_span(
            self, name: str, context: Any = None, kind: Any = None, attributes: Any = None, **_: Any
        ) -> Any:
            parent = api.get_current_span(context).get_span_context()
            number = next(numbers)
            chain = parent.trace_id if parent.is_valid else number
            flags = api.TraceFlags(api.TraceFlags.SAMPLED)
            return Recorded(name, api.SpanContext(chain, number, False, flags), kind, attributes)

    module = ModuleType("opentelemetry.trace")
    vars(module).update(vars(api))
    vars(module).update(get_tracer=lambda name: Tracer(), get_tracer_provider=api.NoOpTracerProvider)
    return module, ended
