"""The logs of all children in one stream."""

from __future__ import annotations

import io
import json
import threading

from skerry.process.output import MAX_LINE_BYTES, LineSplitter, Output, rendered, rendered_json


def test_a_line_has_its_process_and_json_passes_through() -> None:
    """For people: name and text, in colour where wanted; a JSON object is left alone."""
    assert rendered("a", "text", 8, None) == "a        | text"
    assert rendered("a", "text", 2, 36) == "\x1b[36ma  |\x1b[0m text"
    assert rendered("a", '{"x":1}', 8, 36) == '{"x":1}'


def test_everything_is_json_for_programs() -> None:
    """A plain line is wrapped with its process and time; what is JSON already stays as it is."""
    wrapped = json.loads(rendered_json("a", 'said "x"', 0.5))
    assert wrapped == {
        "time": "1970-01-01T00:00:00.500Z",
        "level": "info",
        "process": "a",
        "message": 'said "x"',
    }
    assert rendered_json("a", '{"x":1}', 0.0) == '{"x":1}'


def test_lines_are_cut_and_bounded() -> None:
    """Pieces are put together, an endless line is cut, what came without a newline is not lost."""
    splitter = LineSplitter()
    assert splitter.feed(b"a\r\nb") == ["a"]
    assert splitter.feed(b"c\nd") == ["bc"]
    assert splitter.end() == ["d"]
    assert splitter.end() == []
    assert [len(line) for line in splitter.feed(b"x" * (MAX_LINE_BYTES + 5))] == [MAX_LINE_BYTES]
    assert splitter.feed(b"\xff\n") == ["xxxxx\ufffd"]


class Blocked(io.StringIO):
    """A terminal that was paused."""

    def __init__(self) -> None:
        super().__init__()
        self.entered, self.free = threading.Event(), threading.Event()

    def write(self, text: str) -> int:
        self.entered.set()
        self.free.wait(60)
        return super().write(text)


def test_a_blocked_stream_drops_lines_and_says_how_many() -> None:
    """The caller never waits; when the stream goes on, the number of lost lines is told."""
    stream = Blocked()
    output = Output(stream, limit=3)
    output.line("a", "first")
    assert stream.entered.wait(60)
    for n in range(10):
        output.line("a", str(n))
    stream.free.set()
    for _ in range(10_000):
        if output._queue.empty():
            break
        threading.Event().wait(0.005)
    output.line("a", "last")
    output.close()
    lines = stream.getvalue().splitlines()
    assert lines[:4] == ["a        | first", "a        | 0", "a        | 1", "a        | 2"]
    assert lines[4:] == ["up       | 7 lines were not written: the output is too slow", "a        | last"]
