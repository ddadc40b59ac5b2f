"""Endpoint strings are read as TarsCpp reads them, printed canonically, and refused with the reason."""

from __future__ import annotations

import pytest

from skerry.tars.endpoint import Endpoint, EndpointError, ObjectAddress, parse_endpoints
from skerry.tars.errors import TarsError


def test_a_plain_endpoint() -> None:
    """Protocol, host, port; the idle time-out is 3000 ms when none is given, all else is off."""
    assert Endpoint.parse("tcp -h 127.0.0.1 -p 9000") == Endpoint("tcp", "127.0.0.1", 9000)
    assert Endpoint.parse("tcp -h 127.0.0.1 -p 9000").timeout_milliseconds == 3000


def test_every_option() -> None:
    """All letters of TC_Endpoint and of TarsPHP are understood; blanks may repeat."""
    read = Endpoint.parse("ssl  -h h.example  -p 1 -t 5 -g 2 -q 3 -w 40 -v 1 -e 1 -s a.b.c -b 0.0.0.0")
    assert read == Endpoint("ssl", "h.example", 1, 5, 2, 3, 40, 1, 1, "a.b.c", "0.0.0.0")
    assert read.listens_on == "0.0.0.0"


@pytest.mark.parametrize(
    ("text", "weight"), [("", -1), ("-w 5", -1), ("-v 1", 100), ("-v 1 -w 7", 7), ("-v 1 -w 1000", 100)]
)
def test_weights(text: str, weight: int) -> None:
    """A weight counts only with -v 1, is 100 by default then and 100 at most."""
    assert Endpoint.parse(f"tcp -h h -p 1 {text}").weight == weight


def test_unknown_letters_are_passed_over_and_star_is_every_address() -> None:
    """TarsCpp ignores letters it does not know; `*` is 0.0.0.0."""
    assert Endpoint.parse("udp -h * -p 1 -z 9") == Endpoint("udp", "0.0.0.0", 1)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "starts with tcp, udp or ssl"),
        ("http -h h -p 1", "starts with tcp, udp or ssl"),
        ("tcp -p 1", "host is missing"),
        ("tcp -h h", "port is missing"),
        ("tcp -h h -p x", "whole number"),
        ("tcp -h h -p 65536", "between 0 and 65535"),
        ("tcp -h h -p -1", "between 0 and 65535"),
        ("tcp -h h -p", "no argument"),
        ("tcp h -p 1", "expected an option"),
        ("tcp -h h -p 1 -v 2", "between 0 and 1"),
    ],
)
def test_what_is_wrong_is_said(text: str, says: str) -> None:
    """A bad endpoint is a TarsError that names the problem and shows the text."""
    with pytest.raises(EndpointError, match=says) as caught:
        Endpoint.parse(text)
    assert isinstance(caught.value, TarsError)
    assert caught.value.text == text


def test_printing_and_reading_again() -> None:
    """The canonical text holds everything that differs from the default, and reads back as the same value."""
    for text in ("tcp -h h -p 1 -t 3000", "ssl -h ::1 -p 2 -t 60000 -g 1 -q 2 -w 7 -v 1 -e 1 -s x.y.1 -b *"):
        assert str(Endpoint.parse(text)) == text
        assert Endpoint.parse(str(Endpoint.parse(text))) == Endpoint.parse(text)


def test_several_endpoints_and_ipv6() -> None:
    """Endpoints end where the next protocol word begins: colons in IPv6 hosts are no separators."""
    read = parse_endpoints("tcp -h ::1 -p 1:udp -h fe80::1 -p 2 : ssl -h c -p 3")
    assert [(e.protocol, e.host, e.port) for e in read] == [
        ("tcp", "::1", 1),
        ("udp", "fe80::1", 2),
        ("ssl", "c", 3),
    ]


def test_a_host_named_tcp_something_is_a_host() -> None:
    """Only the whole word starts an endpoint: `tcp-gw` is a host."""
    assert parse_endpoints("tcp -h tcp-gw -p 1")[0].host == "tcp-gw"


def test_addresses() -> None:
    """Name alone, with `#n`, with endpoints; printing gives it back."""
    assert ObjectAddress.parse("App.Server.Obj") == ObjectAddress("App.Server.Obj")
    read = ObjectAddress.parse(" App.Server.Obj#2@tcp -h a -p 1 -t 10:tcp -h b -p 2 -t 10 ")
    assert (read.name, read.part, [e.host for e in read.endpoints]) == ("App.Server.Obj", "2", ["a", "b"])
    assert str(read) == "App.Server.Obj#2@tcp -h a -p 1 -t 10:tcp -h b -p 2 -t 10"


@pytest.mark.parametrize(
    "text", ["", "@tcp -h h -p 1", "App Obj", "Obj@", "Obj@nonsense", "Obj@x tcp -h h -p 1"]
)
def test_bad_addresses(text: str) -> None:
    """No name, a name with blanks, an @ with nothing usable after it: refused."""
    with pytest.raises(EndpointError):
        ObjectAddress.parse(text)
