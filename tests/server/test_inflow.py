"""What a client may take of a turn of the loop, and what happens to the rest."""

from __future__ import annotations

from skerry.server.inflow import TURN_SECONDS, Inflow


def test_little_is_parsed_at_once_and_much_in_slices() -> None:
    """Nothing is lost, nothing changes its order, and no slice is longer than was asked for."""
    flow = Inflow(10, lambda: 0.0)
    assert flow.put(b"0123456789") == b"0123456789"
    assert not flow.stash
    data = bytes(range(35))
    assert flow.put(data) == b""
    assert flow.put(b"behind") == b""
    taken: list[bytes] = []
    while flow.stash:
        taken.append(flow.next())
    assert [len(part) for part in taken] == [10, 10, 10, 10, 1]
    assert b"".join(taken) == data + b"behind"


def test_beyond_its_share_a_connection_rests() -> None:
    """It is told once to rest, gets nothing until the others had their turn, and keeps what comes meanwhile."""
    flow = Inflow(10, lambda: 0.0)
    flow.put(bytes(30))
    assert not flow.spend(TURN_SECONDS)
    assert flow.next()
    assert flow.spend(0.001)
    assert not flow.spend(0.001), "one more call of rested would be one too many"
    assert flow.next() == b""
    assert flow.put(b"more") == b""
    flow.rested()
    assert flow.put(b"") == b""
    assert len(flow.next() + flow.next() + flow.next()) == 24


def test_what_may_not_be_parsed_yet_keeps_its_place() -> None:
    """Before everything that comes later; and another reader gets all of it."""
    flow = Inflow(10, lambda: 0.0)
    part = flow.put(b"first")
    flow.keep(part)
    assert flow.put(b"second") == b""
    assert flow.rest() == b"firstsecond"
    assert not flow.stash
