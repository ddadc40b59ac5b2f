"""What is said: two commands, two events, and the one table they are about."""

from __future__ import annotations

import msgspec

from skerry import Command, Event, Table


class PutValue(Command):
    """Set a value. `if_match`, `if_none_match`: entity tags that must (not) name the present value, None = any."""

    key: str
    value: str
    if_match: tuple[str, ...] | None = None
    if_none_match: tuple[str, ...] | None = None


class DeleteValue(Command[int]):
    """Remove a value, if there is one."""

    key: str
    if_match: tuple[str, ...] | None = None
    if_none_match: tuple[str, ...] | None = None


class ValuePut(Event):
    """A value was set."""

    key: str
    value: str


class ValueDeleted(Event):
    """A value was removed."""

    key: str


class Value(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A row: the value as text."""

    value: str


values = Table("key_value", key=str, row=Value)
