"""Commands, queries and events: typed, frozen, versioned.

A message is a msgspec struct. Its name on the wire is its class name in snake case, or `message_name`; its
version is `message_version`. A stored message of an older version goes through `upcast` before it is decoded.
Not here: how a message travels (envelope.py) or how it is handled (`skerry.bus`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    ForwardRef,
    Generic,
    TypeVar,
    dataclass_transform,
    get_args,
    get_origin,
)

import msgspec

from skerry.errors import DeclarationError

if TYPE_CHECKING:
    from typing_extensions import TypeVar as TypeVarWithDefault

    Result = TypeVarWithDefault("Result", covariant=True, default=None)
else:
    Result = TypeVar("Result", covariant=True)

R = TypeVar("R", covariant=True)
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


@dataclass_transform(frozen_default=True, field_specifiers=(msgspec.field,))
class Message(msgspec.Struct, frozen=True):
    """Something said. Fields are validated by their annotations (msgspec.Meta too) when it is sent, emitted or asked,
    and when bytes are decoded."""

    message_name: ClassVar[str] = ""
    message_version: ClassVar[int] = 1
    writes_version: ClassVar[int] = 1
    """In which version it is sent and stored, by default `message_version`. A release that reads 2 and still writes 1
    (`downcast`) runs beside older ones, in any order of replacing."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "message_name" not in cls.__dict__:
            cls.message_name = _HUMP.sub("_", cls.__name__).lower()
        if "message_version" not in cls.__dict__:
            cls.message_version = 1
        if "writes_version" not in cls.__dict__:
            cls.writes_version = cls.message_version

    @classmethod
    def upcast(cls, version: int, data: dict[str, Any]) -> dict[str, Any]:
        """Turn the fields of an older `version` into those of `message_version`; override when you raise it."""
        return data

    @classmethod
    def downcast(cls, version: int, data: dict[str, Any]) -> dict[str, Any]:
        """Turn the fields of `message_version` into those of an older `version`; override when `writes_version` is
        lower."""
        return data


class Command(Message, Generic[Result], frozen=True):
    """A request for a change.

    It takes effect exactly once, in order with others of its key. `Command[R]`: its handler returns R, and so
    `Receipt.value` is an R; `Command` alone: None.
    """

    def routing_key(self) -> str:
        """The key whose order this command keeps (its partition). By default the field `key`, else one for all."""
        return str(getattr(self, "key", ""))


def result_of(command: type[Command[Any]]) -> Any:
    """The R of a `Command[R]`; Any where its class does not say it."""
    for base in getattr(command, "__orig_bases__", ()):
        if isinstance(get_origin(base), type) and issubclass(get_origin(base), Command):
            [told] = get_args(base)
            return Any if isinstance(told, (TypeVar, ForwardRef)) else told
    return Any


class Query(Message, Generic[R], frozen=True):
    """A request for an answer. `Query[R]` gives `ask` its return type; a query is never queued."""


class Event(Message, frozen=True):
    """Something that happened. Only a command's decision emits events, and only the journal delivers them."""

    def subject_key(self) -> str:
        """The key that this event is about: listeners filter and conflate by it. By default the field `key`."""
        return str(getattr(self, "key", ""))


def _place(message: type[Message]) -> str:
    return f"{message.__module__}.{message.__qualname__}"


class MessageTypes:
    """The messages that an application knows, by name. Two classes of one name are refused."""

    def __init__(self) -> None:
        self._by_name: dict[str, type[Message]] = {}

    def add(self, message: type[Message]) -> None:
        """Learn a type. Raises DeclarationError when another class has its name."""
        known = self._by_name.setdefault(message.message_name, message)
        if known is not message:
            raise DeclarationError(
                f"{_place(message)} and {_place(known)} are both named {message.message_name!r}"
            )

    def find(self, name: str) -> type[Message] | None:
        return self._by_name.get(name)

    def __iter__(self) -> Iterator[type[Message]]:
        return iter(self._by_name.values())

    def __contains__(self, name: object) -> bool:
        return name in self._by_name


def storable(text: str, most: int = 2000) -> str:
    """The first `most` characters of a text, with `\\0` and `\\ud800` written out: what every database holds.

    For words about messages (reasons, details), which may be cut and changed; what a message itself says is refused
    instead (see `skerry.backends.storable`).
    """
    return text[:most].replace("\x00", "\\0").encode("utf-8", "backslashreplace").decode("utf-8")
