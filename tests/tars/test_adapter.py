"""The order of TarsCpp's checks, what waits, what is refused, and how exceptions become return codes."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from skerry.tars.adapter import Adapter
from skerry.tars.call import Call, Peer, current
from skerry.tars.call_errors import ServantError
from skerry.tars.errors import EncodeError
from skerry.tars.limits import AdapterLimits
from skerry.tars.servant import Servant
from skerry.tars.wire.packet import (
    STATUS_SETNAME_VALUE,
    MessageType,
    RequestPacket,
    ResponsePacket,
    decode_reply,
)

NAME = "Test.Probe.ProbeObj"


class Caller:
    """Keeps the answers (Sink)."""

    connection = None

    def __init__(self) -> None:
        self.peer: Peer = ("192.0.2.1", 4000)
        self.replies: list[ResponsePacket | None] = []
        self.more = asyncio.Event()

    def answer(self, frame: bytes | None) -> None:
        self.replies.append(None if frame is None else decode_reply(frame[4:]))
        self.more.set()

    async def reply(self) -> ResponsePacket:
        """The only answer so far."""
        await self.more.wait()
        (reply,) = self.replies
        assert reply is not None
        return reply


class Time:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    """The adapter's clock."""
    clock = Time()
    monkeypatch.setattr("skerry.tars.adapter.monotonic", clock)
    return clock


def adapter_of(servant: object, **options: Any) -> Adapter:
    limits = AdapterLimits(
        **{key: options.pop(key) for key in list(options) if key in AdapterLimits.__slots__}
    )
    return Adapter(Servant.of(NAME, servant), limits, asyncio.get_running_loop(), **options)


def request(probe: Any, function: str, *arguments: Any, **fields: Any) -> RequestPacket:
    described = probe.__tars_interface__.functions.get(function)
    body = described.encode_args(arguments) if described and "body" not in fields else b""
    return RequestPacket(**{"request_id": 7, "servant": NAME, "function": function, "body": body, **fields})


async def ask(adapter: Adapter, asked: RequestPacket) -> ResponsePacket:
    caller = Caller()
    adapter.accept(asked, caller)
    return await caller.reply()


@pytest.fixture
def servant(make_servant: Any) -> Any:
    return make_servant()


async def test_a_result_comes_back(probe: Any, servant: Any) -> None:
    """Code 0, the id of the request, and a body that the function decodes."""
    reply = await ask(adapter_of(servant), request(probe, "divide", 7, 2))
    assert (reply.code, reply.request_id) == (0, 7)
    assert probe.__tars_interface__.functions["divide"].decode_result(reply.body) == (3, 1)


async def test_ping_needs_no_servant_function(probe: Any, servant: Any) -> None:
    """`tars_ping` is answered with code 0 and an empty body, as TarsCpp does."""
    reply = await ask(adapter_of(servant), request(probe, "tars_ping"))
    assert (reply.code, reply.body) == (0, b"")


async def test_wrong_servant_before_wrong_function(probe: Any, servant: Any) -> None:
    """-4 for another object's name, whatever the function, ping included; -3 for an unknown function."""
    adapter = adapter_of(servant)
    assert (await ask(adapter, request(probe, "nosuch", servant="Other.Obj"))).code == -4
    assert (await ask(adapter, request(probe, "tars_ping", servant="Other.Obj"))).code == -4
    assert (await ask(adapter, request(probe, "nosuch"))).code == -3


async def test_another_set_is_refused_first(probe: Any, servant: Any) -> None:
    """-11 when the SETNAME bit names another set, before the servant name is looked at; own set and no set pass."""
    adapter = adapter_of(servant, required_set="app.sz.1")
    bit = int(MessageType.SETNAME)
    other = request(
        probe, "tars_ping", servant="x", message_type=bit, status={STATUS_SETNAME_VALUE: "app.sz.2"}
    )
    own = request(probe, "tars_ping", message_type=bit, status={STATUS_SETNAME_VALUE: "app.sz.1"})
    assert (await ask(adapter, other)).code == -11
    assert (await ask(adapter, own)).code == 0
    assert (await ask(adapter, request(probe, "tars_ping"))).code == 0


async def test_parameters_that_do_not_decode(probe: Any, servant: Any) -> None:
    """-1 with the reason; the function is not called."""
    reply = await ask(adapter_of(servant), request(probe, "echo", body=b"\x16\x05abc"))
    assert reply.code == -1
    assert reply.description
    assert servant.calls == []


async def test_a_result_that_does_not_encode(probe: Any, make_servant: Any) -> None:
    """-2 when a function returns what its IDL does not allow."""

    class Wrong(type(make_servant())):  # type: ignore[misc]
        async def echo(self, text: str) -> Any:
            return 12

    assert (await ask(adapter_of(Wrong()), request(probe, "echo", "a"))).code == -2


async def test_any_exception_is_minus_99_with_its_text(probe: Any, servant: Any) -> None:
    """A coroutine's and a lane function's exception alike; the next call works."""
    adapter = adapter_of(servant)
    reply = await ask(adapter, request(probe, "divide", 1, 0))
    assert (reply.code, "zero" in reply.description) == (-99, True)
    assert (await ask(adapter, request(probe, "lane", -1))).description == "negative"
    assert (await ask(adapter, request(probe, "lane", 4))).code == 0


async def test_a_codec_error_of_the_servant_is_the_servants(probe: Any, make_servant: Any) -> None:
    """An EncodeError from within the function (it encoded something of its own) is -99, not -2."""

    class Wrong(type(make_servant())):  # type: ignore[misc]
        async def echo(self, text: str) -> str:
            raise EncodeError("mine", "not mine")

    assert (await ask(adapter_of(Wrong()), request(probe, "echo", "a"))).code == -99


async def test_a_servant_may_answer_with_a_code(probe: Any, servant: Any) -> None:
    """ServantError's code and text reach the caller."""
    reply = await ask(adapter_of(servant), request(probe, "refuse", 5, "five"))
    assert (reply.code, reply.description) == (5, "five")


async def test_one_way_is_never_answered(probe: Any, servant: Any) -> None:
    """No frame for a good call, an unknown function, a wrong servant, bad parameters, an exception, a ping."""
    adapter = adapter_of(servant)
    caller = Caller()
    asked = [
        request(probe, "nothing", packet_type=1),
        request(probe, "nosuch", packet_type=1),
        request(probe, "tars_ping", packet_type=1),
        request(probe, "tars_ping", packet_type=1, servant="x"),
        request(probe, "echo", packet_type=1, body=b"\xff"),
        request(probe, "divide", 1, 0, packet_type=1),
        request(probe, "lane", 1, packet_type=1),
    ]
    for one in asked:
        adapter.accept(one, caller)
    while len(caller.replies) < len(asked):
        caller.more.clear()
        await caller.more.wait()
    assert caller.replies == [None] * len(asked)
    assert servant.calls == ["nothing"]


async def test_concurrency_and_the_queue_in_order(probe: Any, servant: Any) -> None:
    """Beyond `concurrency` requests wait; they run in order as places become free."""
    adapter = adapter_of(servant, concurrency=2)
    callers = [Caller() for _ in range(4)]
    for number, caller in enumerate(callers):
        adapter.accept(request(probe, "gate", f"g{number}"), caller)
    await servant.entered["g1"].wait()
    assert (adapter.running, adapter.queued) == (2, 2)
    servant.gates["g0"].set()
    await servant.entered["g2"].wait()
    assert (adapter.running, adapter.queued) == (2, 1)
    for number in (1, 2, 3):
        servant.gates[f"g{number}"].set()
    for caller in callers:
        assert (await caller.reply()).code == 0
    assert servant.calls == ["g0", "g1", "g2", "g3"]
    assert adapter.idle


async def test_overload_from_four_fifths_and_silence_beyond(probe: Any, servant: Any) -> None:
    """Queue of 5: four wait, the next are answered -9 without running; nothing waits beyond."""
    adapter = adapter_of(servant, concurrency=1, queue=5)
    held = [Caller() for _ in range(5)]
    for number, caller in enumerate(held):
        adapter.accept(request(probe, "gate", f"g{number}"), caller)
    assert adapter.queued == 4
    assert (await ask(adapter, request(probe, "echo", "late"))).code == -9
    assert "late" not in servant.calls
    assert adapter.counters.overloads == 1
    for number in range(5):
        servant.gates[f"g{number}"].set()
    assert [(await caller.reply()).code for caller in held] == [0] * 5


async def test_who_waited_too_long_is_not_run(probe: Any, servant: Any, time: Time) -> None:
    """-6 beyond the queue's own time and beyond the request's iTimeout; one that had no hurry runs."""
    adapter = adapter_of(servant, concurrency=1, queue_seconds=60.0)
    first, hurried, patient = Caller(), Caller(), Caller()
    adapter.accept(request(probe, "gate", "g"), first)
    adapter.accept(request(probe, "echo", "hurried", timeout_ms=500), hurried)
    adapter.accept(request(probe, "echo", "patient"), patient)
    await servant.entered["g"].wait()
    time.now += 0.6
    servant.gates["g"].set()
    assert (await hurried.reply()).code == -6
    assert (await patient.reply()).code == 0
    assert servant.calls == ["g", "patient"]
    servant.entered["g2"]
    last = Caller()
    adapter.accept(request(probe, "gate", "g2"), Caller())
    adapter.accept(request(probe, "echo", "forgotten"), last)
    await servant.entered["g2"].wait()
    time.now += 61
    servant.gates["g2"].set()
    assert (await last.reply()).code == -6
    assert adapter.counters.queue_timeouts == 2


async def test_stop_cancels_and_answers(probe: Any, servant: Any) -> None:
    """What runs is cancelled, what waits is refused; both get an answer, none is left."""
    adapter = adapter_of(servant, concurrency=1)
    running, waiting = Caller(), Caller()
    adapter.accept(request(probe, "gate", "g"), running)
    adapter.accept(request(probe, "echo", "x"), waiting)
    await adapter.stop()
    assert ((await running.reply()).code, (await waiting.reply()).code) == (-99, -99)
    assert servant.cancelled == ["g"]
    assert adapter.idle


async def test_a_call_that_has_not_begun_is_answered_too(probe: Any, servant: Any) -> None:
    """A request taken in the very turn in which the server stops does not vanish."""
    adapter = adapter_of(servant)
    caller = Caller()
    adapter.accept(request(probe, "gate", "g"), caller)
    await adapter.stop()
    assert (await caller.reply()).code == -99


async def test_overdue_calls_can_be_cancelled(probe: Any, servant: Any) -> None:
    """With `cancel_overdue` a coroutine whose caller gave up is cancelled; by default it runs on."""
    adapter = adapter_of(servant, cancel_overdue=True)
    assert (await ask(adapter, request(probe, "gate", "g", timeout_ms=500))).code == -6
    assert servant.cancelled == ["g"]


async def test_the_observer_hears_of_every_served_call(probe: Any, servant: Any) -> None:
    """Function, code and duration of each call that reached a function."""
    seen: list[tuple[str, int]] = []

    class Observer:
        def served(self, call: Call, code: int, seconds: float) -> None:
            assert seconds >= 0
            seen.append((call.function, code))

    adapter = adapter_of(servant, observer=Observer())
    await ask(adapter, request(probe, "echo", "a"))
    await ask(adapter, request(probe, "divide", 1, 0))
    await ask(adapter, request(probe, "lane", 2))
    assert seen == [("echo", 0), ("divide", -99), ("lane", 0)]


async def test_every_version_is_answered_in_its_own(probe: Any, servant: Any) -> None:
    """TUP 2 and 3 and JSON requests get a result that the same version decodes."""
    divide = probe.__tars_interface__.functions["divide"]
    for version in (1, 2, 3, 5):
        body = divide.encode_args((7, 2), version)
        reply = await ask(adapter_of(servant), request(probe, "divide", 7, 2, version=version, body=body))
        assert (reply.version, reply.code) == (version, 0)
        assert divide.decode_result(reply.body, version) == (3, 1)
    assert (await ask(adapter_of(servant), request(probe, "divide", 7, 2, version=4))).code == -1


async def test_an_answer_that_cannot_be_encoded_is_an_answer(probe: Any, make_servant: Any) -> None:
    """A reply context that is no text, a code or a description that cannot travel: -2, not silence."""

    class Wrong(type(make_servant())):  # type: ignore[misc]
        async def echo(self, text: str) -> str:
            current().reply_context["number"] = 5  # type: ignore[assignment]
            return text

    assert (await ask(adapter_of(Wrong()), request(probe, "echo", "a"))).code == -2

    class Worse(type(make_servant())):  # type: ignore[misc]
        async def echo(self, text: str) -> str:
            raise ServantError(2**40, "\udcff")

    assert (await ask(adapter_of(Worse()), request(probe, "echo", "a"))).code == -2


async def test_a_function_that_cannot_be_cancelled_does_not_hold_the_stop(
    probe: Any, make_servant: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """stop() gives up on it after a while; it is named in the log."""
    monkeypatch.setattr("skerry.tars.adapter.CANCEL_SECONDS", 0.01)
    release = asyncio.Event()

    class Stubborn(type(make_servant())):  # type: ignore[misc]
        async def echo(self, text: str) -> str:
            while not release.is_set():
                try:
                    await release.wait()
                except asyncio.CancelledError:
                    continue
            return text

    adapter, caller = adapter_of(Stubborn()), Caller()
    adapter.accept(request(probe, "echo", "a"), caller)
    await adapter.stop()
    assert not adapter.idle
    release.set()
    assert (await caller.reply()).code == 0


async def test_a_thread_that_raises_stop_iteration(probe: Any, make_servant: Any) -> None:
    """StopIteration cannot pass through a future: it is answered like any other exception."""

    class Wrong(type(make_servant())):  # type: ignore[misc]
        def thread(self) -> str:
            raise StopIteration

    with ThreadPoolExecutor(1) as pool:
        adapter = adapter_of(Wrong(), threads=pool)
        async with asyncio.timeout(60):
            assert (await ask(adapter, request(probe, "thread"))).code == -99


async def test_a_thread_is_not_begun_for_a_caller_who_gave_up(probe: Any, make_servant: Any) -> None:
    """Threads are all busy until the caller's time is over: -6, and the function does not run."""
    ran: list[str] = []

    class Slow(type(make_servant())):  # type: ignore[misc]
        def thread(self) -> str:
            ran.append("x")
            return "x"

    with ThreadPoolExecutor(1) as pool:
        busy = threading.Event()
        pool.submit(busy.wait)
        adapter, caller = adapter_of(Slow(), threads=pool), Caller()
        adapter.accept(request(probe, "thread", timeout_ms=1), caller)
        asyncio.get_running_loop().call_later(0.01, busy.set)
        assert (await caller.reply()).code == -6
    assert ran == []


async def test_a_handler_may_bound_itself_by_the_deadline(probe: Any, make_servant: Any) -> None:
    """`current().timeout()` ends its block when the caller gives up; without iTimeout it never does."""

    class Bounded(type(make_servant())):  # type: ignore[misc]
        async def echo(self, text: str) -> str:
            async with current().timeout():
                await self.gates[text].wait()
            return text

    servant = Bounded()
    assert (await ask(adapter_of(servant), request(probe, "echo", "a", timeout_ms=10))).code == -6
    servant.gates["b"].set()
    assert (await ask(adapter_of(servant), request(probe, "echo", "b"))).code == 0
