"""What livekv keeps in memory."""

from __future__ import annotations

import msgspec

from livekv.messages import Value, ValueDeleted, ValuePut, values
from livekv.values import Values
from skerry import Record


def record(offset: int) -> Record:
    return Record(offset, "c", "k", "value_put", 1, 0.0, False, msgspec.Raw(b"{}"))


def test_who_asks_before_anything_changed_shares_one_list() -> None:
    """A crowd that comes back for a snapshot does not take a copy each; every change makes the next one new."""
    memory = Values()
    memory.load(values, "a", Value("1"), 1)
    first = memory.items()
    assert memory.items() is first
    memory.put(ValuePut("b", "2"), record(2))
    second = memory.items()
    memory.delete(ValueDeleted("a"), record(3))
    third = memory.items()
    memory.load(values, "c", Value("3"), 4)
    fourth = memory.items()
    memory.clear()
    assert [[key for key, _ in each] for each in (first, second, third, fourth, memory.items())] == [
        ["a"], ["a", "b"], ["b"], ["b", "c"], [],
    ]  # fmt: skip


def test_a_prefix_has_a_list_of_its_own() -> None:
    """Asked in turns, each sees what it asked for."""
    memory = Values()
    for number, key in enumerate(("a1", "b1", "a2")):
        memory.load(values, key, Value("x"), number)
    for _ in range(2):
        assert [key for key, _ in memory.items("a")] == ["a1", "a2"]
        assert [key for key, _ in memory.items("")] == ["a1", "b1", "a2"]
