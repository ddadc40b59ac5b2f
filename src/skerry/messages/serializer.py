"""Bytes to messages and back: JSON by msgspec, typed decoders made once, upcasting of older versions."""

from __future__ import annotations

from typing import Any

import msgspec

from skerry.errors import InvalidMessage, NewerVersion, UnknownMessage
from skerry.messages.message import Message, MessageTypes

Bytes = bytes | bytearray | memoryview | str | msgspec.Raw


class Serializer:
    """Encodes and decodes the messages of one application. Stateless but for its decoders."""

    def __init__(self, types: MessageTypes) -> None:
        self._types = types
        self._encode = msgspec.json.Encoder().encode
        self._decoders: dict[str, tuple[type[Message], int, msgspec.json.Decoder[Any]]] = {}

    def knows(self, kind: type[Message]) -> bool:
        """Whether this very class is the one known under its name."""
        return self._types.find(kind.message_name) is kind

    def knows_name(self, name: str) -> bool:
        """Whether any class is known under this name, of whichever version."""
        return name in self._types

    def find(self, name: str) -> type[Message] | None:
        return self._types.find(name)

    def encode(self, message: Message) -> bytes:
        return self._encode(message)

    def decode(self, name: str, version: int, data: Bytes) -> Message:
        """The message. Raises UnknownMessage (its name), NewerVersion or InvalidMessage."""
        found = self._decoders.get(name)
        if found is None:
            found = self._learn(name, version)
        kind, current, decoder = found
        try:
            if version == current:
                return decoder.decode(data)  # type: ignore[no-any-return]
            if version > current:
                raise NewerVersion(name, version, current)
            fields = msgspec.json.decode(data, type=dict[str, Any])
            return msgspec.convert(kind.upcast(version, fields), kind)
        except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
            raise InvalidMessage(name, str(error)) from error

    def _learn(self, name: str, version: int) -> tuple[type[Message], int, msgspec.json.Decoder[Any]]:
        kind = self._types.find(name)
        if kind is None:
            raise UnknownMessage(name, version)
        found = (kind, kind.message_version, msgspec.json.Decoder(kind))
        self._decoders[name] = found
        return found
