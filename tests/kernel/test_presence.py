"""A killed process's connections are told of as closed, once, by those who are left."""

from __future__ import annotations

import msgspec

from skerry.kernel.presence import Presence


def said(**fields: str) -> bytes:
    return msgspec.json.encode(fields)


def test_what_a_killed_process_cannot_say_is_said_for_it() -> None:
    """Its open connections close and it leaves; those of others, and those that closed before, are not touched."""
    presence = Presence()
    presence.heard(said(type="process_joined", process="server-1"))
    for connection in ("server-1-ab-1", "server-1-ab-2", "server-11-cd-1"):
        presence.heard(said(type="connection_opened", route="/events", connection=connection))
    presence.heard(said(type="connection_closed", route="/events", connection="server-1-ab-1"))
    presence.heard(b"not JSON")
    presence.heard(said(type="connections", process="server-1"))

    told = [msgspec.json.decode(payload) for payload in presence.left("server-1")]

    assert told == [
        {"type": "connection_closed", "route": "/events", "connection": "server-1-ab-2"},
        {"type": "process_left", "process": "server-1"},
    ]
    assert presence.left("server-1") == []


def test_one_that_said_goodbye_is_not_told_of_again() -> None:
    """After a drain nothing is left to say."""
    presence = Presence()
    presence.heard(said(type="process_joined", process="a"))
    presence.heard(said(type="process_left", process="a"))
    assert presence.left("a") == []
