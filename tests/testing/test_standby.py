"""Private standbys of PostgreSQL: real copies that stream, part, are promoted and change places."""

from __future__ import annotations

import pytest

from skerry.testing.services import private_postgres, private_standby

pytestmark = pytest.mark.service("postgresql")


def test_a_standby_follows_parts_and_changes_places() -> None:
    """What was streamed is on the standby, what came after the parting is not; promoted it has a new timeline; the old
    primary, stopped in order, follows the new one."""
    with private_postgres() as primary, private_standby(primary, "near") as standby:
        primary.query("create table seen (number integer)")
        primary.query("insert into seen values (1)")
        standby.caught_up(primary)
        assert standby.query("select count(*) from seen") == "1"
        standby.part()
        primary.query("insert into seen values (2)")
        assert standby.query("select count(*) from seen") == "1"
        standby.follow(primary)
        standby.caught_up(primary)
        primary.stop()
        standby.promote()
        assert standby.query("select left(pg_walfile_name(pg_current_wal_lsn()), 8)") == "00000002"
        primary.follow(standby)
        standby.query("insert into seen values (3)")
        primary.caught_up(standby)
        assert primary.query("select count(*), pg_is_in_recovery() from seen") == "3|t"
