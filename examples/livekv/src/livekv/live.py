"""How events look to listeners."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from livekv.messages import ValuePut
from livekv.values import Values
from skerry import Record

MAX_SHOWN_BYTES = 64 * 1024

PUT = ValuePut.message_name


def value_put(event: ValuePut, record: Record) -> Mapping[str, Any]:
    """A large value is left out: a page that wants it asks for it. `size` is in bytes of UTF-8."""
    return _fields(event)


def _fields(event: ValuePut) -> Mapping[str, Any]:
    if len(event.value) > MAX_SHOWN_BYTES // 4:
        size = len(event.value.encode())
        if size > MAX_SHOWN_BYTES:
            return {"key": event.key, "size": size}
    return {"key": event.key, "value": event.value}


def snapshot(values: Values, prefix: str) -> Iterator[Mapping[str, Any]]:
    """The current values, as if each had just been put. They are those of now, rendered as they are sent."""
    view = values.items(prefix)
    return (
        {"event": PUT, **_fields(ValuePut(key, entry.value)), "offset": entry.offset} for key, entry in view
    )
