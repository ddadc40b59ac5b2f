"""Messages between a runner and its children: one JSON object a line, over an inherited socket pair. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from skerry.errors import TransportError

MAX_LINE_BYTES = 16 * 1024 * 1024


class ControlMessage(msgspec.Struct, frozen=True, tag_field="say"):
    """Any of them; `say` is its kind on the wire."""


class Numbered(ControlMessage, frozen=True):
    """A question or its answer: `number` is the asker's, and comes back."""

    number: int


class NumberedText(Numbered, frozen=True):
    """One that says something."""

    text: str


# --- from a child


class Beat(ControlMessage, frozen=True, tag="beat"):
    """The child's loop runs. `gauges`: what it wants to show in `skerry ps`."""

    gauges: dict[str, float | str] = {}


class StateChanged(ControlMessage, frozen=True, tag="now"):
    """The child's state: `starting`, `standby` (composed, waits for another process to end), `ready`,
    `not ready` (with reasons), `stopping`."""

    state: str
    reasons: list[str] = []


class Loaded(ControlMessage, frozen=True, tag="loaded"):
    """Which code the child runs: a hash of the application's files that it has imported."""

    code: str


class Watched(ControlMessage, frozen=True, tag="watched"):
    """Which thread runs the child's loop, and how the kernel's account of its system call begins while the loop waits
    (`skerry.loop.blocked`). The runner looks every `pause` seconds."""

    thread: int
    states: list[str]
    pause: float


class Failed(ControlMessage, frozen=True, tag="failed"):
    """Something in the child failed: `Failure.to_wire()`; `fatal` when the process ends because of it."""

    failure: dict[str, Any]
    fatal: bool = False


class ReadinessChanged(ControlMessage, frozen=True, tag="found"):
    """Why the child is not ready, by what readiness is asked for (`""`, `traffic`, `writes`); nothing: it is. Said when
    it changes."""

    reasons: dict[str, list[str]]


class MetricsReply(NumberedText, frozen=True, tag="numbers"):
    """The answer to Collect: this child's metrics as Prometheus text."""


class AskReply(NumberedText, frozen=True, tag="told"):
    """The answer to Ask."""


class Gather(Numbered, frozen=True, tag="gather"):
    """Give me the metrics of all."""


# --- from the runner


class Stop(ControlMessage, frozen=True, tag="stop"):
    """Finish within so many seconds, then end."""

    seconds: float


class Yield(ControlMessage, frozen=True, tag="yield"):
    """Release what a successor waits for (the journal's file), and stand by without trying to get it back."""


class Recall(ControlMessage, frozen=True, tag="recall"):
    """The successor failed: take it again, and go on."""


class Collect(Numbered, frozen=True, tag="collect"):
    """Give me your metrics."""


class Ask(NumberedText, frozen=True, tag="ask"):
    """Carry out a command of the application's own kind, and tell what came of it."""


class GatherReply(NumberedText, frozen=True, tag="gathered"):
    """The answer to Gather."""


FromChild = (
    Beat | StateChanged | ReadinessChanged | Loaded | Watched | Failed | MetricsReply | Gather | AskReply
)
FromRunner = Stop | Yield | Recall | Collect | GatherReply | Ask
AnyMessage = FromChild | FromRunner

_encode = msgspec.json.Encoder().encode
_decoder: msgspec.json.Decoder[AnyMessage] = msgspec.json.Decoder(AnyMessage)


def line(message: AnyMessage) -> bytes:
    return _encode(message) + b"\n"


class Lines:
    """Cuts a stream into messages. Unknown ones are skipped: a newer child may send more than we know."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[AnyMessage]:
        """Raises TransportError when a line does not end."""
        *whole, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MAX_LINE_BYTES:
            raise TransportError("a line on the control socket does not end")
        for each in whole:
            try:
                yield _decoder.decode(each)
            except (msgspec.DecodeError, msgspec.ValidationError):
                continue
