"""A name that is not ours is not served, so that a page which lets its own name point here reaches nothing."""

from __future__ import annotations

import pytest

from skerry.http.application import Application
from skerry.http.hosts import ENTRY, hosts_of, is_loopback
from skerry.testing.client import Client


@pytest.mark.parametrize(
    ("host", "served"),
    [
        ("localhost", True), ("localhost:8999", True), ("LOCALHOST:1", True), ("127.0.0.1:8999", True),
        ("127.9.9.9", True), ("[::1]:8999", True), ("[::1]", True), ("app.localhost:3000", True), ("localhost.", True),
        ("", True), ("evil.example", False), ("evil.example:8999", False), ("192.0.2.7", True),
        ("localhost.evil.example", False), ("127.0.0.1.evil.example:8999", False), ("[2001:db8::1]:1", True),
        ("web", True), ("evil.example.", False), ("1.2.3.4.5", False), ("x.evil.example", False),
    ],
)  # fmt: skip
def test_a_loopback_address_is_asked_by_no_name_of_others(host: str, served: bool) -> None:
    """By default: addresses, and names that nobody on the internet can have; twice alike, as it is remembered."""
    hosts = hosts_of((), "127.0.0.1")
    assert hosts is not None
    assert hosts.serves(host) is served
    assert hosts.serves(host) is served


@pytest.mark.parametrize(
    ("host", "served"),
    [
        ("kv.example", True), ("KV.example:444", True), ("kv.example.", True), ("x.kv.example", False),
        ("a.tree.example", True), ("tree.example", True), ("b.a.tree.example:1", True), ("xtree.example", False),
        ("port.example:81", True), ("port.example", False), ("port.example:82", False), ("[2001:db8::1]:9", True),
        ("evil.example", False),
    ],
)  # fmt: skip
def test_declared_names(host: str, served: bool) -> None:
    """Names with any port, with one port, and whole domains; this machine's own beside them on loopback only."""
    names = ("kv.example", ".tree.example", "port.example:81", "[2001:db8::1]")
    outside, inside = hosts_of(names, "0.0.0.0"), hosts_of(names, "127.0.0.1")
    assert outside is not None
    assert inside is not None
    assert outside.serves(host) is inside.serves(host) is served
    assert (outside.serves("localhost"), inside.serves("localhost")) == (False, True)


def test_where_every_name_is_served() -> None:
    """`*`, and an address that others reach while nothing is declared."""
    assert hosts_of(("*",), "127.0.0.1") is None
    assert hosts_of((), "0.0.0.0") is None
    assert hosts_of((), "192.0.2.7") is None
    assert is_loopback("::1")
    for entry in ("a.b", ".a.b", "*.a.b", "a:1", "[::1]:8", "127.0.0.1", "*"):
        assert ENTRY.fullmatch(entry)
    for entry in ("http://a", "a/b", "a b", "", "a,b", "::1"):
        assert not ENTRY.fullmatch(entry)


async def test_a_rebound_name_reaches_nothing() -> None:
    """Reads, writes, misses, on both sides, with a repeated head: 421 that names the setting; our own names go on."""
    app = Application()
    called: list[str] = []

    @app.route("/lane/{key}", ("GET", "PUT"))
    def lane(key: str) -> str:
        called.append(key)
        return key

    @app.route("/asgi", ("GET", "PUT"))
    async def asgi() -> None:
        called.append("asgi")

    app.compile(hosts=hosts_of((), "127.0.0.1"))
    async with Client(app) as client:
        for method in ("GET", "PUT"):
            for path in ("/lane/a", "/lane/a", "/asgi", "/nothing"):
                evil = {"Host": "evil.example:8999", "Origin": "http://evil.example:8999"}
                answer = await client.request(method, path, headers=evil)
                assert (answer.status, "SKERRY_HOSTS" in answer.json()["detail"]) == (421, True)
        assert called == []
        for _ in range(3):
            assert (await client.get("/lane/a", headers={"Host": "localhost:8999"})).status == 200
