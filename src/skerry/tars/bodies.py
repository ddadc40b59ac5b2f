"""What a call of a chain had as parameters, for the trace log: its bodies as JSON texts, made when they are wanted."""

from __future__ import annotations

import json
from dataclasses import dataclass

from skerry.tars.errors import TarsError
from skerry.tars.wire.interface import Function
from skerry.tars.wire.jsonbody import RETURN_NAME

JSON_VERSION = 5


@dataclass(slots=True)
class Bodies:
    """As they travel. `reply` is None for a call that failed, or that nobody answers."""

    function: Function
    version: int
    request: bytes
    reply: bytes | None = None

    def asked(self) -> str:
        """The in-parameters by name; empty for a body that cannot be read."""
        try:
            arguments = self.function.decode_args(self.request, self.version)
            return self.function.encode_args(arguments, JSON_VERSION).decode()
        except TarsError:
            return ""

    def answered(self) -> str:
        """The out-parameters by name, and the return value without one, as TarsCpp writes it."""
        if self.reply is None:
            return ""
        try:
            result = self.function.decode_result(self.reply, self.version)
            found = json.loads(self.function.encode_result(result, JSON_VERSION))
        except TarsError:
            return ""
        if RETURN_NAME in found:
            found[""] = found.pop(RETURN_NAME)
        return json.dumps(found, ensure_ascii=False, separators=(",", ":"))
