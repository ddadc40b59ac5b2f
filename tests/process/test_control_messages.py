"""What a runner and its children say to each other."""

from __future__ import annotations

import pytest

from skerry.errors import TransportError
from skerry.process.control_messages import (
    MAX_LINE_BYTES,
    AnyMessage,
    Beat,
    Failed,
    Lines,
    StateChanged,
    Stop,
    line,
)


def test_words_survive_any_cut() -> None:
    """However the stream is cut, the same words come out; what is no word is passed over."""
    said: list[AnyMessage] = [
        Beat({"lag": 1}),
        StateChanged("not ready", ["why"]),
        Stop(2.5),
        Failed({"kinds": ["a:B"]}, True),
    ]
    stream = (
        b"".join(line(word) for word in said[:2])
        + b'{"say":"of a later version"}\n'
        + b"".join(line(word) for word in said[2:])
    )
    for size in (1, 7, len(stream)):
        lines = Lines()
        heard = [word for at in range(0, len(stream), size) for word in lines.feed(stream[at : at + size])]
        assert heard == said


def test_an_endless_line_is_an_error() -> None:
    """A bound on what is kept."""
    lines = Lines()
    with pytest.raises(TransportError, match="does not end"):
        list(lines.feed(b"x" * (MAX_LINE_BYTES + 1)))
