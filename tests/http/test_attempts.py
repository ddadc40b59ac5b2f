"""Guessing tokens at the login form is slow, however it is spread, and costs little memory."""

from __future__ import annotations

import logging

import pytest

from skerry.http.application import Application
from skerry.http.attempts import Attempts, network_of
from skerry.http.auth import Tokens
from skerry.http.login import install
from skerry.testing.client import Client
from skerry.testing.clock import VirtualClock


def test_failures_count_by_address_and_by_token_for_a_minute() -> None:
    """An address, or a token from many addresses, waits after ten failures; others do not."""
    tried = Attempts()
    for number in range(10):
        assert tried.wait_seconds("10.0.0.1", f"t{number}", 100.0 + number) == 0
        tried.fail("10.0.0.1", f"t{number}", 100.0 + number)
    assert tried.wait_seconds("10.0.0.1", "x", 110.0) == 50.0
    assert tried.wait_seconds("10.0.0.2", "x", 110.0) == 0
    assert tried.wait_seconds("10.0.0.1", "x", 160.0) == 0
    for number in range(10):
        tried.fail(f"10.0.1.{number}", "same", 200.0)
    assert tried.wait_seconds("10.0.9.9", "same", 201.0) == 59.0
    assert (tried.failed, tried.refused) == (20, 2)


def test_addresses_of_one_client_are_one() -> None:
    """A client has a whole /64 of IPv6; a socket without an address counts as one."""
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:1") != network_of("2001:db8:0:1::1")
    assert network_of("::ffff:10.0.0.1") == "10.0.0.1"
    assert network_of("fe80::1%eth0") == network_of("fe80::2")
    assert network_of("") == ""


def test_memory_is_bounded() -> None:
    """Beyond the limit the oldest are forgotten."""
    tried = Attempts(failures=1, most=100)
    for number in range(1000):
        tried.fail(f"10.0.{number // 250}.{number % 250}", str(number), 1.0)
    assert len(tried._seen) == 100
    assert tried.wait_seconds("10.0.3.249", "x", 2.0) > 0
    assert tried.wait_seconds("10.0.0.0", "x", 2.0) == 0


async def test_the_form_says_429_and_the_log_who(caplog: pytest.LogCaptureFixture) -> None:
    """After too many failures the right token has to wait as well; each failure is a line, without the token."""
    app, clock = Application(), VirtualClock()
    tokens = Tokens.parse("read:abc", clock)
    install(app, tokens)
    app.compile(tokens=tokens)
    async with Client(app) as client:
        with caplog.at_level(logging.WARNING, logger="skerry.http"):
            for number in range(10):
                assert (await client.post("/login", body=f"token=guess{number}")).status == 401
        assert len([each for each in caplog.records if "unknown token" in each.message]) == 10
        assert "guess" not in caplog.text
        refused = await client.post("/login", body="token=abc")
        assert refused.status == 429
        assert 0 < int(refused.headers["retry-after"]) <= 60
        await clock.advance(61.0)
        assert (await client.post("/login", body="token=abc")).status == 303
