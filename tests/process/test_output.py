"""The logs of all children in one stream."""

from __future__ import annotations

import errno
import io
import json
import os
import threading

import pytest

from skerry.process.output import MAX_LINE_BYTES, LineSplitter, Output, rendered, rendered_json


def test_a_line_has_its_process() -> None:
    """For people: name and text, in colour where wanted, whatever the text looks like."""
    assert rendered("a", "text", 8, None) == "a        | text"
    assert rendered("a", "text", 2, 36) == "\x1b[36ma  |\x1b[0m text"
    assert rendered("a", '{"x":1}', 2, None) == 'a  | {"x":1}'


def test_everything_is_json_for_programs() -> None:
    """A record stays as it is; everything else is wrapped with its process and time: text that looks like a record,
    what only looks like JSON, and a record that was cut."""
    wrapped = json.loads(rendered_json("a", 'said "x"', 0.5))
    assert wrapped == {
        "time": "1970-01-01T00:00:00.500Z",
        "level": "info",
        "process": "a",
        "message": 'said "x"',
    }
    assert rendered_json("a", '{"x":1}', 0.0, is_record=True) == '{"x":1}'
    long = json.dumps({"message": "x" * MAX_LINE_BYTES})
    assert rendered_json("a", long, 0.0, is_record=True) == long
    for text, is_record in (
        ('{"x":1}', False),
        ("{'a': 1}", False),
        ('{"message":"cut', True),
        (long[9:], True),
    ):
        assert json.loads(rendered_json("a", text, 0.0, is_record=is_record))["message"] == text


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
    """The caller never waits; when the stream goes on, the number of lost lines is told, though no more come. What
    waits is bounded in bytes, however long a line is."""
    stream = Blocked()
    output = Output(stream, limit_bytes=60)
    output.line("a", "first")
    assert stream.entered.wait(60)
    for n in range(3):
        output.line("a", str(n))
    for _ in range(7):
        output.line("a", "x" * 50)
    stream.free.set()
    output.close(60)
    lines = stream.getvalue().splitlines()
    assert lines[:4] == ["a        | first", "a        | 0", "a        | 1", "a        | 2"]
    assert lines[4:] == ["up       | 7 lines were not written: the output is too slow"]


def test_whoever_writes_is_told_to_wait_while_the_stream_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quick reader loses nothing of a burst: the children wait. One that stands still is not waited for."""
    stream = Blocked()
    output = Output(stream, limit_bytes=400)
    output.line("a", "first")
    assert stream.entered.wait(60)
    assert not output.crowded
    output.line("a", "x" * 100)
    assert output.crowded
    monkeypatch.setattr("skerry.process.output._STALLED_SECONDS", 0.0)
    assert not output.crowded
    stream.free.set()
    output.close(60)


class Failing(io.StringIO):
    """A stream that fails some times, then takes everything."""

    def __init__(self, *errors: OSError) -> None:
        super().__init__()
        self.failing = list(errors)

    def write(self, text: str) -> int:
        if self.failing:
            raise self.failing.pop(0)
        return super().write(text)


def test_writing_goes_on_after_errors_that_pass() -> None:
    """A full disk, a terminal that is away, a stream that takes nothing just now: everything is written in the end."""
    errors = [OSError(number, "no") for number in (errno.ENOSPC, errno.EIO, errno.EDQUOT)]
    stream = Failing(*errors, BlockingIOError(errno.EAGAIN, "later"))
    output = Output(stream, retry_seconds=0.001)
    output.line("a", "first")
    output.line("a", "second")
    output.close(60)
    assert stream.getvalue() == "a        | first\na        | second\n"


def test_without_a_reader_nothing_is_kept() -> None:
    """Nobody is left to be told: neither the thread nor the memory goes on."""
    output = Output(Failing(OSError(errno.EPIPE, "gone")))
    output.line("a", "first")
    output._thread.join(60)
    for _ in range(10):
        output.line("a", "more")
    assert output._size == 0
    output.close(60)


def test_a_full_pipe_that_does_not_block_is_waited_for() -> None:
    """Somebody made stdout non-blocking (ssh does): more than it takes at once arrives whole."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with open(writing, "w", encoding="ascii") as stream, open(reading, "rb") as reader:
        output = Output(stream)
        text = "x" * 200_000 + "ü"
        output.line("a", text)
        assert reader.read(200_000 + 16) == f"a        | {text[:-1]}\\xfc\n".encode()
        output.close(60)
