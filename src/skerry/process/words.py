"""What a runner and its children say to each other: one JSON object a line, over an inherited socket pair. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from skerry.errors import TransportError

MAX_LINE_BYTES = 16 * 1024 * 1024


class Word(msgspec.Struct, frozen=True, tag_field="say"):
    """Anything said."""


# --- a child says


class Beat(Word, frozen=True, tag="beat"):
    """The child's loop runs. `gauges`: what it wants to show in `skerry ps`."""

    gauges: dict[str, float | str] = {}


class Now(Word, frozen=True, tag="now"):
    """The child's state: `starting`, `standby` (composed, waits for another process to end), `ready`,
    `not ready` (with reasons), `stopping`."""

    state: str
    reasons: list[str] = []


class Loaded(Word, frozen=True, tag="loaded"):
    """Which code the child runs: a hash of the application's files that it has imported."""

    code: str


class Failed(Word, frozen=True, tag="failed"):
    """Something in the child failed: `Failure.to_wire()`; `fatal` when the process ends because of it."""

    failure: dict[str, Any]
    fatal: bool = False


class Found(Word, frozen=True, tag="found"):
    """Why the child is not ready, by what readiness is asked for (`""`, `traffic`, `writes`); nothing: it is. Said when
    it changes."""

    reasons: dict[str, list[str]]


class Numbers(Word, frozen=True, tag="numbers"):
    """The answer to Collect: this child's metrics as Prometheus text."""

    number: int
    text: str


class Told(Word, frozen=True, tag="told"):
    """The answer to Ask."""

    number: int
    text: str


class Gather(Word, frozen=True, tag="gather"):
    """Give me the metrics of all."""

    number: int


# --- the runner says


class Stop(Word, frozen=True, tag="stop"):
    """Finish within so many seconds, then end."""

    seconds: float


class Yield(Word, frozen=True, tag="yield"):
    """Let go of what a successor waits for (the journal's file), and stand by without trying to get it back."""


class Recall(Word, frozen=True, tag="recall"):
    """The successor came to nothing: take it again, and go on."""


class Collect(Word, frozen=True, tag="collect"):
    """Give me your metrics."""

    number: int


class Ask(Word, frozen=True, tag="ask"):
    """Carry out a command of the application's own kind, and tell what came of it."""

    number: int
    text: str


class Gathered(Word, frozen=True, tag="gathered"):
    """The answer to Gather."""

    number: int
    text: str


FromChild = Beat | Now | Found | Loaded | Failed | Numbers | Gather | Told
FromRunner = Stop | Yield | Recall | Collect | Gathered | Ask
AnyWord = FromChild | FromRunner

_encode = msgspec.json.Encoder().encode
_decoder: msgspec.json.Decoder[AnyWord] = msgspec.json.Decoder(AnyWord)


def line(word: AnyWord) -> bytes:
    return _encode(word) + b"\n"


class Lines:
    """Cuts a stream into words. What is no word is skipped: a newer child may say more than we know."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[AnyWord]:
        """Raises TransportError when a line does not end."""
        *whole, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MAX_LINE_BYTES:
            raise TransportError("a line on the control socket does not end")
        for each in whole:
            try:
                yield _decoder.decode(each)
            except (msgspec.DecodeError, msgspec.ValidationError):
                continue
