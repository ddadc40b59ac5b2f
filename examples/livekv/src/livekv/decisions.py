"""How commands are decided: on the row as it is, in one transaction with the event that tells of it."""

from __future__ import annotations

from livekv.messages import DeleteValue, PutValue, Value, ValueDeleted, ValuePut, values
from skerry import PreconditionFailed, Unit
from skerry.http import Preconditions


def put_value(command: PutValue, unit: Unit) -> None:
    """Set the value, if the preconditions hold."""
    check(command, unit)
    unit.put(values, command.key, Value(command.value))
    unit.emit(ValuePut(command.key, command.value))


def delete_value(command: DeleteValue, unit: Unit) -> int:
    """Remove the value; returns how many there were (0 or 1). Nothing happens, and nothing is told, for none."""
    check(command, unit)
    if unit.loaded(values, command.key) is None:
        return 0
    unit.delete(values, command.key)
    unit.emit(ValueDeleted(command.key))
    return 1


def check(command: PutValue | DeleteValue, unit: Unit) -> None:
    """Raise PreconditionFailed unless what the client knows is what is there."""
    if command.if_match is None and command.if_none_match is None:
        return
    tag = unit.etag(values, command.key)
    if not Preconditions(command.if_match, command.if_none_match).holds(tag):
        raise PreconditionFailed("the value is not what the precondition says")
