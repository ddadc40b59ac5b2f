"""Hints that came before their turn are kept in order and within bounds."""

from __future__ import annotations

import msgspec

from skerry.journal.hints import EarlyHints, Hint
from skerry.journal.journal import Record


def hint(first: int, last: int, epoch: str = "e") -> Hint:
    records = [
        Record(n, f"{n:032x}", "k", "put", 1, 1.0, False, msgspec.Raw(b"1")) for n in range(first, last + 1)
    ]
    return Hint(epoch, first, last, records)


def test_they_come_out_in_order_as_far_as_memory_reaches() -> None:
    """Whatever the order of their coming: lowest first, and none beyond the gap that it waits for."""
    early = EarlyHints(100)
    for one in (hint(7, 9), hint(3, 4), hint(3, 3), hint(5, 5)):
        early.keep(one)
    assert early.highest == 9
    assert early.take(2) is None
    assert [early.take(5), early.take(5), early.take(5), early.take(5)] == [
        hint(3, 4),
        hint(3, 3),
        hint(5, 5),
        None,
    ]
    assert early.take(7) == hint(7, 9)
    assert (early.take(99), early.highest) == (None, 0)


def test_what_has_no_room_or_no_records_is_left_to_the_journal() -> None:
    """Never more records than allowed; what is taken out makes room again."""
    early = EarlyHints(3)
    for one in (Hint("e", 1, 9), hint(11, 12), hint(13, 14)):
        early.keep(one)
    assert early.highest == 12
    assert early.take(11) == hint(11, 12)
    early.keep(hint(13, 15))
    assert early.highest == 15


def test_a_new_epoch_ends_those_of_the_old_one() -> None:
    """They leave, and their room is free."""
    early = EarlyHints(4)
    for one in (hint(2, 3), hint(5, 5, "new"), hint(4, 4)):
        early.keep(one)
    early.forget_others("new")
    assert early.highest == 5
    early.keep(hint(6, 8, "new"))
    assert [early.take(9), early.take(9), early.take(9)] == [hint(5, 5, "new"), hint(6, 8, "new"), None]
