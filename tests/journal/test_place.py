"""Where a memory stands, and what it makes of what the journal answers."""

from __future__ import annotations

from skerry.journal.epochs import Epochs
from skerry.journal.hints import Hint
from skerry.journal.journal import Head
from skerry.journal.place import Place
from skerry.position import Position


def test_a_journal_that_does_not_name_the_event_leaves_what_is_known() -> None:
    """The event at its own offset is remembered, so that a hint of a history without it is noticed."""
    place = Place()
    place.arrive(5, Epochs([("a", 0, 0)]), "command-5")
    for named in ("", "command-5"):
        assert place.judge(Head(Position("a", 5), 0, named), 5, "command-5").goes_on
        assert place.contradicts(Hint("a", 6, 6, before="another"))
        assert not place.contradicts(Hint("a", 6, 6, before="command-5"))
