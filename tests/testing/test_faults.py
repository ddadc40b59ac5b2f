"""Faults by seed: each kind does what it says, and a seed repeats itself."""

from __future__ import annotations

import pytest

from skerry.backends.memory.transport import MemoryHub
from skerry.bus.transport import Transport
from skerry.journal.hints import Hint, tip
from skerry.position import Position
from skerry.testing.faults import MAX_LATE, FaultyTransport, HintFaults
from skerry.testing.transports import started


def hints(count: int) -> list[Hint]:
    return [tip(Position("e", n)) for n in range(1, count + 1)]


def heard(faults: HintFaults, count: int) -> list[int]:
    out = [h.last for hint in hints(count) for h in faults.feed(hint)]
    return out + [h.last for h in faults.flush()]


def test_without_faults_all_is_heard() -> None:
    """Probabilities of nothing change nothing."""
    assert heard(HintFaults(1), 100) == list(range(1, 101))


def test_a_seed_repeats_itself() -> None:
    """The same seed makes the same faults; another seed others."""
    one, same, other = (heard(HintFaults(seed, 0.2, 0.2, 0.2, 0.2), 200) for seed in (1, 1, 2))
    assert one == same != other


def test_drop() -> None:
    """Dropped hints are never heard; the others in order."""
    faults = HintFaults(3, drop=0.5)
    out = heard(faults, 200)
    assert out == sorted(set(out))
    assert len(out) == 200 - faults.happened["drop"]
    assert 60 < len(out) < 140


def test_double() -> None:
    """Doubled hints are heard twice, one after the other."""
    faults = HintFaults(3, double=0.5)
    out = heard(faults, 100)
    assert sorted(set(out)) == list(range(1, 101))
    assert len(out) == 100 + faults.happened["double"]


def test_swap() -> None:
    """A swapped hint comes right after its successor."""
    faults = HintFaults(5, swap=1.0)
    assert [h.last for h in faults.feed(hints(1)[0])] == []
    faults.swap = 0.0
    assert [h.last for h in faults.feed(hints(2)[1])] == [2, 1]


def test_delay() -> None:
    """A late hint comes after some later ones, none is lost."""
    out = heard(HintFaults(5, delay=0.3), 300)
    assert sorted(out) == list(range(1, 301))
    assert out != sorted(out)
    assert all(abs(place + 1 - number) <= 2 * MAX_LATE for place, number in enumerate(out))


def test_impossible_probabilities_are_refused() -> None:
    """More than one fault per hint cannot be meant."""
    with pytest.raises(ValueError, match="at most 1 together"):
        HintFaults(1, drop=0.6, double=0.6)


async def test_a_faulty_transport_is_a_transport() -> None:
    """Only hints suffer: the wrapper fits where a transport is wanted, and its listeners hear the faults."""
    hub = MemoryHub()
    wrapped = FaultyTransport(hub.endpoint("one"), HintFaults(1, drop=1.0))
    transport: Transport = wrapped
    out: list[Hint] = []
    async with started(transport):
        end = transport.subscribe(out.append)
        transport.publish(hints(1)[0])
        assert out == []
        wrapped.faults = HintFaults(1, double=1.0)
        transport.publish(hints(1)[0])
        assert len(out) == 2
        end()
        transport.publish(hints(1)[0])
        assert len(out) == 2
