"""Private PostgreSQL instances do what fault tests need of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from skerry.testing import services
from skerry.testing.services import PrivatePostgres, private_postgres, require


@pytest.fixture(scope="module")
def server() -> Iterator[PrivatePostgres]:
    require("postgresql")
    with private_postgres(durable=True) as server:
        yield server


@pytest.mark.service("postgresql")
def test_what_was_committed_survives_every_way_to_end_it(server: PrivatePostgres) -> None:
    """Stopped gently, at once or killed, it starts again on the same data and port."""
    server.query("create table kept (n int)")
    for number, end in enumerate((server.stop, lambda: server.stop("immediate"), server.kill), 1):
        server.query(f"insert into kept values ({number})")
        end()
        assert not server.is_running
        server.start()
        assert server.query("select count(*) from kept") == str(number)


@pytest.mark.service("postgresql")
def test_databases_are_separate(server: PrivatePostgres) -> None:
    """Each test may have an empty database of its own."""
    one, two = server.database(), server.database()
    assert one != two
    server.query("create table t (n int)", one.rpartition("/")[2])
    assert server.query("select count(*) from pg_tables where tablename = 't'", two.rpartition("/")[2]) == "0"


def test_a_missing_service_is_loud_here_and_fatal_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    """`require` skips with a line that cannot be overlooked; with CI=true it fails."""
    monkeypatch.setattr(services, "available", lambda service: False)
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="POSTGRESQL IS NOT INSTALLED"):
        require("postgresql")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception):
        require("postgresql")
