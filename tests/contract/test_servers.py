"""Several servers behave as one: idempotency, positions, the state of commands, numbers, the end."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
from pathlib import Path

from contractworld import SOAK, Running, at_once, skerry, until  # type: ignore[import-not-found]
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect


def test_an_idempotency_key_counts_on_all_servers_at_once(together: Running) -> None:
    """The same request at the same time on all servers: one effect, one answer."""
    answers = at_once(18, lambda n: together.ask("PUT", "/values/i1", b"one", Idempotency_Key="together-1"))
    assert {(a.status, a.body) for a in answers} == {(200, b'{"key":"i1","value":"one","message":"OK"}')}
    assert len({a.headers["skerry-position"] for a in answers}) == 1
    answers = at_once(12, lambda n: together.ask("DELETE", "/values/i1", Idempotency_Key="together-2"))
    assert {(a.status, a.body) for a in answers} == {(200, b'{"key":"i1","message":"1"}')}


def test_another_body_under_a_key_is_never_told_ok(together: Running) -> None:
    """Two bodies race under one key on all servers: who is told 200 is who is stored, everybody else 422."""
    bodies = (b"red", b"blue")
    for race in range(6):
        answers = at_once(
            12,
            lambda n, race=race: together.ask(
                "PUT", f"/values/race{race}", bodies[n % 2], Idempotency_Key=f"race-{race}"
            ),
        )
        stored = together.ask("GET", f"/values/race{race}").json()["value"].encode()
        assert {answer.status for answer in answers} == {200, 422}
        for number, answer in enumerate(answers):
            assert answer.status == 422 or bodies[number % 2] == stored


def test_compare_and_set_across_servers(together: Running) -> None:
    """Of many who know the same version one wins; nothing is lost in a counter."""
    together.ask("PUT", "/values/count", b"0")

    def add(number: int) -> None:
        for _ in range(4):
            while True:
                now = together.ask("GET", "/values/count")
                more = b"%d" % (int(now.json()["value"]) + 1)
                status = together.ask("PUT", "/values/count", more, If_Match=now.headers["etag"]).status
                if status == 200:
                    break
                assert status == 412

    at_once(4, add)
    assert together.ask("GET", "/values/count").json()["value"] == "16"


def test_read_your_own_write_on_any_server(together: Running) -> None:
    """A GET that brings the position of a write sees it, whichever server answers."""

    def write_and_read(number: int) -> None:
        for turn in range(12):
            put = together.ask("PUT", f"/values/ryw{number}", b"%d" % turn)
            since = {"Skerry_Position": put.headers["skerry-position"], "Prefer": "wait=30"}
            got = together.ask("GET", f"/values/ryw{number}", **since)
            assert (got.status, got.json()["value"]) == (200, str(turn))

    at_once(4, write_and_read)


def test_the_state_of_a_command_on_every_server(together: Running) -> None:
    """Whoever is asked says the same."""
    put = together.ask("PUT", "/values/st", b"1")
    target = "/commands/" + put.headers["skerry-command"]
    states = at_once(9, lambda n: together.ask("GET", target))
    assert {a.status for a in states} == {200}
    assert {(a.json()["status"], a.json()["position"]) for a in states} == {
        ("applied", put.headers["skerry-position"])
    }


def test_a_list_that_is_paged_while_others_write_misses_nothing(together: Running) -> None:
    """Keys that are there all the time are seen once each, whatever comes and goes beside them."""
    keys = [f"pg{n:02}" for n in range(30)]
    for key in keys:
        together.ask("PUT", f"/values/{key}", b"1")

    def change(number: int) -> None:
        for turn in range(15):
            together.ask("PUT", f"/values/pg{turn:02}-{number}", b"1")
            together.ask("DELETE", f"/values/pg{turn:02}-{number}")

    def page(number: int) -> list[str]:
        seen: list[str] = []
        after = ""
        while True:
            found = together.ask("GET", f"/values?prefix=pg&limit=4&after={after}").json()
            seen += [pair["key"] for pair in found["values"]]
            if found["next"] is None:
                return seen
            after = found["next"]

    everything = at_once(4, lambda n: page(n) if n < 2 else change(n))
    for seen in everything[:2]:
        assert seen is not None
        assert seen == sorted(set(seen))
        assert [key for key in seen if "-" not in key] == keys


def test_numbers_of_all_processes(together: Running) -> None:
    """`/metrics` of any server has all processes of `up`, each with its label."""
    everybody = {"balancer", "consumer-1", "server-1", "server-2", "server-3"}

    def told() -> str:
        """The numbers, once nobody was too busy to give them in time."""
        text: str = together.ask("GET", "/metrics").body.decode()
        return text if everybody <= set(re.findall(r'process="([^"]+)"', text)) else ""

    text = until(told)
    assert set(re.findall(r'process="([^"]+)"', text)) == everybody
    assert all('process="' in line for line in text.splitlines() if line and not line.startswith("#"))


def test_answers_survive_a_crash_of_everything(tmp_path: Path) -> None:
    """After a kill of all processes: the values, and the same answer and position under the same key."""
    options = ("up", "livekv:app", "--servers", "1", "--bind", "127.0.0.1:0")
    with skerry(tmp_path, *options) as running:
        first = running.ask("PUT", "/values/a", b"1", Idempotency_Key="crash")
        running.ask("PUT", "/values/b", b"2")
        running.stop(signal.SIGKILL)
    with skerry(tmp_path, *options) as running:
        assert running.ask("GET", "/values/b").json()["value"] == "2"
        again = running.ask("PUT", "/values/a", b"1", Idempotency_Key="crash")
        assert (again.status, again.body) == (200, first.body)
        assert again.headers["skerry-position"] == first.headers["skerry-position"]
        assert running.ask("PUT", "/values/a", b"2", Idempotency_Key="crash").status == 422


def test_ctrl_c_within_five_seconds_whatever_clients_do(tmp_path: Path) -> None:
    """Listeners get 1012; half requests, answers that nobody takes and reads that wait do not hold it up."""
    options = ("up", "livekv:app", "--servers", "2", "--bind", "127.0.0.1:0")
    with skerry(tmp_path, *options) as running, contextlib.ExitStack() as stack:
        epoch = running.ask("PUT", "/values/big", b"x" * 1_000_000).headers["skerry-position"].split(":")[0]
        url = f"ws://127.0.0.1:{running.port}/events"
        listeners = [stack.enter_context(connect(url, max_size=None)) for _ in range(4)]
        sockets = []
        for data, number in (
            (b"", 3),
            (b"GET /values/b", 3),
            (b"PUT /values/half HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc", 3),
            (b"GET /values/big HTTP/1.1\r\nHost: x\r\n\r\n" * 100, 3),
            (b"GET /events HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n", 3),
            (
                b"GET /values/big HTTP/1.1\r\nHost: x\r\nPrefer: wait=30\r\nSkerry-Position: %b:999999\r\n\r\n"
                % epoch.encode(),
                1,
            ),
        ):
            for _ in range(number):
                sock = socket.create_connection(("127.0.0.1", running.port))
                sock.sendall(data)
                sockets.append(sock)
        for listener in listeners:
            listener.recv(60)

        code, seconds = running.stop()

        print(f"ended after {seconds:.2f} s")
        assert code == 0, running.text()
        assert seconds < 5.0 or not SOAK, running.text()
        assert seconds > 4.0 or not any("was killed" in line for line in running.lines), running.text()
        for listener in listeners:
            with contextlib.suppress(ConnectionClosed):
                while True:
                    listener.recv(60)
            until(lambda listener=listener: listener.protocol.close_code)
            assert listener.protocol.close_code == 1012
        for sock in sockets:
            sock.close()
