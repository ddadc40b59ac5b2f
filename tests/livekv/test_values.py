"""What livekv keeps in memory: in order at every moment, and read as of one moment while it changes."""

from __future__ import annotations

from itertools import islice

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from livekv import view
from livekv.messages import Value, ValueDeleted, ValuePut, values
from livekv.values import Values
from skerry import Record


def record(offset: int) -> Record:
    return Record(offset, "c", "k", "value_put", 1, 0.0, False, msgspec.Raw(b"{}"))


def loaded(*keys: str) -> Values:
    memory = Values()
    for number, key in enumerate(keys):
        memory.load(values, key, Value("x"), number)
    return memory


def put(memory: Values, key: str, value: str, offset: int = 9) -> None:
    memory.put(ValuePut(key, value), record(offset))


def delete(memory: Values, key: str) -> None:
    memory.delete(ValueDeleted(key), record(9))


def pairs(memory: Values, prefix: str = "") -> list[tuple[str, str]]:
    """What is under `prefix` now, by plain means."""
    return sorted((key, entry.value) for key, entry in memory.entries.items() if key.startswith(prefix))


class Reading:
    """A view that is read a little at a time, and what it has to say in the end."""

    def __init__(self, memory: Values, prefix: str) -> None:
        self.expected = pairs(memory, prefix)
        self.found: list[tuple[str, str]] = []
        self._rest = iter(memory.items(prefix))

    def read(self, number: int | None = None) -> None:
        self.found += [(key, entry.value) for key, entry in islice(self._rest, number)]


KEYS = st.sampled_from(["a", "a/", "aa", "ab", "b", "b/", "b/a"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), KEYS),
        st.tuples(st.just("delete"), KEYS),
        st.tuples(st.just("open"), st.sampled_from(["", "a", "b/", "ab"])),
        st.tuples(st.just("read"), st.integers(1, 4)),
    ),
    min_size=10,
    max_size=60,
)


@settings(deadline=None)
@given(st.sets(KEYS, min_size=3), STEPS)
def test_a_view_is_what_was_there_when_it_was_made(
    keys: set[str], steps: list[tuple[str, str | int]]
) -> None:
    """Whatever is put and deleted while it is read, by however many views at once, and in order of the keys."""
    normal, view.STEP = view.STEP, 2
    try:
        memory = loaded(*keys)
        readings: list[Reading] = []
        for number, (what, about) in enumerate(steps):
            match what, about:
                case "put", str(key):
                    put(memory, key, f"v{number}")
                case "delete", str(key):
                    delete(memory, key)
                case "open", str(prefix):
                    readings.append(Reading(memory, prefix))
                case "read", int(size):
                    for reading in readings:
                        reading.read(size)
            assert list(memory.ordered()) == sorted(memory.entries)
        for reading in readings:
            reading.read()
            assert reading.found == reading.expected
    finally:
        view.STEP = normal


def test_a_view_outlives_memory_that_is_loaded_anew() -> None:
    """A store that comes back with other contents takes nothing from whoever reads the old one."""
    memory = loaded("a", "b")
    old = memory.items()
    memory.clear()
    memory.load(values, "c", Value("x"), 1)
    put(memory, "a", "new")
    assert [(key, entry.value) for key, entry in old] == [("a", "x"), ("b", "x")]
    assert pairs(memory) == [("a", "new"), ("c", "x")]


def test_a_view_that_nobody_reads_any_more_costs_nothing() -> None:
    """Read to its end, given up half way or never begun: memory does not remember it."""
    memory = loaded(*(f"k{n:04}" for n in range(1000)))
    begun, never = iter(memory.items()), memory.items()
    next(begun)
    assert len(list(memory.items("k0"))) == 1000
    assert len(memory._views) == 2
    del begun, never
    assert memory._views == []


def test_a_list_is_in_order_without_sorting_first() -> None:
    """Also for keys that came out of order, before anybody asked."""
    memory = loaded("b", "ä", "a")
    put(memory, "ab", "x")
    delete(memory, "b")
    put(memory, "a", "again")
    assert list(memory.ordered()) == ["a", "ab", "ä"]
    assert list(memory.ordered("a", after="a")) == ["ab"]
    assert list(memory.ordered("", after="zz")) == ["ä"]
