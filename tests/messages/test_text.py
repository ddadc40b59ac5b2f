"""Words about messages can always be kept."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from skerry.backends.storable import check_text
from skerry.messages.message import storable


@given(st.text())
def test_any_text_becomes_storable(text: str) -> None:
    """Whatever an exception says; what is storable already stays as it is."""
    kept = storable(text)
    check_text("reason", [kept])
    if "\x00" not in text and text.isprintable():
        assert kept == text


def test_what_is_changed_can_still_be_read() -> None:
    """Written out, and cut at a length."""
    assert storable("a\x00b\ud800c") == "a\\0b\\ud800c"
    assert storable("x" * 5000) == "x" * 2000
