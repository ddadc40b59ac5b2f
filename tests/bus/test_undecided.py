"""Which command speaks for all those that nobody decides."""

from __future__ import annotations

from skerry.bus.undecided import EVIDENCE_SECONDS, UNSURE_SECONDS, Undecided


def test_the_oldest_speaks_until_it_is_decided() -> None:
    """Its wait counts from when it was sent, or from the last moment that anything was decided."""
    undecided = Undecided()
    assert undecided.oldest(5.0) is None
    undecided.sent("a", 1.0, durable=True)
    undecided.sent("b", 2.0, durable=True)
    assert undecided.oldest(5.0) == ("a", 1.0)
    undecided.heard(4.0)
    assert undecided.oldest(5.0) == ("a", 4.0)
    undecided.decided("a")
    assert undecided.oldest(5.0) == ("b", 4.0)
    undecided.decided("b")
    assert undecided.oldest(5.0) is None


def test_who_is_overtaken_says_nothing() -> None:
    """A command that waits although a later one is decided was lost, held or decided elsewhere: no sign that nobody
    decides."""
    undecided = Undecided()
    undecided.sent("lost", 1.0, durable=True)
    undecided.sent("later", 2.0, durable=True)
    undecided.decided("later")
    assert undecided.oldest(60.0) is None
    undecided.sent("new", 3.0, durable=True)
    assert undecided.oldest(60.0) == ("new", 3.0)


def test_evidence_ends() -> None:
    """One that may not be in its queue is believed for a while, a durable one for long, one that was refused not at
    all."""
    undecided = Undecided()
    undecided.sent("unsure", 0.0, durable=False)
    undecided.sent("durable", 0.0, durable=False)
    undecided.sent("refused", 0.0, durable=False)
    undecided.durable("durable")
    undecided.refused("refused")
    undecided.durable("refused")
    assert undecided.oldest(UNSURE_SECONDS) == ("unsure", 0.0)
    assert undecided.oldest(UNSURE_SECONDS + 1) == ("durable", 0.0)
    assert undecided.oldest(EVIDENCE_SECONDS + 1) is None
    assert len(undecided) == 0


def test_it_is_bounded() -> None:
    """The older ones are kept: they speak first."""
    undecided = Undecided(remembered=2)
    for number in range(4):
        undecided.sent(str(number), float(number), durable=True)
    assert len(undecided) == 2
    assert undecided.oldest(5.0) == ("0", 0.0)
