"""What a SIGHUP means. With real terminals: tests/e2e/test_terminal.py."""

from __future__ import annotations

import pytest

from skerry.process.hangup import Hangup


@pytest.mark.parametrize(
    ("is_ignored", "had_terminal", "has_terminal", "ends"),
    [
        (False, True, False, True),  # the window was closed
        (False, True, True, False),  # kill -HUP from another one
        (True, True, False, False),  # nohup
        (False, False, False, False),  # setsid, a service
    ],
)
def test_only_a_closed_terminal_is_the_end(
    is_ignored: bool, had_terminal: bool, has_terminal: bool, ends: bool
) -> None:
    """And only for who was started on it without nohup; everything else is a replacement."""
    assert Hangup(is_ignored, had_terminal).means_the_end(has_terminal=has_terminal) is ends
