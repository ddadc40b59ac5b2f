"""What a PostgreSQL URL says: hosts, libpq's parameters, settings of the server, and mistakes told at once."""

from __future__ import annotations

import pytest

from skerry.backends.postgres.dsn import Dsn, Host, Silence, read_dsn
from skerry.errors import SettingsError


def read(url: str, **environ: str) -> Dsn:
    return read_dsn(url, environ)


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("postgresql://a/db", [Host("a", 5432)]),
        ("postgresql://a,b:6000,c/db", [Host("a", 5432), Host("b", 6000), Host("c", 5432)]),
        ("postgres://u:p@a:1,b:2/db?target_session_attrs=any", [Host("a", 1), Host("b", 2)]),
        ("postgresql://a,b/db?port=1,2", [Host("a", 1), Host("b", 2)]),
        ("postgresql://a,b/db?port=7", [Host("a", 7), Host("b", 7)]),
        ("postgresql://[::1]:6000/db", [Host("::1", 6000)]),
        ("postgresql:///db?host=/run/pg,b&port=1", [Host("/run/pg", 1), Host("b", 1)]),
        ("postgresql://%2Frun%2Fpg/db", [Host("/run/pg", 5432)]),
        ("postgresql://a,b/db?hostaddr=1.2.3.4,::1", [Host("a", 5432, "1.2.3.4"), Host("b", 5432, "::1")]),
        ("postgresql:///db?hostaddr=1.2.3.4", [Host("1.2.3.4", 5432, "1.2.3.4")]),
        ("postgresql:///db?service=shop", []),
    ],
)
def test_hosts(url: str, hosts: list[Host]) -> None:
    """As libpq reads them: in the URL, in its parameters, each with its port."""
    assert list(read(url).hosts) == hosts


def test_hosts_of_the_environment() -> None:
    """PGHOST and PGPORT where the URL names none; else the usual sockets, then this machine."""
    assert read("postgresql:///db", PGHOST="a,b", PGPORT="1,2").hosts == (Host("a", 1), Host("b", 2))
    assert [host.name for host in read("postgresql:///db").hosts][-1] == "localhost"
    assert read("postgresql:///db").hosts[0].is_socket


def test_a_login_may_hold_anything() -> None:
    """Percent-encoded or not, an @ in a password does not become a host; nothing shows the password."""
    for url in ("postgresql://us%40er:p%3Aw%40d%2F@h/db", "postgresql://us%40er:p:w@d%2F@h/db"):
        dsn = read(url)
        assert (dsn.user, dsn.password, dsn.hosts) == ("us@er", "p:w@d/", (Host("h", 5432),))
        assert "p:w" not in repr(dsn)
        assert "p:w" not in dsn.url


def test_parameters_go_where_they_belong() -> None:
    """The driver's to the driver, the network's to the sockets, the server's to the session, the rest nowhere."""
    dsn = read(
        "postgresql://h/my%20db?sslmode=require&search_path=a,b&application_name=x&connect_timeout=7&keepalives_idle=20"
        "&keepalives_interval=4&keepalives_count=6&tcp_user_timeout=9000&client_encoding=UTF8&gssencmode=prefer"
        "&shop.flag=on&load_balance_hosts=random&target_session_attrs=read-write"
    )
    assert dsn.url == "postgresql:///my%20db?sslmode=require"
    assert dsn.settings == {"search_path": "a,b", "shop.flag": "on"}
    assert dsn.connect_seconds == 7.0
    assert dsn.silence == Silence(20, 4, 6, 9.0)
    assert (dsn.writable, dsn.shuffled) == (True, True)
    plain = read("postgresql://h/db?connect_timeout=0&keepalives=0")
    assert (plain.connect_seconds, plain.silence, plain.writable) == (None, Silence(probes=False), False)
    assert read("postgresql://h/db?connect_timeout=1").connect_seconds == 2.0
    assert read("postgresql://h/db", PGCONNECT_TIMEOUT="9").connect_seconds == 9.0


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("mysql://h/db", "begins with mysql:"),
        ("postgresql://h:notaport/db", "'notaport' is no port"),
        ("postgresql://h:70000/db", "'70000' is no port"),
        ("postgresql://a,b,c/db?port=1,2", "3 hosts, but 2 ports"),
        ("postgresql://a,b/db?hostaddr=1.2.3.4", "2 hosts, but 1 in hostaddr"),
        ("postgresql://h/db?sslmode", "name=value"),
        ("postgresql://h/db?connect_timeout=soon", "connect_timeout=soon is no whole number"),
        ("postgresql://h/db?keepalives=maybe", "keepalives=maybe: 1 or 0"),
        ("postgresql://h/db?target_session_attrs=standby", "the journal needs the primary"),
        ("postgresql://h/db?channel_binding=require", "channel_binding=require is not supported"),
        ("postgresql://h/db?gssencmode=require", "gssencmode=require is not supported"),
        ("postgresql://h/db?replication=database", "replication is not supported"),
        ("postgresql://h/db?client_encoding=latin1", "client_encoding=latin1 is not supported"),
        ("postgresql://h/db?sslrootcert=/nowhere/ca.pem", "sslrootcert: there is no file"),
        ("postgresql://h/db?a%20b=1", "'a b' is no name"),
    ],
)
def test_mistakes(url: str, why: str) -> None:
    """Each names the setting and what is wrong, before anything is connected to."""
    with pytest.raises(SettingsError, match=f"SKERRY_JOURNAL: .*{why}"):
        read(url)
