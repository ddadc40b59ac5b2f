"""A PostgreSQL that changes places under a working topology: killed, silent, switched over.

The standby is synchronous, so nothing that was answered may be missing afterwards.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from faultworld import SOAK, FaultWorld, Servers  # type: ignore[import-not-found]

from skerry.testing.proxy import FaultProxy
from skerry.testing.services import PrivatePostgres, private_postgres, private_standby, require

pytestmark = pytest.mark.timeout(600)
WRITABLE_SECONDS = 10.0
"""So soon writes go on, whatever ended the connections, on a machine that does nothing else."""


@pytest.fixture
def pair() -> Iterator[tuple[PrivatePostgres, PrivatePostgres]]:
    """A durable primary, and its standby "near"."""
    require("postgresql")
    with private_postgres(durable=True) as primary, private_standby(primary, "near", durable=True) as standby:
        yield primary, standby


def wait_for_standby(primary: PrivatePostgres, names: str) -> None:
    """Let commits wait for the named standby, or for none."""
    primary.query(f"alter system set synchronous_standby_names = '{names}'")
    primary.query("select pg_reload_conf()")


def hosts(dsn: str, *ports: int) -> str:
    """The same database, at these ports of this machine."""
    parts = urlsplit(dsn)
    login = parts.netloc.rpartition("@")[0]
    return f"postgresql://{login}@{','.join(f'127.0.0.1:{port}' for port in ports)}{parts.path}"


def _by_the_same(world: FaultWorld, servers: Servers) -> None:
    """Commands go by the database, wherever that is, if they do at all."""
    if servers.brokerless:
        world.transport_url = "postgresql:"


@pytest.mark.parametrize("ends", ["killed", "silent"] if SOAK else ["silent"])
async def test_the_primary_dies_and_its_standby_is_promoted(
    tmp_path: Path, each: Servers, pair: tuple[PrivatePostgres, PrivatePostgres], ends: str
) -> None:
    """Killed, it refuses; with its machine off it says nothing any more, to old connections and to new ones. The first
    of two hosts either way: writes go on at the other one, and every promise is kept."""
    primary, standby = pair
    async with (
        FaultProxy(primary.port) as proxy,
        FaultWorld(tmp_path, replace(each, postgres=primary)) as world,
    ):
        world.journal_url = hosts(primary.dsn, proxy.port, standby.port)
        _by_the_same(world, each)
        await world.start(consumers=2)
        async with world.traffic():
            await world.more(20)
            await asyncio.to_thread(wait_for_standby, primary, "near")
            await world.more(20)
            if ends == "silent":
                proxy.hold()
            await asyncio.to_thread(primary.kill)
            if ends == "killed":
                proxy.refuse()
            await asyncio.to_thread(standby.promote)
            world.servers = replace(each, postgres=standby)
            took = await world.more(20)
            print(f"\nprimary {ends}: 20 writes {took:.1f} s after the promotion")
            assert took < WRITABLE_SECONDS or not SOAK
            await world.more(30)
        await world.verdict()


async def test_primary_and_standby_change_places(
    tmp_path: Path, either: Servers, pair: tuple[PrivatePostgres, PrivatePostgres]
) -> None:
    """A planned switchover behind one name, which leads to the old primary, a standby by now, for a while longer.
    Nobody has to be restarted."""
    primary, standby = pair
    async with (
        FaultProxy(primary.port) as proxy,
        FaultWorld(tmp_path, replace(either, postgres=primary)) as world,
    ):
        world.journal_url = hosts(primary.dsn, proxy.port)
        _by_the_same(world, either)
        await world.start(consumers=2)
        async with world.traffic():
            await world.more(20)
            await asyncio.to_thread(primary.stop)
            await asyncio.to_thread(standby.promote)
            primary.follow(standby)
            for consumer in world.consumers:
                await consumer.until(
                    lambda said=consumer: "is a standby, and the primary is needed" in said.text
                )
            world.servers = replace(either, postgres=standby)
            proxy.lead(standby.port)
            took = await world.more(20)
            print(f"\nswitched over: 20 writes {took:.1f} s after the name had moved")
            assert took < WRITABLE_SECONDS or not SOAK
            await world.more(30)
        await world.verdict()
