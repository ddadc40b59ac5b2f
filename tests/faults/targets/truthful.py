"""livekv in two releases, with slips that values ask for, keys that are held, and a clock that is wrong.

TRUTHFUL_RELEASE=2 knows what release 1 does not: version 2 of the command `put_value`, which its servers send for one
half of the values, the command `set_value`, which they send for the other half, and version 2 of the event `value_put`.
It writes that event in version TRUTHFUL_WRITES (1). TRUTHFUL_CLOCK is by how many seconds this process's wall clock is
wrong. A value that begins with "wrong-" makes the handler write what a type refuses. Puts to /held fail while there is
a file named `broken` in the working directory, and then hold their key.
"""

from __future__ import annotations

import os
import time
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from livekv import decisions, live, web
from livekv.messages import DeleteValue, PutValue, Value, ValuePut, values
from livekv.values import Values
from livekv.view import Entry
from skerry import App, Command, Event, HttpWrites, Projection, Receipt, Record, Request, Response, Unit
from skerry.clock import SystemClock

_true_time, _wrong_by = time.time, float(os.environ.get("TRUTHFUL_CLOCK", "0"))


def wrong_time() -> float:
    return _true_time() + _wrong_by


if _wrong_by:
    time.time = wrong_time
    SystemClock.now = staticmethod(wrong_time)


def newer(version: int, data: dict[str, Any]) -> dict[str, Any]:
    """Version 2 says `text` for `value`."""
    if version > 1:
        return data
    return {**{name: each for name, each in data.items() if name != "value"}, "text": data["value"]}


class PutValue2(Command):
    message_name = PutValue.message_name
    message_version: ClassVar[int] = 2
    key: str
    text: str
    if_match: tuple[str, ...] | None = None
    if_none_match: tuple[str, ...] | None = None

    @classmethod
    def upcast(cls, version: int, data: dict[str, Any]) -> dict[str, Any]:
        return newer(version, data)


class SetValue(PutValue2):
    message_name = "set_value"


class ValuePut2(Event):
    message_name = ValuePut.message_name
    message_version: ClassVar[int] = 2
    writes_version: ClassVar[int] = int(os.environ.get("TRUTHFUL_WRITES", "1"))
    key: str
    text: str

    @classmethod
    def upcast(cls, version: int, data: dict[str, Any]) -> dict[str, Any]:
        return newer(version, data)

    @classmethod
    def downcast(cls, version: int, data: dict[str, Any]) -> dict[str, Any]:
        return {"key": data["key"], "value": data["text"]}


class PutHeld(Command):
    """A put whose failure holds up the later ones of its key."""

    key: str
    value: str


IS_NEW = os.environ.get("TRUTHFUL_RELEASE") == "2"
Put: Any = ValuePut2 if IS_NEW else ValuePut
app = App("truthful")


def put(command: Command, unit: Unit) -> None:
    """As livekv does, but for the slips."""
    given: Any = command
    value = given.text if isinstance(command, PutValue2) else given.value
    decisions.check(given, unit)
    slip = value.split(" ")[0]
    unit.put(values, given.key, Value(17 if slip in ("wrong-row", "wrong-both") else value))  # type: ignore[arg-type]
    unit.emit(Put(given.key, None if slip in ("wrong-event", "wrong-both") else value))


def sent(key: str, value: str, *conditions: Any) -> PutValue2:
    """What release 2 sends; the same for the same value."""
    return (SetValue if zlib.crc32(value.encode()) % 2 else PutValue2)(key, value, *conditions)


if IS_NEW:
    app.handles(PutValue2, loads=values)(put)
    app.handles(SetValue, loads=values)(put)
    web.PutValue = sent  # type: ignore[assignment, attr-defined]

    def apply(self: Values, event: ValuePut2, record: Record) -> None:
        self._set(event.key, Entry(event.text, record.offset))

    Values.put = Projection.applies(ValuePut2)(apply)  # type: ignore[method-assign, assignment]

    @app.renders(ValuePut2)
    def value_put(event: ValuePut2, record: Record) -> Mapping[str, Any]:
        return live.value_put(ValuePut(event.key, event.text), record)
else:
    app.handles(PutValue, loads=values)(put)
    app.renders(ValuePut)(live.value_put)
app.handles(DeleteValue, loads=values)(decisions.delete_value)
app.projection(Values)


@app.handles(PutHeld, loads=values, hold=True)
def put_held(command: PutHeld, unit: Unit) -> None:
    if Path("broken").exists():
        raise RuntimeError("the handler is broken")
    unit.put(values, command.key, Value(command.value))
    unit.emit(Put(command.key, command.value))


def put_held_value(request: Request, key: str, writes: HttpWrites) -> Any:
    def answer(receipt: Receipt) -> Response:
        return Response.json({"key": key}, etag=str(receipt.position))

    return writes.send(request, PutHeld(key, request.text()), answer, {"key": key})


app.get("/values/{key}")(web.get_value)
app.put("/values/{key}")(web.put_value)
app.put("/held/{key}")(put_held_value)
app.delete("/values/{key}")(web.delete_value)
app.get("/values")(web.list_values)
app.live("/events", snapshot=live.snapshot)
