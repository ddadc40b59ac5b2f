"""Random histories: the emitters do what a model of forty plain lines does, re-entrancy and removal included."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from skerry.emitter import AsyncEventEmitter, EventEmitter, Mode, Subscription

EVENTS = ("a", 3)
# What a listener does when it is called: nothing, end another registration, emit again, add one, fail.
ACTIONS = ("nothing", "cancel", "emit", "add", "fail", "flush", "remove")

Registration = tuple[object, str, int, int | None]
REGISTRATION = st.tuples(
    st.sampled_from(EVENTS), st.sampled_from(ACTIONS), st.integers(0, 2), st.none() | st.integers(1, 3)
)


@dataclass(eq=False)
class Entry:
    """One registration in the model."""

    name: int
    event: object
    action: str
    first: int
    last: int | None
    seen: int = 0
    active: bool = True
    cancelled: bool = False


@dataclass
class Model:
    """Registrations in one list; every question is answered by going through it."""

    entries: list[Entry] = field(default_factory=list)
    calls: list[tuple[int, int]] = field(default_factory=list)
    queue: deque[tuple[Entry, int]] = field(default_factory=deque)
    mode: int = 0
    depth: int = 0
    later: bool = False

    def add(self, event: object, action: str, first: int, last: int | None) -> Entry:
        made = Entry(len(self.entries), event, action, first, last)
        self.entries.append(made)
        return made

    def emit(self, event: object, value: int) -> None:
        if self.mode & 1:
            return
        for entry in [one for one in self.entries if one.event == event and one.active]:
            if not entry.active:
                continue
            number, entry.seen = entry.seen, entry.seen + 1
            if number < entry.first:
                continue
            if entry.last is not None and number >= entry.last:
                entry.active = False
            if entry.last is None or number <= entry.last:
                if self.later:
                    self.queue.append((entry, value))
                else:
                    self.call(entry, value)

    def drain(self) -> None:
        for _ in range(len(self.queue)):
            entry, value = self.queue.popleft()
            if not entry.cancelled:
                self.call(entry, value)

    def end(self, which: Callable[[Entry], bool]) -> None:
        for entry in self.entries:
            waits = entry.active or any(entry is one for one, _ in self.queue)
            if which(entry) and waits:
                entry.active, entry.cancelled = False, True

    def call(self, entry: Entry, value: int) -> None:
        self.calls.append((entry.name, value))
        perform(entry, value, self)

    def cancel(self, name: int) -> None:
        if self.entries:
            target = self.entries[name % len(self.entries)]
            target.active, target.cancelled = False, True

    def remove_event(self, event: object) -> None:
        self.end(lambda one: one.event == event)

    def flush(self) -> None:
        self.end(lambda one: True)


def perform(entry: Entry, value: int, on: Model | Real) -> None:
    """What a called listener does, the same to the model and to the real thing."""
    match entry.action:
        case "cancel":
            on.cancel(entry.name + value)
        case "emit" if on.depth < 2:
            on.depth += 1
            on.emit(entry.event, value + 1)
            on.depth -= 1
        case "add" if on.depth < 2:
            on.add(entry.event, "nothing", value % 2, None if value % 3 else value % 2)
        case "remove":
            on.remove_event(entry.event)
        case "flush" if value % 4 == 0:
            on.flush()
        case _:
            pass


class Real:
    """The emitter under test, with the model's verbs."""

    def __init__(self, later: bool) -> None:
        self.queue: deque[Callable[[], object]] = deque()
        self.emitter = AsyncEventEmitter(self.queue.append) if later else EventEmitter()
        self.emitter.on_error = lambda error, event: None
        self.calls: list[tuple[int, int]] = []
        self.handles: list[Subscription] = []
        self.depth = 0

    def add(self, event: object, action: str, first: int, last: int | None) -> None:
        entry = Entry(len(self.handles), event, action, first, last)

        def listener(value: int) -> None:
            self.calls.append((entry.name, value))
            perform(entry, value, self)
            if action == "fail":
                raise ValueError(value)

        on: EventEmitter = self.emitter
        match first, last:
            case 0, None:
                handle = on.on(event, listener)
            case _, None:
                handle = on.delay(event, first, listener)
            case 0, 0:
                handle = on.once(event, listener)
            case 0, int():
                handle = on.times(event, last + 1, listener)
            case _ if first == last:
                handle = on.delay_once(event, first, listener)
            case _, int():
                handle = on.delay_times(event, first, last - first + 1, listener)
        self.handles.append(handle)

    def emit(self, event: object, value: int) -> None:
        self.emitter.emit(event, value)

    def drain(self) -> None:
        for _ in range(len(self.queue)):
            self.queue.popleft()()

    def cancel(self, name: int) -> None:
        if self.handles:
            self.handles[name % len(self.handles)].cancel()

    def remove_event(self, event: object) -> None:
        self.emitter.remove_listeners(event)

    def flush(self) -> None:
        self.emitter.flush_listeners()


class EmitterMachine(RuleBasedStateMachine):
    """Any sequence of registrations, emissions, removals and mode changes."""

    later = False

    def __init__(self) -> None:
        super().__init__()
        self.model, self.real = Model(later=self.later), Real(self.later)

    def _add(self, registrations: list[Registration]) -> None:
        for event, action, first, count in registrations:
            last = None if count is None else first + count - 1
            self.model.add(event, action, first, last)
            self.real.add(event, action, first, last)

    @initialize(registrations=st.lists(REGISTRATION, min_size=2, max_size=8))
    def begin(self, registrations: list[Registration]) -> None:
        self._add(registrations)

    @rule(registrations=st.lists(REGISTRATION, min_size=1, max_size=4))
    def add(self, registrations: list[Registration]) -> None:
        self._add(registrations)

    @rule(events=st.lists(st.sampled_from(EVENTS), min_size=1, max_size=4), value=st.integers(0, 9))
    def emit(self, events: list[object], value: int) -> None:
        for number, event in enumerate(events):
            self.model.emit(event, value + number)
            self.real.emit(event, value + number)

    @rule(how=st.sampled_from(["cancel", "cancel", "cancel", "remove", "flush"]), name=st.integers(0, 20))
    def end(self, how: str, name: int) -> None:
        for one in (self.model, self.real):
            match how:
                case "cancel":
                    one.cancel(name)
                case "remove":
                    one.remove_event(EVENTS[name % len(EVENTS)])
                case _:
                    one.flush()

    @rule(mode=st.sampled_from([Mode.PASS, Mode.PASS, Mode.MUTE_OUTGOING, Mode.MUTE_INCOMING]))
    def emit_in_mode(self, mode: Mode) -> None:
        self.model.mode, self.real.emitter.mode = int(mode), mode
        self.emit([EVENTS[0]], 1)
        self.model.mode, self.real.emitter.mode = 0, Mode.PASS

    @rule()
    def drain(self) -> None:
        self.model.drain()
        self.real.drain()

    @invariant()
    def the_same_calls_were_made(self) -> None:
        assert self.real.calls == self.model.calls

    @invariant()
    def the_same_registrations_are_active(self) -> None:
        assert [h.active for h in self.real.handles] == [e.active for e in self.model.entries]
        for event in EVENTS:
            active = sum(e.active and e.event == event for e in self.model.entries)
            assert len(self.real.emitter.listeners(event)) == active


class AsyncEmitterMachine(EmitterMachine):
    """The same, each call an entry of a loop: counted when emitted, cancelled until it runs."""

    later = True


TestEmitter = EmitterMachine.TestCase
TestEmitter.settings = settings(max_examples=100, stateful_step_count=12, deadline=None)
TestAsyncEmitter = AsyncEmitterMachine.TestCase
TestAsyncEmitter.settings = settings(max_examples=100, stateful_step_count=12, deadline=None)
