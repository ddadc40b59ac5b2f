"""What is said on a `local:` socket, and how it is cut out of the stream.

A frame is 4 bytes length (big-endian, of what follows), then a msgpack array whose first item is the kind. What is
JSON elsewhere (commands, records, outcomes, journal calls) travels inside as the bytes that it already is. Both ends
run the same version: `Hello` carries it, and another one is refused. Pure: no socket, no task.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from skerry.errors import TransportError

VERSION = 1
MAX_FRAME_BYTES = 64 * 1024 * 1024


class Frame(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Anything said. `number` pairs a request with its answer on one connection."""


class Hello(Frame, frozen=True, tag=1):
    """A peer's first frame: who it is. `name` is unique among the hub's peers; a newer one takes it over."""

    version: int
    name: str
    pid: int


class Welcome(Frame, frozen=True, tag=2):
    """The hub's first frame. `hub`: another one than before means that what was not confirmed is gone."""

    version: int
    hub: str


class Refused(Frame, frozen=True, tag=3):
    """The hub does not want this peer; it closes after that."""

    reason: str


class Ping(Frame, frozen=True, tag=4):
    number: int


class Pong(Frame, frozen=True, tag=5):
    number: int


class Send(Frame, frozen=True, tag=6):
    """Commands, as `skerry.messages.envelope.pack` makes them. `again`: sent before, never confirmed."""

    number: int
    partition: int
    again: bool
    pack: bytes


class Sent(Frame, frozen=True, tag=7):
    """These sends were acknowledged by the consumer: their commands are decided durably."""

    numbers: list[int]


class Publish(Frame, frozen=True, tag=8):
    """A hint's JSON: from a peer to the hub, and from the hub to every peer."""

    hint: bytes


class Answer(Frame, frozen=True, tag=9):
    """Outcomes (outcomes.py), for the process named."""

    to: str
    epoch: str
    outcomes: bytes


class Announce(Frame, frozen=True, tag=10):
    topic: str
    payload: bytes
    headers: dict[str, str]


class Open(Frame, frozen=True, tag=11):
    """Take part in consuming a partition; `channel` names it on this connection."""

    channel: int
    partition: int


class Fetch(Frame, frozen=True, tag=12):
    """Send what waits, up to `most` commands, when this channel's turn comes and there is something."""

    channel: int
    most: int


class Parcel(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One delivery. `bad`: the bytes are no pack of envelopes."""

    tag: int
    again: bool
    bad: bool
    data: bytes


class Deliver(Frame, frozen=True, tag=13):
    """The answer to one Fetch."""

    channel: int
    parcels: list[Parcel]


class Ack(Frame, frozen=True, tag=14):
    channel: int
    tags: list[int]


class Shut(Frame, frozen=True, tag=15):
    """The channel ends; what it did not acknowledge goes back."""

    channel: int


class Call(Frame, frozen=True, tag=16):
    """Call the hub's journal; `arguments` is a JSON array. Answered by Result or Fault."""

    number: int
    method: str
    arguments: bytes


class Next(Frame, frozen=True, tag=17):
    """The next page of a streaming call."""

    number: int
    what: str


class Cancel(Frame, frozen=True, tag=18):
    """Nobody waits for this call any more."""

    number: int


class Result(Frame, frozen=True, tag=19):
    """The JSON of what a call (or the next page of one) gave."""

    number: int
    data: bytes


class Fault(Frame, frozen=True, tag=20):
    """A call raised: the error's class name and its values as JSON."""

    number: int
    kind: str
    values: bytes


AnyFrame = (
    Hello | Welcome | Refused | Ping | Pong | Send | Sent | Publish | Answer | Announce
    | Open | Fetch | Deliver | Ack | Shut | Call | Next | Cancel | Result | Fault
)  # fmt: skip

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[AnyFrame] = msgspec.msgpack.Decoder(AnyFrame)


class FrameError(TransportError):
    """What came is no frame: the other end is no Skerry process, or another version of it."""


def encode(frame: AnyFrame) -> bytes:
    """The frame with its length, ready to be written."""
    buffer = bytearray(4)
    _encoder.encode_into(frame, buffer, 4)
    size = len(buffer) - 4
    if size > MAX_FRAME_BYTES:
        raise FrameError(f"a frame of {size} bytes, the limit is {MAX_FRAME_BYTES}")
    buffer[:4] = size.to_bytes(4, "big")
    return bytes(buffer)


class Splitter:
    """Cuts frames out of a stream of bytes."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[AnyFrame]:
        """The frames that `data` completes, in order. Raises FrameError: close the connection then."""
        buffer = self._buffer
        buffer += data
        start = 0
        try:
            while len(buffer) - start >= 4:
                size = int.from_bytes(buffer[start : start + 4], "big")
                if size > MAX_FRAME_BYTES:
                    raise FrameError(f"a frame of {size} bytes announced, the limit is {MAX_FRAME_BYTES}")
                end = start + 4 + size
                if len(buffer) < end:
                    break
                body = bytes(memoryview(buffer)[start + 4 : end])
                start = end
                try:
                    yield _decoder.decode(body)
                except (msgspec.DecodeError, msgspec.ValidationError) as error:
                    raise FrameError(f"not a frame: {error}") from error
        finally:
            del buffer[:start]
