"""The environ is what PEP 3333 says, and nobody passes for somebody else in it."""

from __future__ import annotations

from skerry.exchange import Head
from skerry.hosting.environ import Environs


def environ(target: bytes = b"/", *fields: tuple[bytes, bytes], prefix: bytes = b"") -> dict[str, object]:
    head = Head("GET", target, "1.1", fields, "https", ("192.0.2.1", 5000), ("192.0.2.2", 443))
    return Environs({"wsgi.version": (1, 0)}, prefix).of(head)


def test_the_path_is_decoded_once_and_given_as_sent_as_well() -> None:
    """`PATH_INFO` is latin-1 of the decoded bytes; `RAW_URI` tells an escaped slash from a real one."""
    found = environ(b"/caf%C3%A9/a%2Fb?x=%20")
    assert found["PATH_INFO"] == "/café/a/b".encode().decode("latin-1")
    assert found["RAW_URI"] == found["REQUEST_URI"] == "/caf%C3%A9/a%2Fb?x=%20"
    assert (found["QUERY_STRING"], found["SCRIPT_NAME"]) == ("x=%20", "")


def test_a_prefix_becomes_the_script_name() -> None:
    """The rest of the path is the application's."""
    found = environ(b"/my%20shop/a", prefix=b"/my%20shop")
    assert (found["SCRIPT_NAME"], found["PATH_INFO"]) == ("/my shop", "/a")
    assert environ(b"/shop", prefix=b"/shop")["PATH_INFO"] == ""


def test_the_ends_of_the_connection_are_text() -> None:
    """A port is a string (PEP 3333)."""
    found = environ()
    assert (found["SERVER_NAME"], found["SERVER_PORT"]) == ("192.0.2.2", "443")
    assert (found["REMOTE_ADDR"], found["REMOTE_PORT"]) == ("192.0.2.1", "5000")
    assert found["wsgi.url_scheme"] == "https"


def test_fields_of_one_name_are_joined() -> None:
    """Cookies with a semicolon, everything else with a comma; two fields are no CGI header of HTTP_."""
    found = environ(
        b"/", (b"cookie", b"a=1"), (b"x-a", b"1"), (b"cookie", b"b=2"), (b"x-a", b"\xe9"), (b"cookie", b"c=3"),
        (b"content-type", b"text/plain"), (b"content-length", b"0"),
    )  # fmt: skip
    assert found["HTTP_COOKIE"] == "a=1; b=2; c=3"
    assert found["HTTP_X_A"] == "1,é"
    assert (found["CONTENT_TYPE"], found["CONTENT_LENGTH"]) == ("text/plain", "0")
    assert "HTTP_CONTENT_TYPE" not in found


def test_nobody_passes_for_a_field_of_a_proxy() -> None:
    """A name with an underscore would become the same variable; HTTP_PROXY is read by HTTP clients."""
    found = environ(b"/", (b"x_real_ip", b"evil"), (b"x-real-ip", b"good"), (b"proxy", b"http://evil"))
    assert found["HTTP_X_REAL_IP"] == "good"
    assert "HTTP_PROXY" not in found


def test_what_an_application_writes_into_it_is_not_seen_by_the_next() -> None:
    """A header block that comes again is copied from a template."""
    fields = ((b"host", b"a"),)
    environs = Environs({})
    head = Head("GET", b"/", "1.1", fields)
    environs.of(head)["HTTP_HOST"] = "changed"
    assert environs.of(head)["HTTP_HOST"] == "a"
    assert environs.of(Head("GET", b"/", "1.1", ((b"host", b"b"),)))["HTTP_HOST"] == "b"


def test_a_unix_socket_is_named_by_the_request() -> None:
    """PEP 3333 wants a name and a port that are not empty."""
    found = Environs({}).of(Head("GET", b"/", "1.0", ((b"host", b"shop.example:8000"),)))
    assert (found["SERVER_NAME"], found["SERVER_PORT"]) == ("shop.example", "8000")
    found = Environs({}).of(Head("GET", b"/", "1.0", ()))
    assert (found["SERVER_NAME"], found["SERVER_PORT"]) == ("localhost", "80")


def test_behind_a_proxy_the_environ_is_the_clients() -> None:
    """Address, scheme, name and prefix as the proxy tells them; the Host field stays what was sent."""
    client, server = ("192.0.2.7", 0), ("kv.example", 443)
    head = Head(
        "GET", b"/shop/a?b", "1.1", ((b"host", b"inner"),), "https", client, server, "kv.example", "/ä"
    )
    found = Environs({}, b"/shop").of(head)
    assert (found["SCRIPT_NAME"], found["PATH_INFO"]) == ("/ä/shop".encode().decode("latin-1"), "/a")
    assert (found["REMOTE_ADDR"], found["wsgi.url_scheme"]) == ("192.0.2.7", "https")
    assert (found["SERVER_NAME"], found["SERVER_PORT"], found["HTTP_HOST"]) == ("kv.example", "443", "inner")
    assert found["REQUEST_URI"] == "/%C3%A4/shop/a?b"
