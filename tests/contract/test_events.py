"""Events, over WebSocket and as server-sent events, from several servers: the frames, field by field."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from contractworld import Running, until  # type: ignore[import-not-found]
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

Frame = dict[str, Any]


class Listener:
    """One websocket; frames as they come."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.frames: list[Frame] = []

    def next(self) -> Frame:
        frame: Frame = json.loads(self.connection.recv(60))
        self.frames.append(frame)
        return frame

    def until(self, **fields: Any) -> Frame:
        """The next frame that has these fields."""
        while True:
            frame = self.next()
            if fields.items() <= frame.items():
                return frame

    def events(self) -> list[Frame]:
        return [frame for frame in self.frames if frame["type"] == "domain_event"]


@contextmanager
def listening(up: Running, query: str = "", **options: Any) -> Iterator[Listener]:
    with connect(f"ws://127.0.0.1:{up.port}/events{query}", max_size=None, **options) as connection:
        yield Listener(connection)


def test_every_frame_has_its_fields(together: Running) -> None:
    """Hello first; value_put and value_deleted with key, value, position and time; a value over 64 KiB as its size."""
    with listening(together) as listener:
        hello = listener.next()
        assert (hello["type"], hello["recovered"]) == ("hello", False)
        assert set(hello) >= {"type", "position", "recovered"}
        before = time.time()
        put = together.ask("PUT", "/values/ev1", "é".encode())
        at_limit = together.ask("PUT", "/values/ev1", b"x" * 65536)
        over = together.ask("PUT", "/values/ev1", "é".encode() * 32768 + b"x")
        gone = together.ask("DELETE", "/values/ev1")
        together.ask("DELETE", "/values/ev1")  # there is none: nothing happened
        listener.until(event="value_deleted", key="ev1")
        first, second, third, fourth = listener.events()
        assert before <= first.pop("at") <= time.time()
        common = {"type": "domain_event", "event": "value_put", "key": "ev1"}
        assert first == {**common, "value": "é", "position": put.headers["skerry-position"]}
        assert (second["value"], second["position"]) == ("x" * 65536, at_limit.headers["skerry-position"])
        assert third.pop("at") > 0
        assert third == {**common, "size": 65537, "position": over.headers["skerry-position"]}
        assert fourth.pop("at") > 0
        deleted = {"type": "domain_event", "event": "value_deleted", "key": "ev1"}
        assert fourth == {**deleted, "position": gone.headers["skerry-position"]}


def test_connections_are_told_from_every_process_to_every_listener(together: Running) -> None:
    """connection_opened and connection_closed, route and id, whichever server has the listener."""
    with listening(together) as first, ExitStack() as stack:
        own = first.next()["connection"]
        hellos = [stack.enter_context(listening(together)).next() for _ in range(6)]
        assert len({hello["process"] for hello in hellos}) == 3
        opened = {first.until(type="connection_opened")["connection"] for _ in range(7)}
        assert opened == {own, *(hello["connection"] for hello in hellos)}
        stack.close()
        closed = [first.until(type="connection_closed") for _ in range(6)]
        assert all(set(frame) == {"type", "route", "connection"} for frame in closed)
        assert {frame["route"] for frame in closed} == {"/events"}
        assert {frame["connection"] for frame in closed} == {hello["connection"] for hello in hellos}


def test_since_replays_wholly_or_not_at_all(together: Running) -> None:
    """`?since=` brings everything after it, on any server; what cannot be had is recovered:false, and nothing of it."""
    since = together.ask("PUT", "/values/rp0", b"0").headers["skerry-position"]
    expected = [together.ask("PUT", f"/values/rp{n}", b"x").headers["skerry-position"] for n in range(1, 6)]
    for _ in range(3):
        with listening(together, f"?since={since}") as listener:
            assert listener.next()["recovered"] is True
            listener.until(position=expected[-1], type="domain_event")
            assert [frame["position"] for frame in listener.events()] == expected
    epoch = since.partition(":")[0]
    for unknown in ("other:1", "nonsense"):
        with listening(together, f"?since={unknown}") as listener:
            hello = listener.next()
            assert hello["recovered"] is False
            assert hello["position"].startswith(epoch + ":")
            marker = together.ask("PUT", "/values/rp9", b"x").headers["skerry-position"]
            listener.until(position=marker)
            assert len(listener.events()) == 1


def test_a_snapshot_comes_first_on_the_same_socket(together: Running) -> None:
    """`?snapshot=1`: the current values, then live events from exactly there."""
    for n in range(5):
        together.ask("PUT", f"/values/sn{n}", b"%d" % n)
    together.ask("DELETE", "/values/sn4")
    with listening(together, "?snapshot=1&prefix=sn") as listener:
        assert listener.next()["type"] == "hello"
        end = listener.until(type="snapshot_end")
        shown = [v for frame in listener.frames if frame["type"] == "snapshot" for v in frame["values"]]
        assert {value["key"]: value["value"] for value in shown} == {f"sn{n}": str(n) for n in range(4)}
        put = together.ask("PUT", "/values/sn5", b"5").headers["skerry-position"]
        live = listener.until(type="domain_event")
        assert (live["key"], live["position"]) == ("sn5", put)
        assert int(put.partition(":")[2]) > int(end["position"].partition(":")[2])


def test_a_prefix_filters(together: Running) -> None:
    """Only events of keys that begin with it."""
    with listening(together, "?prefix=pf-") as listener:
        listener.next()
        for key in ("other", "pf-1", "pf", "pf-2"):
            together.ask("PUT", f"/values/{key}", b"1")
        listener.until(key="pf-2")
        assert [frame["key"] for frame in listener.events()] == ["pf-1", "pf-2"]


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:1", "http://localhost:{port}"]
)
def test_a_foreign_origin_gets_403(together: Running, origin: str) -> None:
    """Another host, another port, a sandboxed frame: over WebSocket and as an event stream."""
    foreign = origin.format(port=together.port)
    with pytest.raises(InvalidStatus) as refused, listening(together, origin=Origin(foreign)):
        pass
    assert refused.value.response.status_code == 403
    assert together.ask("GET", "/events", Accept="text/event-stream", Origin=foreign).status == 403


def test_its_own_pages_and_programs_may_listen(together: Running) -> None:
    """The same origin, and no Origin header."""
    with listening(together, origin=Origin(f"http://127.0.0.1:{together.port}")) as listener:
        assert listener.next()["type"] == "hello"


def test_server_sent_events_carry_the_position_as_id(together: Running) -> None:
    """`Accept: text/event-stream`, `Last-Event-ID`; lines within a value stay within one `data:`."""
    since = together.ask("PUT", "/values/se1", b"1").headers["skerry-position"]
    put = together.ask("PUT", "/values/se2", b"a\nb\r\nc").headers["skerry-position"]
    connection = http.client.HTTPConnection("127.0.0.1", together.port, timeout=60)
    connection.request("GET", "/events", headers={"Accept": "text/event-stream", "Last-Event-ID": since})
    response = connection.getresponse()
    assert response.getheader("content-type") == "text/event-stream; charset=utf-8"
    blocks: list[list[str]] = [[]]
    while not any("caught_up" in line for block in blocks for line in block):
        line = response.readline().decode().rstrip("\n")
        blocks[-1].append(line)
        if not line:
            blocks.append([])
    connection.close()
    [found] = [block for block in blocks if any('"key":"se2"' in line for line in block)]
    assert found[0] == f"id: {put}"
    assert json.loads(found[1].removeprefix("data: "))["value"] == "a\nb\r\nc"
    assert len(found) == 3


def test_what_a_listener_sends_is_limited(together: Running) -> None:
    """Small messages are ignored; one over 64 KiB closes with 1009."""
    with listening(together) as listener:
        listener.next()
        listener.connection.send("hello")
        listener.connection.send("x" * 70_000)
        until(lambda: _closed(listener))
        assert listener.connection.protocol.close_code == 1009


def _closed(listener: Listener) -> bool:
    try:
        listener.next()
    except Exception:
        return True
    return False
