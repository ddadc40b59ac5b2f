"""Events that nobody here declares: counted by name, within bounds."""

from __future__ import annotations

import msgspec

from skerry.journal.journal import Record
from skerry.kernel.losses import MOST_NAMES, Losses
from skerry.messages.message import MessageTypes
from skerry.telemetry import Registry


def record(offset: int, name: str) -> Record:
    return Record(offset, f"{offset:032x}", "k", name, 1, 0.0, False, msgspec.Raw(b"{}"))


def test_unknown_names_are_told_apart_up_to_a_bound() -> None:
    """A name that has its number keeps it; those that come when there are too many are one."""
    losses = Losses(MessageTypes(), Registry())
    losses.look(record(number, f"strange_{number}") for number in range(MOST_NAMES))
    losses.look([record(500, "strange_7"), record(501, "late"), record(502, "later")])
    assert losses.unknown["strange_7"] == 2
    assert losses.unknown["other"] == 2
    assert list(losses.told())[:2] in (["strange_7 (2)", "other (2)"], ["other (2)", "strange_7 (2)"])
