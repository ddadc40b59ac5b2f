"""Which history an offset belongs to, against a model that keeps the histories themselves."""

from __future__ import annotations

import random

import pytest

from skerry.journal.epochs import Epochs
from skerry.position import Position

History = list[tuple[str, int, int]]


@pytest.mark.parametrize("seed", range(50))
def test_positions_mean_what_the_histories_say(seed: int) -> None:
    """A journal that loses tails: a position is carried over exactly when the present history still has all that its
    reader had seen, and an offset is named by the epoch that wrote it."""
    chance = random.Random(seed)
    written: list[str] = []  # by which epoch each event of the present history was written
    began: History = [("e0", 0, 0)]
    seen: dict[Position, list[str]] = {}
    for number in range(1, 8):
        name = began[-1][0]
        written += [name] * chance.randrange(5)
        seen |= {Position(name, offset): written[:offset] for offset in range(len(written) + 1)}
        del written[len(written) - chance.choice([0, 0, 1, 3, 9]) if written else 0 :]
        began.append((f"e{number}", len(written), len(written)))
        epochs = Epochs(began)
        assert list(epochs)[-1] == began[-1]
        for position, history in seen.items():
            agrees = next((n for n, (a, b) in enumerate(zip(history, written, strict=False)) if a != b), None)
            agrees = min(len(history), len(written)) if agrees is None else agrees
            carried = Position(f"e{number}", position.offset) if agrees == position.offset else None
            assert epochs.carry(position) == carried
            assert epochs.common(position) is not None
            assert epochs.common(position) <= agrees  # type: ignore[operator]
        for offset, name in enumerate(written, 1):
            assert epochs.named(offset) == Position(name, offset)
        assert epochs.carry(Position(epochs.present, 99)) == Position(epochs.present, 99)


def test_an_unknown_epoch_is_nothing_to_go_by() -> None:
    """Neither with epochs nor without any."""
    epochs = Epochs([("a", 0, 0), ("b", 5, 5)])
    assert epochs.carry(Position("x", 1)) is None
    assert epochs.common(Position("x", 1)) is None
    assert "x" not in epochs
    assert Epochs().carry(Position("x", 1)) is None
    assert Epochs().present == ""
    assert Epochs().named(3) == Position("", 3)


def test_what_two_histories_have_in_common_is_found_where_they_parted() -> None:
    """When the epoch of a reader was lost too, the one before it, which both know, tells."""
    mine = Epochs([("a", 0, 0), ("b", 100, 100)])
    theirs = Epochs([("a", 0, 0), ("c", 98, 98)])
    assert theirs.agree(mine, Position("b", 105)) == 98
    assert theirs.agree(mine, Position("b", 100)) == 98
    assert theirs.agree(mine, Position("a", 90)) == 90
    assert Epochs([("a", 0, 0), ("c", 120, 120)]).agree(mine, Position("b", 105)) == 100
    assert Epochs([("z", 0, 0)]).agree(mine, Position("b", 105)) == 0
    assert theirs.lost(mine, Position("b", 105)) == 7
    assert theirs.lost(mine, Position("a", 90)) == 0


def test_what_is_not_trusted_is_not_therefore_lost() -> None:
    """An epoch that was asked for by somebody who did not know what is common: nothing before is to be trusted, and
    only what lay above its beginning is known to be lost."""
    before, now = Epochs([("a", 0, 0)]), Epochs([("a", 0, 0), ("b", 100, 0)])
    assert now.carry(Position("a", 1)) is None
    assert now.named(50) == Position("b", 50)
    assert now.lost(before, Position("a", 100)) == 0
    assert now.lost(before, Position("a", 103)) == 3
