"""The numbers and words that packets use: versions, kinds of packets and messages, return codes, status keys.

Source: TarsProtocol `RequestF.tars`, TarsCpp `BaseF.tars`.
"""

from __future__ import annotations

import enum
from typing import Final

from skerry.tars.errors import DecodeError, EncodeError

STATUS_DYED_KEY: Final = "STATUS_DYED_KEY"
STATUS_GRID_KEY: Final = "STATUS_GRID_KEY"
STATUS_RESULT_CODE: Final = "STATUS_RESULT_CODE"
STATUS_RESULT_DESC: Final = "STATUS_RESULT_DESC"
STATUS_SETNAME_VALUE: Final = "STATUS_SETNAME_VALUE"
STATUS_TRACE_KEY: Final = "STATUS_TRACE_KEY"

RECONNECT: Final = "_reconnect_"
"""The description of the push that asks a client to open a new connection and let this one drain."""


class Version(enum.IntEnum):
    """How a body is laid out. 4 (XML) was never used."""

    TARS = 1
    TUP = 2
    TUP_SIMPLE = 3
    JSON = 5


class PacketType(enum.IntEnum):
    """A one-way request is never answered."""

    NORMAL = 0
    ONEWAY = 1


class MessageType(enum.IntFlag):
    """What else a packet says about itself; bits of `message_type`."""

    NULL = 0
    HASH = 0x01
    GRID = 0x02
    DYED = 0x04
    SAMPLE = 0x08
    ASYNC = 0x10
    AUTH = 0x40
    SETNAME = 0x80
    TRACE = 0x100


class ReturnCode(enum.IntEnum):
    """How a call ended, for the framework; the value a function returns is in the body."""

    SUCCESS = 0
    DECODE_ERROR = -1
    ENCODE_ERROR = -2
    NO_FUNCTION = -3
    NO_SERVANT = -4
    RESET_GRID = -5
    QUEUE_TIMEOUT = -6
    INVOKE_TIMEOUT = -7
    CONNECT_ERROR = -8
    OVERLOAD = -9
    ADAPTER_NULL = -10
    INVALID_SET = -11
    CLIENT_DECODE_ERROR = -12
    SEND_REQUEST_ERROR = -13
    UNKNOWN_ERROR = -99


def check_version(version: int, error: type[DecodeError] | type[EncodeError]) -> Version:
    """The body layout of this number; raises `error` when nobody ever spoke it."""
    try:
        return Version(version)
    except ValueError:
        problem = f"version {version} is none of 1 (TARS), 2, 3 (TUP), 5 (JSON)"
        if issubclass(error, DecodeError):
            raise DecodeError(problem, 0) from None
        raise EncodeError("version", problem) from None
