"""What proxies say of a request: who asks, by which scheme, for which host and under which path."""

from __future__ import annotations

import pytest

from skerry.errors import SettingsError
from skerry.http.forwarded import MAX_HOPS, Outside, root_of
from skerry.http.problems import Problem
from skerry.http.request import Ends
from skerry.http.trusted import Trusted

NGINX = Ends(("10.0.0.1", 5000), ("10.0.0.9", 8999), "http")
STRANGER = Ends(("203.0.113.5", 5000), ("10.0.0.9", 8999), "http")
PROXIES = Trusted(["10.0.0.0/8", "2001:db8:1::/48"])


def seen(**fields: str) -> Ends:
    return seen_below("", **fields)


def seen_below(root: str, **fields: str) -> Ends:
    raw = [(name.replace("_", "-").lower().encode(), value.encode()) for name, value in fields.items()]
    return Outside(PROXIES, root).peer(NGINX, [(b"host", b"inner:8999"), *raw])  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("entries", "client"),
    [
        ("192.0.2.7", ("192.0.2.7", 0)),
        ("192.0.2.7:4711", ("192.0.2.7", 4711)),
        ("[2001:db8::7]:4711", ("2001:db8::7", 4711)),
        ("[2001:db8::7]", ("2001:db8::7", 0)),
        ("2001:db8::7", ("2001:db8::7", 0)),
        ("::ffff:192.0.2.7", ("192.0.2.7", 0)),
        ("192.0.2.7, 10.0.0.2", ("192.0.2.7", 0)),
        ("6.6.6.6, 192.0.2.7, 10.0.0.2", ("192.0.2.7", 0)),
        ("nonsense, 192.0.2.7", ("192.0.2.7", 0)),
        ("192.0.2.7, 10.0.0.3, 10.0.0.2", ("192.0.2.7", 0)),
        ("10.0.0.3, 10.0.0.2", ("10.0.0.3", 0)),
        ("192.0.2.7, 2001:db8:1::5", ("192.0.2.7", 0)),
        ("unknown", ("10.0.0.1", 5000)),
        ("192.0.2.7, unknown, 10.0.0.2", ("10.0.0.2", 0)),
        (",, 192.0.2.7 ,", ("192.0.2.7", 0)),
        ("", ("10.0.0.1", 5000)),
    ],
)
def test_the_client_is_the_first_from_the_right_that_is_no_proxy(
    entries: str, client: tuple[str, int]
) -> None:
    """What stands left of it may be the client's own invention."""
    assert seen(X_Forwarded_For=entries).client == client


def test_all_of_it() -> None:
    """Scheme, host, port and prefix as the client used them."""
    found = seen(
        X_Forwarded_For="192.0.2.7", X_Forwarded_Proto="https", X_Forwarded_Host="kv.example", X_Forwarded_Prefix="/kv/"
    )  # fmt: skip
    assert found == Ends(("192.0.2.7", 0), ("kv.example", 443), "https", "kv.example", "/kv")


@pytest.mark.parametrize(
    ("fields", "scheme", "host"),
    [
        ({"X_Forwarded_Proto": "HTTPS"}, "https", None),
        ({"X_Forwarded_Proto": "wss"}, "https", None),
        ({"X_Forwarded_Host": "kv.example:8443"}, "http", "kv.example:8443"),
        ({"X_Forwarded_Host": "[2001:db8::1]:8443"}, "http", "[2001:db8::1]:8443"),
        ({"X_Forwarded_Host": "kv.example", "X_Forwarded_Port": "8080"}, "http", "kv.example:8080"),
        ({"X_Forwarded_Host": "kv.example", "X_Forwarded_Port": "80"}, "http", "kv.example"),
        ({"X_Forwarded_Host": "kv.example:81", "X_Forwarded_Port": "80"}, "http", "kv.example:81"),
        ({"X_Forwarded_Proto": "https", "X_Forwarded_Port": "443"}, "https", "inner:8999"),
    ],
)
def test_scheme_and_host(fields: dict[str, str], scheme: str, host: str | None) -> None:
    """A port is added where the host has none and it is not the scheme's own."""
    found = seen(**fields)
    assert (found.scheme, found.host) == (scheme, host)


def test_lists_are_read_where_the_client_stands() -> None:
    """Two proxies of ours, each adding: what the outer one wrote counts, not what the client wrote left of it."""
    found = seen(
        X_Forwarded_For="6.6.6.6, 192.0.2.7, 10.0.0.2",
        X_Forwarded_Proto="http, https, http",
        X_Forwarded_Host="evil.example, kv.example, inner",
    )
    assert (found.client, found.scheme, found.host) == (("192.0.2.7", 0), "https", "kv.example")
    assert seen(X_Forwarded_For="192.0.2.7, 10.0.0.2", X_Forwarded_Proto="https").scheme == "https"


@pytest.mark.parametrize(
    ("text", "client", "scheme", "host"),
    [
        ("for=192.0.2.7;proto=https;host=kv.example", "192.0.2.7", "https", "kv.example"),
        ('For="[2001:db8::7]:4711";Proto=https', "2001:db8::7", "https", None),
        ('for="192.0.2.7:80" ; host="a.example"', "192.0.2.7", "http", "a.example"),
        ("for=6.6.6.6;proto=http, for=192.0.2.7;proto=https, for=10.0.0.2", "192.0.2.7", "https", None),
        ("for=192.0.2.7, for=10.0.0.2;proto=https", "192.0.2.7", "https", None),
        ("for=_hidden;proto=https", "10.0.0.1", "https", None),
        ("proto=https", "10.0.0.1", "https", None),
        ("by=10.0.0.1;for=192.0.2.7", "192.0.2.7", "http", None),
    ],
)
def test_the_standard_field(text: str, client: str, scheme: str, host: str | None) -> None:
    """RFC 7239."""
    found = seen(Forwarded=text)
    assert found.client is not None
    assert (found.client[0], found.scheme, found.host) == (client, scheme, host)


def test_the_standard_field_yields_to_the_others() -> None:
    """It is read only when none of them is there: a proxy that sets those lets it pass."""
    found = seen(Forwarded="for=6.6.6.6;proto=https;host=evil.example", X_Forwarded_For="192.0.2.7")
    assert (found.client, found.scheme, found.host) == (("192.0.2.7", 0), "http", None)


@pytest.mark.parametrize(
    "fields",
    [
        {"X_Forwarded_For": "nonsense"},
        {"X_Forwarded_For": "999.1.1.1"},
        {"X_Forwarded_For": ", ".join(["10.0.0.2"] * (MAX_HOPS + 1))},
        {"Forwarded": ", ".join(["for=10.0.0.2"] * (MAX_HOPS + 1))},
        {"X_Forwarded_Proto": "gopher"},
        {"X_Forwarded_Host": "a b"},
        {"X_Forwarded_Host": "a;script-src *"},
        {"X_Forwarded_Host": "a/b"},
        {"X_Forwarded_Port": "0"},
        {"X_Forwarded_Port": "x"},
        {"X_Forwarded_Prefix": "kv"},
        {"X_Forwarded_Prefix": "//evil.example"},
        {"X_Forwarded_Prefix": "/a/../b"},
        {"X_Forwarded_Prefix": "/a/%2e%2e/b"},
        {"X_Forwarded_Prefix": "/a%0d%0a"},
        {"X_Forwarded_Prefix": "/<script>"},
        {"Forwarded": "for"},
        {"Forwarded": "for=a=b"},
        {"Forwarded": 'for="a'},
        {"Forwarded": "for=192.0.2.7;for=192.0.2.8"},
        {"Forwarded": "for=192.0.2.7 proto=https"},
    ],
)
def test_what_cannot_be_read_is_400(fields: dict[str, str]) -> None:
    """A proxy that is trusted and not understood: better no answer than a wrong client."""
    with pytest.raises(Problem) as caught:
        seen(**fields)
    assert caught.value.status == 400


def test_the_word_of_others_does_not_count() -> None:
    """It is taken out, so that nobody behind believes it; their own address stays."""
    fields = [
        (b"host", b"kv"), (b"x-forwarded-for", b"6.6.6.6"), (b"forwarded", b"for=6.6.6.6"),
        (b"x-forwarded-prefix", b"/evil"), (b"accept", b"*/*"),
    ]  # fmt: skip
    assert Outside(PROXIES).peer(STRANGER, fields) == STRANGER
    assert fields == [(b"host", b"kv"), (b"accept", b"*/*")]


def test_without_trusted_proxies_the_fields_stay() -> None:
    """Nobody reads them here, and an application may have rules of its own."""
    fields = [(b"x-forwarded-for", b"6.6.6.6")]
    assert Outside(None, "/kv").peer(NGINX, fields) == Ends(NGINX.client, NGINX.server, "http", None, "/kv")
    assert len(fields) == 1


def test_who_comes_by_a_unix_socket() -> None:
    """`unix:` trusts whoever may open the socket."""
    local = Ends(None, ("/run/kv.sock", None), "http")
    fields = [(b"x-forwarded-for", b"192.0.2.7")]
    assert Outside(Trusted(["unix:"])).peer(local, list(fields)).client == ("192.0.2.7", 0)
    assert Outside(PROXIES).peer(local, list(fields)).client is None


@pytest.mark.parametrize(
    ("target", "below"),
    [
        (b"/kv/values/a?x=/kv", b"/values/a?x=/kv"),
        (b"/values/a", b"/values/a"),
        (b"/kv", b"/"),
        (b"/kv?x", b"/?x"),
        (b"/kv/", b"/"),
        (b"/kvx/a", b"/kvx/a"),
        (b"/%6bv/a%2Fb", b"/a%2Fb"),
        (b"*", b"*"),
    ],
)
def test_the_path_below_the_root(target: bytes, below: bytes) -> None:
    """Whether the proxy takes the prefix away or leaves it."""
    assert Outside(None, "/kv").target(target, Ends(root_path="/kv")) == below


def test_a_proxy_replaces_the_root_path() -> None:
    """X-Forwarded-Prefix is nearer to the truth than a setting."""
    assert seen_below("/one", X_Forwarded_Prefix="/two").root_path == "/two"
    assert seen_below("/one", X_Forwarded_For="192.0.2.7").root_path == "/one"
    assert seen_below("/one", X_Forwarded_Prefix="/").root_path == ""


def test_settings_that_are_wrong_are_told() -> None:
    """One line with the setting's name."""
    for entry in ("10.0.0.1/8", "nginx", "10.0.0.1:80", "*"):
        with pytest.raises(SettingsError, match="SKERRY_TRUSTED"):
            Trusted([entry])
    for path in ("kv", "/a//b", "http://x/kv", "/a/../b", "/a?b"):
        with pytest.raises(SettingsError, match="SKERRY_ROOT_PATH"):
            root_of(path)
    assert [root_of(path) for path in ("", "/", "/kv/", "/my app", "/%C3%A4")] == [
        "",
        "",
        "/kv",
        "/my app",
        "/ä",
    ]


def test_networks_and_addresses() -> None:
    """Both families, and IPv4 as a socket for both shows it."""
    assert PROXIES.includes("10.1.2.3")
    assert PROXIES.includes("::ffff:10.1.2.3")
    assert PROXIES.includes("2001:db8:1::9")
    assert not PROXIES.includes("11.0.0.1")
    assert not PROXIES.includes(None)
    assert not PROXIES.includes("nonsense")
    assert not Trusted([])


@pytest.mark.parametrize(("entries", "some"), [([], False), (["10.0.0.1"], True), (["unix:"], True)])
def test_it_is_known_whether_any_proxy_is_trusted(entries: list[str], some: bool) -> None:
    """Without one the fields are neither read nor taken out."""
    assert bool(Trusted(entries)) is some
