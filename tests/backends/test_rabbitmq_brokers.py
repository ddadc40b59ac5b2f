"""Which broker comes next, and how long each may take."""

from __future__ import annotations

import asyncio
import random
import socket
from typing import Any

import pytest

from skerry.backends.rabbitmq.brokers import Address, Brokers, allotted
from skerry.backends.rabbitmq.settings import RabbitSettings
from skerry.errors import Disconnected, SettingsError
from skerry.testing.clock import run_virtual

A, B, C = (Address(name, 5672, name) for name in "abc")


def test_a_url_names_several() -> None:
    """Hosts by commas, each with its own port or the usual one; user, vhost and query are the same for all."""
    settings = RabbitSettings("amqp://u:p%40x@mq1,MQ2:5673,[::1]:5674/app?heartbeat=3")
    assert settings.hosts == (("mq1", 5672), ("mq2", 5673), ("::1", 5674))
    assert settings.place == "mq1:5672,mq2:5673,[::1]:5674/app"
    assert settings.url_of("mq2", 5673) == "amqp://u:p%40x@mq2:5673/app?heartbeat=3"
    assert settings.url_of("::1", 5674) == "amqp://u:p%40x@[::1]:5674/app?heartbeat=3"
    assert RabbitSettings("amqps://a,b,a").hosts == (("a", 5671), ("b", 5671))


@pytest.mark.parametrize("hosts", ["a:x,b", "a,b:99999", "a,b:0", ",", "a b", "[::1", "a:1:2"])
def test_what_is_no_list_is_said(hosts: str) -> None:
    """One line that names the setting."""
    with pytest.raises(SettingsError, match="transport: "):
        RabbitSettings(f"amqp://{hosts}/")


def test_the_order_is_shuffled_and_learns() -> None:
    """Processes spread; what worked comes first, what failed last, the latest failure at the very end."""
    firsts = {Brokers([], random.Random(seed)).order([A, B, C])[0] for seed in range(20)}
    assert firsts == {A, B, C}
    brokers = Brokers([], random.Random(1))
    brokers.worked(B)
    assert {brokers.order([A, B, C])[0] for _ in range(5)} == {B}
    brokers.failed(B)
    brokers.failed(A)
    assert brokers.order([A, B, C]) == [C, B, A]
    brokers.worked(A)
    assert brokers.order([A, B, C]) == [A, C, B]
    assert brokers.order([B]) == [B]


def test_each_has_its_share_of_the_time() -> None:
    """A silent first one leaves as much for each other as it had itself; what one did not use is the others'."""

    async def shares() -> list[float]:
        found = []
        for address, seconds in allotted([A, B, C], 9.0, asyncio.get_running_loop()):
            found.append(round(seconds, 3))
            await asyncio.sleep(0.0 if address is B else seconds)
        return found

    assert run_virtual(shares()) == [3.0, 3.0, 6.0]


async def test_a_name_with_several_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of its addresses is tried by itself; a name that does not resolve is passed over, none at all is said."""

    async def resolve(host: str, port: int, **options: Any) -> list[Any]:
        if host == "gone":
            raise socket.gaierror(-2, "Name or service not known")
        return [(0, 0, 0, "", (ip, port)) for ip in ("10.0.0.1", "10.0.0.2")]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
    found = await Brokers([("mq", 5672), ("gone", 5672)]).addresses(5.0)
    assert sorted(map(str, found)) == ["mq:5672 (10.0.0.1)", "mq:5672 (10.0.0.2)"]
    with pytest.raises(Disconnected, match=r"gone cannot be reached: .*not known"):
        await Brokers([("gone", 5672)]).addresses(5.0)
