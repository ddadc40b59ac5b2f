"""What the synchronous emitter promises; K-n are the weak points of the emitter that ours replaces."""

from __future__ import annotations

import asyncio
import gc
import sys
import traceback
import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import pytest

from skerry.emitter import EventEmitter, Mode, Overflow, Subscription
from skerry.errors import DeadlineExceeded, EmitterError


@dataclass(frozen=True)
class Opened:
    peer: str


@dataclass
class Unhashable:
    items: list[int]


def heard(emitter: EventEmitter, event: object = "x") -> list[object]:
    got: list[object] = []
    emitter.on(event, got.append)
    return got


def test_nobody_listening_is_no_error() -> None:
    """An emission without listeners does nothing."""
    EventEmitter().emit("x", 1, key=2)


def test_order_of_registration_and_arguments() -> None:
    """Listeners are called in order, with positional and keyword arguments, `event` and `self` included."""
    emitter, got = EventEmitter(), []
    emitter.on("x", lambda *a, **k: got.append((1, a, k)))
    emitter.on("x", lambda *a, **k: got.append((2, a, k)))
    emitter.emit("x", 5, event="e", self="s")
    assert got == [(n, (5,), {"event": "e", "self": "s"}) for n in (1, 2)]


@pytest.mark.parametrize(
    ("method", "numbers", "expected"),
    [
        ("on", (), [0, 1, 2, 3, 4]),
        ("once", (), [0]),
        ("times", (2,), [0, 1]),
        ("delay", (0,), [0, 1, 2, 3, 4]),
        ("delay", (2,), [2, 3, 4]),
        ("delay_once", (3,), [3]),
        ("delay_once", (0,), [0]),
        ("delay_times", (2, 2), [2, 3]),
        ("delay_times", (4, 9), [4]),
    ],
)
def test_which_of_five_emissions_reach_a_listener(
    method: str, numbers: tuple[int, ...], expected: list[int]
) -> None:
    """Every form of registration, over 0, 1, 2, 3, 4; `delay_once("x", 3, f)` gets 3 as documented."""
    emitter, got = EventEmitter(), list[int]()
    getattr(emitter, method)("x", *numbers, got.append)
    decorated = EventEmitter()
    also: list[int] = []
    assert getattr(decorated, method)("x", *numbers)(also.append) == also.append
    for value in range(5):
        emitter.emit("x", value)
        decorated.emit("x", value)
    assert got == also == expected


@pytest.mark.parametrize(
    "numbers", [("times", 0), ("times", -1), ("delay_times", 1, 0), ("delay", -1), ("delay_once", -1)]
)
def test_impossible_counts_are_refused(numbers: tuple[str, int]) -> None:
    """K-4: no number has a hidden meaning, not even when used as a decorator."""
    method, *rest = numbers
    with pytest.raises(ValueError, match=r"emissions, not|1 or more times"):
        getattr(EventEmitter(), method)("x", *rest)


@pytest.mark.parametrize(
    ("method", "numbers", "calls"), [("once", (), 1), ("times", (2,), 2), ("delay_once", (1,), 1)]
)
def test_counts_hold_when_a_listener_emits_again(method: str, numbers: tuple[int, ...], calls: int) -> None:
    """K-1: re-entrant emissions never make a listener run more often than it was registered for."""
    emitter, got = EventEmitter(), list[int]()

    def again(value: int) -> None:
        if value < 4:
            emitter.emit("x", value + 1)

    emitter.on("x", again)
    getattr(emitter, method)("x", *numbers, got.append)
    emitter.emit("x", 0)
    assert len(got) == calls


def test_once_is_gone_before_it_runs() -> None:
    """A `once` listener that emits the same event is not called again, and is gone although it fails."""
    emitter, calls = EventEmitter(), []

    def listener() -> None:
        calls.append(1)
        emitter.emit("x")
        raise KeyError("x")

    handle = emitter.once("x", listener)
    with pytest.raises(ExceptionGroup):
        emitter.emit("x")
    emitter.emit("x")
    assert calls == [1]
    assert not handle.active


@pytest.mark.parametrize("how", ["cancel", "remove_listener", "remove_listeners", "flush_listeners"])
def test_removal_takes_effect_within_the_running_emission(how: str) -> None:
    """K-2: a listener that was cancelled, removed or flushed meanwhile is not called any more."""
    emitter, got = EventEmitter(), list[int]()

    def first(value: int) -> None:
        match how:
            case "cancel":
                handle.cancel()
            case "remove_listener":
                emitter.remove_listener("x", got.append)
            case "remove_listeners":
                emitter.remove_listeners("x")
            case _:
                emitter.flush_listeners()

    emitter.on("x", first)
    handle = emitter.on("x", got.append)
    emitter.emit("x", 1)
    assert got == []


def test_a_listener_added_meanwhile_starts_with_the_next() -> None:
    """Additions do not reach into the running emission."""
    emitter, got = EventEmitter(), list[int]()
    emitter.once("x", lambda value: emitter.on("x", got.append))
    emitter.emit("x", 1)
    emitter.emit("x", 2)
    assert got == [2]


def test_cancel_ends_its_own_registration() -> None:
    """K-3: of one callable registered twice, `cancel` ends the one whose handle it is; twice is once."""
    emitter, got = EventEmitter(), list[str]()
    emitter.on("x", lambda: got.append("between"))

    def twin() -> None:
        got.append("twin")

    first = emitter.on("x", twin)
    second = emitter.on("x", twin)
    second.cancel()
    second.cancel()
    assert (first.active, second.active) == (True, False)
    emitter.emit("x")
    assert got == ["between", "twin"]


@pytest.mark.parametrize("method", ["on", "once", "times", "delay", "delay_once", "delay_times"])
def test_removal_by_callable_finds_every_form(method: str) -> None:
    """K-5: delayed listeners too are found and removed by the callable that was registered."""
    numbers = {"times": (2,), "delay": (2,), "delay_once": (2,), "delay_times": (2, 2)}.get(method, ())
    emitter, got = EventEmitter(), list[int]()
    handle = getattr(emitter, method)("x", *numbers, got.append)
    assert emitter.find_listener("x", got.append) is handle  # bound methods are equal, not identical
    assert emitter.remove_listener("x", got.append)
    assert not emitter.remove_listener("x", got.append)
    for value in range(5):
        emitter.emit("x", value)
    assert got == []


def test_errors_are_isolated_and_raised_together() -> None:
    """K-6: one failing listener silences neither the others nor the forwards; no error is lost."""
    emitter, other, got = EventEmitter(), EventEmitter(), list[str]()

    def fail(error: Exception) -> None:
        raise error

    emitter.on("x", lambda: fail(KeyError("a")))
    emitter.on("x", lambda: got.append("own"))
    emitter.on("x", lambda: fail(OSError("b")))
    emitter.forward_events(other)
    other.on("x", lambda: got.append("forwarded"))
    with pytest.raises(ExceptionGroup) as caught:
        emitter.emit("x")
    assert got == ["own", "forwarded"]
    assert [type(e) for e in caught.value.exceptions] == [KeyError, OSError]
    assert "of event 'x'" in caught.value.exceptions[0].__notes__[0]


def test_on_error_takes_errors_and_its_own_are_not_lost() -> None:
    """With `on_error` set nothing is raised; when the handler itself fails, that error is."""
    emitter, errors = EventEmitter(), list[object]()
    emitter.on("x", lambda: 1 / 0)
    emitter.on_error = lambda error, event: errors.append((type(error), event))
    emitter.emit("x")
    assert errors == [(ZeroDivisionError, "x")]

    def bad(error: Exception, event: object) -> None:
        raise RuntimeError("handler") from error

    emitter.on_error = bad
    with pytest.raises(ExceptionGroup) as caught:
        emitter.emit("x")
    assert isinstance(caught.value.exceptions[0].__cause__, ZeroDivisionError)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, asyncio.CancelledError])
def test_interrupts_pass_at_once(error: type[BaseException]) -> None:
    """What ends a task or the process is never collected."""
    emitter, got = EventEmitter(), list[int]()

    def interrupt() -> None:
        raise error

    emitter.on("x", interrupt)
    emitter.on("x", lambda: got.append(1))
    with pytest.raises(error):
        emitter.emit("x")
    assert got == []


def test_coroutine_functions_are_refused() -> None:
    """K-7: a listener that nobody would await is an error when it is registered, not silence."""

    class Awaited:
        async def __call__(self) -> None: ...

    async def listener() -> None: ...

    for one in (listener, Awaited()):
        with pytest.raises(TypeError, match="AsyncEventEmitter"):
            EventEmitter().on("x", one)
    with pytest.raises(TypeError, match="callable"):
        EventEmitter().on("x", 3)  # type: ignore[call-overload]


def test_typed_events_are_name_and_payload() -> None:
    """An instance reaches the listeners of its class, hashable or not, also through forwards and copies."""
    emitter, other = EventEmitter(), EventEmitter()
    emitter.forward_events(other)
    own, far, loose = heard(emitter, Opened), heard(other, Opened), heard(emitter, Unhashable)
    copied = EventEmitter()
    emitter.copy_event(copied, Opened)
    copies = heard(copied, Opened)
    emitter.emit(Opened("a"))
    emitter.emit(Opened, Opened("b"))
    emitter.emit(Unhashable([1]))
    assert own == far == copies == [Opened("a"), Opened("b")]
    assert loose == [Unhashable([1])]


def test_plain_values_are_names_only() -> None:
    """A string is never delivered to listeners of `str`; an instance that is itself a name goes by name."""
    emitter = EventEmitter()
    got, named = heard(emitter, str), list[tuple[object, ...]]()
    emitter.on(Opened("a"), lambda *args: named.append(args))
    emitter.emit("hello")
    emitter.emit(Opened("a"))
    emitter.emit(Opened("a"), 1)
    assert got == []
    assert named == [(), (1,)]


def test_handles_are_context_managers() -> None:
    """A subscription lives as long as its `with` block."""
    emitter, got = EventEmitter(), list[int]()
    with emitter.on("x", got.append) as handle:
        emitter.emit("x", 1)
        assert handle.active
    emitter.emit("x", 2)
    assert got == [1]
    assert emitter.listeners("x") == ()


def test_names_that_nobody_hears_leave_nothing_behind() -> None:
    """Registering and ending many names does not grow the emitter."""
    emitter = EventEmitter()
    for number in range(1000):
        emitter.once(number, print).cancel()
    assert not emitter._listeners
    assert not emitter._members


def test_many_once_listeners_leave_nothing_behind() -> None:
    """Two thousand waiters of one event are all served once, and none is kept."""
    emitter, got = EventEmitter(), list[int]()
    for _ in range(2000):
        emitter.once("x", got.append)
    emitter.emit("x", 1)
    assert len(got) == 2000
    assert not emitter._listeners
    assert not emitter._members


def test_registering_is_linear(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many listeners of one event are not copied again for each registration and each end of one."""
    made = list[int]()

    def counted(members: Iterable[Subscription]) -> tuple[Subscription, ...]:
        made.append(0)
        return tuple(members)

    monkeypatch.setattr("skerry.emitter.listeners.tuple", counted, raising=False)
    emitter = EventEmitter()
    handles = [emitter.on("x", print) for _ in range(5000)]
    for handle in handles:
        handle.cancel()
    assert not made


def test_a_likely_leak_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """More listeners of one event than `leak_warning` are logged, with the event's name, once."""
    emitter = EventEmitter()
    emitter.leak_warning = 10
    for _ in range(50):
        emitter.on("change", print)
    [record] = caplog.records
    assert "11 listeners of 'change'" in record.getMessage()


async def test_waiting_is_woken_from_another_thread() -> None:
    """`wait_for` and `stream` end in the thread of their loop, whichever thread emits."""
    emitter = EventEmitter()
    waiting = asyncio.create_task(emitter.wait_for("x", 60.0))
    await asyncio.sleep(0)
    await asyncio.to_thread(emitter.emit, "x", 1)
    assert tuple(await waiting) == (1,)
    async with emitter.stream("x") as stream:
        fetching = asyncio.create_task(anext(stream))
        await asyncio.sleep(0)
        await asyncio.to_thread(emitter.emit, "x", 2)
        assert tuple(await fetching) == (2,)


# Passing on.


def test_forwards_follow_own_listeners_and_twice_is_once() -> None:
    """Every event, with own listeners or without, goes on after the own listeners, once."""
    emitter, other, got = EventEmitter(), EventEmitter(), list[str]()
    assert emitter.forward_events(other) is other
    emitter.forward_events(other)
    other.on("x", lambda: got.append("other"))
    emitter.on("x", lambda: got.append("own"))
    emitter.emit("x")
    assert got == ["own", "other"]


def test_discard_takes_effect_within_the_emission() -> None:
    """A listener may stop the forward of the emission it hears; copies stay."""
    emitter, other = EventEmitter(), EventEmitter()
    emitter.forward_events(other)
    got = heard(other)
    emitter.once("x", lambda value: emitter.discard_events(other))
    emitter.emit("x", 1)
    emitter.copy_event(other, "x")
    assert emitter.discard_events(other) is other
    emitter.emit("x", 2)
    assert got == [2]


def test_copies_are_listeners_with_handles() -> None:
    """A copy re-emits at its place in the order and can be cancelled."""
    emitter, other = EventEmitter(), EventEmitter()
    got = heard(other)
    got_y = heard(other, "y")
    first, second = emitter.copy_events(other, ["x", "y"])
    emitter.emit("x", 1)
    emitter.emit("y", 2)
    first.cancel()
    emitter.emit("x", 3)
    assert (got, got_y, second.active) == ([1], [2], True)


def test_circles_are_refused_when_made() -> None:
    """Forwards and copies that would bring an event back are EmitterErrors; other names are no circle."""
    a, b, c = EventEmitter(), EventEmitter(), EventEmitter()
    a.forward_events(b)
    b.copy_event(c, "x")
    for attempt in (
        lambda: a.forward_events(a),
        lambda: b.forward_events(a),
        lambda: c.forward_events(a),
        lambda: c.copy_event(a, "x"),
        lambda: c.copy_events(a, ["y", "x"]),
    ):
        with pytest.raises(EmitterError, match="circle"):
            attempt()
    assert c.listeners("y") == ()  # copy_events made none
    c.copy_event(a, "y")
    with pytest.raises(EmitterError, match="circle"):
        b.forward_events(c)  # y: a -> b -> c -> a
    a.discard_events(b)
    b.forward_events(c)


@pytest.mark.parametrize(
    ("mode", "own", "copied", "forwarded"),
    [
        (Mode.PASS, 1, 1, 1),
        (Mode.MUTE_INCOMING, 0, 0, 1),
        (Mode.MUTE_OUTGOING, 1, 1, 0),
        (Mode.MUTE_BOTH, 0, 0, 0),
    ],
)
def test_modes(mode: Mode, own: int, copied: int, forwarded: int) -> None:
    """Own listeners and copies are incoming, forwards are outgoing."""
    emitter, copy, other = EventEmitter(), EventEmitter(), EventEmitter()
    emitter.copy_event(copy, "x")
    emitter.forward_events(other)
    got = heard(emitter), heard(copy), heard(other)
    emitter.mode = mode
    emitter.emit("x", 1)
    assert tuple(map(len, got)) == (own, copied, forwarded)
    assert emitter.mode is mode


def test_muted_is_scoped_and_not_counted() -> None:
    """`muted` ends with its block, adds to what is muted, and a muted emission is not counted."""
    emitter, got = EventEmitter(), list[int]()
    emitter.delay_once("x", 1, got.append)
    with emitter.muted(outgoing=False), emitter.muted(incoming=False):
        assert int(emitter.mode) == Mode.MUTE_BOTH
        emitter.emit("x", 1)
    assert int(emitter.mode) == Mode.PASS
    emitter.emit("x", 2)
    emitter.emit("x", 3)
    assert got == [3]


# Waiting.


async def test_wait_for_gives_what_was_emitted() -> None:
    """A name gives the arguments, a class its instance; the listener is gone afterwards."""
    emitter = EventEmitter()
    asyncio.get_running_loop().call_soon(lambda: emitter.emit("x", 1, key=2))
    got = await emitter.wait_for("x", 5.0)
    assert (got, got.kwargs) == ((1,), {"key": 2})
    asyncio.get_running_loop().call_soon(lambda: emitter.emit(Opened("a")))
    assert await emitter.wait_for(Opened, None) == Opened("a")
    assert emitter.listeners("x") == emitter.listeners(Opened) == ()


async def test_wait_for_has_a_deadline_and_leaves_nothing() -> None:
    """A wait that runs out is a DeadlineExceeded; cancelled or run out, no listener stays."""
    emitter = EventEmitter()
    with pytest.raises(DeadlineExceeded, match="'x'"):
        await emitter.wait_for("x", 0.001)
    waiting = asyncio.ensure_future(emitter.wait_for("x", None))
    await asyncio.sleep(0)
    assert len(emitter.listeners("x")) == 1
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert emitter.listeners("x") == ()


@pytest.mark.parametrize(("overflow", "left"), [("drop_oldest", [3, 4]), ("drop_newest", [0, 1])])
async def test_streams_are_bounded(overflow: Overflow, left: list[int]) -> None:
    """A full stream drops as asked and counts it; closing ends the iteration after what waits."""
    emitter = EventEmitter()
    stream = emitter.stream("x", maxsize=2, overflow=overflow)
    for value in range(5):
        emitter.emit("x", value)
    assert (len(stream), stream.dropped) == (2, 3)
    stream.close()
    emitter.emit("x", 9)
    assert [value async for (value,) in stream] == left
    assert stream.closed


async def test_a_stream_may_refuse_instead() -> None:
    """`overflow="error"` makes the emission report it."""
    emitter = EventEmitter()
    async with emitter.stream(Opened, maxsize=1, overflow="error") as stream:
        emitter.emit(Opened("a"))
        with pytest.raises(ExceptionGroup) as caught:
            emitter.emit(Opened("b"))
        assert isinstance(caught.value.exceptions[0], EmitterError)
        assert await anext(stream) == Opened("a")
    assert emitter.listeners(Opened) == ()


async def test_a_stream_waits_for_one_reader() -> None:
    """A waiting reader is woken by an emission; a second reader is told that it is one too many."""
    emitter = EventEmitter()
    stream = emitter.stream("x")
    reader = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    with pytest.raises(EmitterError, match="another task"):
        await anext(stream)
    emitter.emit("x", 1)
    assert await reader == (1,)
    reader = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    stream.close()
    with pytest.raises(StopAsyncIteration):
        await reader


def test_streams_refuse_impossible_settings() -> None:
    """No endless stream, no unknown rule."""
    with pytest.raises(ValueError, match="1 or more"):
        EventEmitter().stream("x", 0)
    with pytest.raises(ValueError, match="drop_oldest"):
        EventEmitter().stream("x", 1, "block")  # type: ignore[call-overload]


def test_an_emitter_is_freed_with_its_owner() -> None:
    """Nothing global holds an emitter or its listeners."""

    class Server(EventEmitter):
        pass

    server = Server()
    server.times("x", 3, lambda: None)
    gone = weakref.ref(server)
    del server
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("backwards", [False, True])
def test_a_chain_of_forwards_may_be_long(backwards: bool) -> None:
    """An emission goes through 2,000 emitters in order, and what fails on the way comes back as one group; making the
    chain looks at each link once or twice, from whichever end it is made."""
    chain = [EventEmitter() for _ in range(2_000)]
    got: list[int] = []

    def fail() -> None:
        raise OSError("here")

    for number, emitter in enumerate(chain):
        emitter.on("x", lambda number=number: got.append(number))
    chain[1_000].on("x", fail)
    chain[-1].on("x", fail)
    links = list(pairwise(chain))
    looks = 0

    def count(_frame: object, _what: str, _argument: object) -> None:
        nonlocal looks
        looks += 1

    sys.setprofile(count)
    try:
        for here, there in reversed(links) if backwards else links:
            here.forward_events(there)
    finally:
        sys.setprofile(None)
    assert looks < 40 * len(links)
    with pytest.raises(ExceptionGroup) as caught:
        chain[0].emit("x")
    assert got == list(range(2_000))
    assert len(caught.value.exceptions) == 2
    assert "".join(traceback.format_exception(caught.value)), "it can be shown"
    with pytest.raises(EmitterError):
        chain[-1].forward_events(chain[0])
