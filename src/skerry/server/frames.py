"""The frames of one websocket: `websockets`' sans-I/O server, made stricter where the standard allows it. Pure.

Two changes. A close frame in the middle of a fragmented message is the peer's wish to close (RFC 6455 sections 5.4
and 5.5.1), not an error. Text is checked for UTF-8 as its bytes come, also within a frame that is not complete yet,
so that a broken message ends the connection before it was sent to its end (section 8.1).
"""

from __future__ import annotations

import codecs
import logging
from collections.abc import Generator, Sequence

from websockets.extensions.base import ServerExtensionFactory
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN, Protocol
from websockets.server import ServerProtocol
from websockets.streams import StreamReader

INVALID = 1007
# Neither a line per frame nor one per refused handshake, whatever else is logged.
_quiet = logging.getLogger("skerry.websocket")
_quiet.setLevel(logging.WARNING)


class FrameReader(StreamReader):
    """Knows which part of a frame is being read, so that a payload can be looked at before it is complete.

    A frame is read in up to four parts (section 5.2): two bytes, the longer length, the mask, the payload.
    """

    HEAD, LENGTH, MASK, PAYLOAD = range(4)

    def __init__(self) -> None:
        super().__init__()
        self.part = self.HEAD
        self.opcode = 0
        self.mask = b""

    def read_exact(self, n: int) -> Generator[None, None, bytearray]:
        data = yield from super().read_exact(n)
        if self.part == self.HEAD:
            self.opcode = data[0] & 15
            self.part = self.LENGTH if data[1] & 127 > 125 else self.MASK
        elif self.part == self.MASK:
            self.mask = bytes(data)
            self.part = self.PAYLOAD
        else:
            self.part = self.MASK if self.part == self.LENGTH else self.HEAD
        return data

    def payload_from(self, start: int) -> bytes:
        """What has come of an unfinished payload after its first `start` bytes, unmasked."""
        data = bytes(self.buffer[start:])
        turn = start & 3
        mask = (self.mask[turn:] + self.mask[:turn]) * (len(data) // 4 + 1)
        return (int.from_bytes(data) ^ int.from_bytes(mask[: len(data)])).to_bytes(len(data))


class Frames(ServerProtocol):
    """Bytes in, frames out; `parser_exc` is set when the connection failed. Data frames that come out of
    `events_received` are valid: a text message is UTF-8 when its last frame is there."""

    reader: FrameReader

    def __init__(self, max_size: int, extensions: Sequence[ServerExtensionFactory] | None = None) -> None:
        super().__init__(extensions=extensions, max_size=max_size, logger=_quiet)
        self.reader = FrameReader()
        self.parser = self.parse()  # begins again, with our reader
        next(self.parser)
        self._is_text = False
        self._message: codecs.IncrementalDecoder | None = None  # of a fragmented text
        self._early: codecs.IncrementalDecoder | None = None  # of the frame that is not complete yet
        self._checked = 0

    def parse(self) -> Generator[None]:
        """Frames only: the head was read by the HTTP parser, and `accept` answers it."""
        return Protocol.parse(self)

    def receive_data(self, data: bytes | bytearray) -> None:
        super().receive_data(data)
        if self.reader.part == FrameReader.PAYLOAD and self.reader.buffer and self.state is OPEN:
            try:
                self._check_early()
            except UnicodeDecodeError as error:
                self.fail(INVALID, "not UTF-8")
                self.parser_exc = error

    def recv_frame(self, frame: Frame) -> None:
        self._early, self._checked = None, 0
        opcode = frame.opcode
        if opcode is Opcode.CLOSE:
            self.current_size = None
        super().recv_frame(frame)
        if opcode is Opcode.TEXT or opcode is Opcode.BINARY:
            self._is_text, self._message = opcode is Opcode.TEXT, None
        elif opcode is not Opcode.CONT:
            return
        if self._is_text:
            try:
                self._check(bytes(frame.data), final=frame.fin)
            except UnicodeDecodeError:
                self.events.pop()  # what is not text is not handed on
                raise  # the library fails the connection with 1007

    def _check(self, data: bytes, *, final: bool) -> None:
        if self._message is None and not final:
            self._message = _utf8()
        if self._message is None:
            data.decode("utf-8")
        else:
            self._message.decode(data, final)

    def _check_early(self) -> None:
        opcode = self.reader.opcode
        if not (opcode == Opcode.TEXT or (opcode == Opcode.CONT and self._is_text)) or self.extensions:
            return
        if self._early is None:
            self._early = _utf8()
            if opcode == Opcode.CONT and self._message is not None:
                self._early.setstate(self._message.getstate())
        data = self.reader.payload_from(self._checked)
        self._checked += len(data)
        self._early.decode(data)


_utf8 = codecs.getincrementaldecoder("utf-8")
