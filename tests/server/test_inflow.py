"""What a websocket's client may take of a turn of the loop, and what happens to the rest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from skerry.server import inflow
from skerry.server.inflow import SLICE, Inflow
from skerry.server.reading import TURN_SECONDS


class Wire:
    """A connection, its transport and its loop in one: notes what is parsed, runs what is due by hand."""

    def __init__(self) -> None:
        self.gone = self.closing = False
        self.reads = True
        self.parsed = b""
        self.due: list[Callable[[], None]] = []
        self.now = 0.0
        self.seconds = 0.0  # that a slice takes
        self.at_slice: Callable[[], None] = lambda: None
        self.transport = self.loop = self

    def parse(self, data: bytes) -> None:
        self.parsed += data
        self.now += self.seconds
        self.at_slice()

    def call_soon(self, callback: Callable[[], None]) -> None:
        self.due.append(callback)

    def is_closing(self) -> bool:
        return self.closing

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True

    def turn(self) -> None:
        due, self.due = self.due, []
        for callback in due:
            callback()


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Wire:
    wire = Wire()
    monkeypatch.setattr(inflow, "monotonic", lambda: wire.now)
    return wire


def flow_of(wire: Wire) -> Inflow:
    return Inflow(cast(Any, wire))


def test_much_is_parsed_in_shares_of_a_turn_and_meanwhile_nothing_is_read(wire: Wire) -> None:
    """A packet of slow frames waits for the next turns of the loop, in order and wholly."""
    wire.seconds = TURN_SECONDS / 2.5
    data = bytes(range(256)) * (10 * SLICE // 256)
    flow = flow_of(wire)
    flow.take(data)
    assert (len(wire.parsed), wire.reads, len(wire.due)) == (3 * SLICE, False, 1)
    flow.take(b"behind it")  # had been read before the transport was told
    assert (len(wire.parsed), len(wire.due)) == (3 * SLICE, 1)
    for _ in range(4):
        wire.turn()
    assert wire.parsed == data + b"behind it"
    assert wire.reads
    assert not wire.due


def test_what_is_quick_is_parsed_at_once(wire: Wire) -> None:
    """A large message that costs little needs no second turn."""
    flow_of(wire).take(bytes(100 * SLICE))
    assert (len(wire.parsed), wire.reads, wire.due) == (100 * SLICE, True, [])


def test_a_view_that_has_enough_holds_the_rest_back(wire: Wire) -> None:
    """Nothing is parsed beyond the slice that was too much, until the view has taken what it has."""
    flow = flow_of(wire)
    wire.at_slice = flow.hold
    flow.take(bytes(2 * SLICE))
    assert (len(wire.parsed), wire.reads, wire.due) == (SLICE, False, [])
    flow.release()
    wire.turn()
    assert (len(wire.parsed), wire.reads) == (2 * SLICE, False)
    flow.release()
    assert wire.reads


def test_nothing_is_parsed_after_the_end(wire: Wire) -> None:
    """A close in the middle ends it, and a connection that is gone is not touched any more."""
    flow = flow_of(wire)

    def close() -> None:
        wire.closing = True

    wire.at_slice = close
    flow.take(bytes(3 * SLICE))
    assert len(wire.parsed) == SLICE
    wire.gone = True
    flow.drop()
    flow.release()
    wire.turn()
    assert len(wire.parsed) == SLICE
