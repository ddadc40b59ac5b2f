"""What memory says of commands whose events a projection did not apply."""

from __future__ import annotations

import msgspec
import pytest

from skerry.journal.journal import Record
from skerry.journal.memory import Memory
from skerry.journal.projection import Projection
from skerry.messages.message import Event, MessageTypes
from skerry.messages.serializer import Serializer


class Did(Event):
    key: str


class Failing(Projection):
    ephemeral = True

    def clear(self) -> None: ...

    @Projection.applies(Did)
    def did(self, event: Did, record: Record) -> None:
        raise ValueError("no")


def test_the_effect_of_a_missed_event_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither of the commands that are remembered, nor of those that are too many to be: a 200 would be wrong."""
    monkeypatch.setattr("skerry.journal.memory.MOST_MISSED", 2)
    types = MessageTypes()
    types.add(Did)
    memory = Memory([Failing()], Serializer(types), lambda *told: None)
    data = msgspec.Raw(b'{"key":"a"}')
    memory.apply(Record(n, f"command-{n}", "a", "did", 1, 0.0, False, data) for n in range(1, 6))
    assert [n for n in range(1, 6) if memory.shows(f"command-{n}", n)] == []
