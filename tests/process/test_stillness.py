"""A loop that does not turn ends its process; a pause that everybody shared does not. The thread: test_worker.py."""

from __future__ import annotations

from skerry.process.stillness import Stillness


def test_a_loop_that_stands_still_is_found() -> None:
    """When it has not turned for the limit, counted in looks that came in time; turning starts over."""
    stillness = Stillness(limit=10.0, pause=1.0)
    assert not any(stillness.look(float(second)) for second in range(11))
    stillness.turned()
    assert not any(stillness.look(float(second)) for second in range(11, 21))
    assert stillness.look(21.0)


def test_a_pause_of_the_whole_process_is_no_hang() -> None:
    """SIGSTOP, a frozen container, a moved machine: whoever looks stood still too, and everything starts over."""
    stillness = Stillness(limit=10.0, pause=1.0)
    assert not any(stillness.look(float(second)) for second in range(9))
    assert not stillness.look(3600.0)
    assert not any(stillness.look(3600.0 + second) for second in range(1, 11))
    assert stillness.look(3611.0)
