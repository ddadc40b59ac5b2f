"""Commands that a broker keeps: 202, and what is pending is known on every server, before anybody decides it."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest
from contractworld import Running, at_once, skerry, until  # type: ignore[import-not-found]

from skerry.testing.broker import PrivateBroker
from skerry.testing.services import PrivatePostgres

pytestmark = [pytest.mark.service("postgresql"), pytest.mark.service("rabbitmq")]


@pytest.fixture
def servers(postgresql: PrivatePostgres, rabbitmq: PrivateBroker) -> dict[str, str]:
    """A PostgreSQL and a RabbitMQ, as settings."""
    return {
        "SKERRY_JOURNAL": postgresql.database(),
        "SKERRY_TRANSPORT": rabbitmq.url,
        "SKERRY_NAMESPACE": "pending",
    }


def state(running: Running, location: str) -> str:
    answer = running.ask("GET", location)
    assert answer.status == 200, answer.body
    return str(answer.json()["status"])


def test_accepted_is_not_applied_and_every_server_says_so(tmp_path: Path, servers: dict[str, str]) -> None:
    """202 with Location for respond-async and for a wait that ran out; pending on every server, on one that comes
    later too; another body under the key of a pending command -> 422; applied once somebody decides."""
    with ExitStack() as stack:
        bind = ("--bind", "127.0.0.1:0")
        with skerry(tmp_path / "first", "up", "livekv:app", "--servers", "1", *bind, **servers) as once:
            assert (
                once.ask("PUT", "/values/a", b"1", Prefer="wait=30").status == 200
            )  # and tables and queues are there
            once.stop()
        up = stack.enter_context(
            skerry(tmp_path / "up", "up", "livekv:app", "--consumers", "0", *bind, **servers)
        )

        at_once_accepted = up.ask("PUT", "/values/b", b"2", Prefer="respond-async")
        ran_out = up.ask("PUT", "/values/c", b"3", Prefer="wait=5", Idempotency_Key="key-c")
        deleted = up.ask("DELETE", "/values/a", Prefer="respond-async")

        for answer, body in (
            (at_once_accepted, b'{"key":"b","value":"2","message":"Accepted"}'),
            (ran_out, b'{"key":"c","value":"3","message":"Accepted"}'),
            (deleted, b'{"key":"a","message":"Accepted"}'),
        ):
            assert (answer.status, answer.body) == (202, body)
            assert answer.headers["location"] == "/commands/" + answer.headers["skerry-command"]
        location = ran_out.headers["location"]
        assert set(at_once(9, lambda n: state(up, location))) == {"pending"}
        assert up.ask("PUT", "/values/c", b"other", Prefer="wait=0", Idempotency_Key="key-c").status == 422
        late = stack.enter_context(
            skerry(tmp_path / "late", "server", "livekv:app", "--process", "late", *bind, **servers)
        )
        until(lambda: late.ask("GET", location).status == 200)
        assert state(late, location) == "pending"
        assert up.ask("GET", "/values/c").status == 404

        with skerry(tmp_path / "consumer", "consumer", "livekv:app", listens=False, **servers):
            for server in (up, late):
                until(lambda server=server: state(server, location) == "applied")
            again = up.ask("PUT", "/values/c", b"3", Idempotency_Key="key-c", Prefer="wait=30")
            assert (again.status, again.body) == (200, b'{"key":"c","value":"3","message":"OK"}')
            position = up.ask("GET", location).json()["position"]
            assert again.headers["skerry-position"] == position
            assert (
                late.ask("GET", "/values/c", Skerry_Position=position, Prefer="wait=30").json()["value"]
                == "3"
            )
            until(lambda: state(up, deleted.headers["location"]) == "applied")
