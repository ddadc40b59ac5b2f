"""livekv in two releases, with slips that values ask for, keys that are held, and a clock that is wrong.

TRUTHFUL_RELEASE=2 sends `put_value` in version 2, which release 1 does not know. TRUTHFUL_CLOCK is by how many seconds
this process's wall clock is wrong. A value that begins with "wrong-" makes the handler write what a type refuses.
Puts to /held fail while there is a file named `broken` in the working directory, and then hold their key.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, ClassVar

from livekv import decisions, live, web
from livekv.messages import DeleteValue, PutValue, Value, ValuePut, values
from livekv.values import Values
from skerry import App, Command, HttpWrites, Receipt, Request, Response, Unit
from skerry.clock import SystemClock

_true_time, _wrong_by = time.time, float(os.environ.get("TRUTHFUL_CLOCK", "0"))


def wrong_time() -> float:
    return _true_time() + _wrong_by


if _wrong_by:
    time.time = wrong_time
    SystemClock.now = staticmethod(wrong_time)


class PutValue2(Command):
    """Version 2 says `text` for `value`."""

    message_name = PutValue.message_name
    message_version: ClassVar[int] = 2
    key: str
    text: str
    if_match: tuple[str, ...] | None = None
    if_none_match: tuple[str, ...] | None = None

    @classmethod
    def upcast(cls, version: int, data: dict[str, Any]) -> dict[str, Any]:
        return (
            {**{k: v for k, v in data.items() if k != "value"}, "text": data["value"]}
            if version == 1
            else data
        )


class PutHeld(Command):
    """A put whose failure holds up the later ones of its key."""

    key: str
    value: str


app = App("truthful")


def put(command: Command, unit: Unit) -> None:
    """As livekv does, but for the slips."""
    given: Any = command
    value = given.text if isinstance(command, PutValue2) else given.value
    decisions.check(given, unit)
    slip = value.split(" ")[0]
    unit.put(values, given.key, Value(17 if slip in ("wrong-row", "wrong-both") else value))  # type: ignore[arg-type]
    unit.emit(ValuePut(given.key, None if slip in ("wrong-event", "wrong-both") else value))  # type: ignore[arg-type]


if os.environ.get("TRUTHFUL_RELEASE") == "2":
    app.handles(PutValue2, loads=values)(put)
    web.PutValue = PutValue2  # type: ignore[assignment, attr-defined]
else:
    app.handles(PutValue, loads=values)(put)
app.handles(DeleteValue, loads=values)(decisions.delete_value)
app.projection(Values)
app.renders(ValuePut)(live.value_put)


@app.handles(PutHeld, loads=values, hold=True)
def put_held(command: PutHeld, unit: Unit) -> None:
    if Path("broken").exists():
        raise RuntimeError("the handler is broken")
    unit.put(values, command.key, Value(command.value))
    unit.emit(ValuePut(command.key, command.value))


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
