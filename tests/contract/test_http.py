"""livekv over HTTP: every row of the table, the bodies to the byte; keys, values and errors."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from contractworld import Running, request  # type: ignore[import-not-found]


def test_put_get_delete_to_the_byte(alone: Running) -> None:
    """PUT, GET, HEAD, DELETE, and what is not there."""
    put = alone.ask("PUT", "/values/mykey", b"myvalue")
    assert (put.status, put.body) == (200, b'{"key":"mykey","value":"myvalue","message":"OK"}')
    assert put.headers["content-type"] == "application/json"
    position = put.headers["skerry-position"]
    assert put.headers["etag"] == f'"{position}"'
    assert len(put.headers["skerry-command"]) == 32

    got = alone.ask("GET", "/values/mykey")
    assert (got.status, got.body) == (200, b'{"key":"mykey","value":"myvalue"}')
    assert got.headers["etag"] == put.headers["etag"]
    assert "skerry-position" in got.headers
    head = alone.ask("HEAD", "/values/mykey")
    assert (head.status, head.body) == (200, b"")
    assert {n: v for n, v in head.headers.items() if n != "date"} == {
        n: v for n, v in got.headers.items() if n != "date"
    }

    gone = alone.ask("DELETE", "/values/mykey")
    assert (gone.status, gone.body) == (200, b'{"key":"mykey","message":"1"}')
    again = alone.ask("DELETE", "/values/mykey")
    assert (again.status, again.body) == (200, b'{"key":"mykey","message":"0"}')
    for method in ("GET", "HEAD"):
        missing = alone.ask(method, "/values/mykey")
        assert (missing.status, missing.body, missing.headers["content-length"]) == (404, b"", "0")


def test_preconditions(alone: Running) -> None:
    """304 for what the client has; If-Match and If-None-Match: * on PUT and DELETE -> 412."""
    tag = alone.ask("PUT", "/values/cond", b"1").headers["etag"]
    unchanged = alone.ask("GET", "/values/cond", If_None_Match=tag)
    assert (unchanged.status, unchanged.body, unchanged.headers["etag"]) == (304, b"", tag)
    assert alone.ask("PUT", "/values/cond", b"2", If_None_Match="*").status == 412
    assert alone.ask("DELETE", "/values/cond", If_Match='"other:1"').status == 412
    newer = alone.ask("PUT", "/values/cond", b"2", If_Match=tag)
    assert newer.status == 200
    assert alone.ask("PUT", "/values/cond", b"3", If_Match=tag).status == 412
    assert alone.ask("GET", "/values/cond", If_None_Match=tag).status == 200
    assert alone.ask("DELETE", "/values/cond", If_Match=newer.headers["etag"]).status == 200
    assert alone.ask("DELETE", "/values/cond", If_Match="*").status == 412
    assert alone.ask("PUT", "/values/cond", b"1", If_None_Match="*").status == 200
    assert alone.ask("PUT", "/values/cond", b"1", If_Match="no tag").status == 400


def test_the_list(alone: Running) -> None:
    """Code point order, prefix, after, limit; `next` is passed as `after`, null at the end."""
    keys = ["list-a", "list-Z", "list-ä", "list-\U0001f600", "list-b", "list-\uffff"]
    for key in keys:
        assert alone.ask("PUT", "/values/" + quote(key, safe=""), b"v").status == 200
    seen: list[str] = []
    after = ""
    while True:
        page = alone.ask("GET", f"/values?prefix=list-&limit=2&after={quote(after)}").json()
        assert list(page) == ["values", "next", "position"]
        assert all(list(pair) == ["key", "value"] for pair in page["values"])
        seen += [pair["key"] for pair in page["values"]]
        if page["next"] is None:
            break
        after = page["next"]
    assert seen == sorted(keys)
    for limit in ("0", "1001", "x", "-1"):
        assert 400 <= alone.ask("GET", f"/values?limit={limit}").status < 500
    assert alone.ask("GET", "/values?prefix=%FF").status == 400


def test_the_state_of_a_command(alone: Running) -> None:
    """Applied with its position, rejected with its reason, unknown 404."""
    put = alone.ask("PUT", "/values/cmd", b"1")
    state = alone.ask("GET", "/commands/" + put.headers["skerry-command"]).json()
    assert state == {
        "id": put.headers["skerry-command"],
        "status": "applied",
        "position": put.headers["skerry-position"],
        "reason": None,
    }
    refused = alone.ask("PUT", "/values/cmd", b"1", If_None_Match="*")
    state = alone.ask("GET", "/commands/" + refused.headers["skerry-command"]).json()
    assert (state["status"], state["position"]) == ("rejected", None)
    assert state["reason"]
    for unknown in ("0" * 32, "x", "f" * 3000):
        assert alone.ask("GET", f"/commands/{unknown}").status == 404


def test_idempotency(alone: Running) -> None:
    """The same answer and position again; another body under the same key -> 422."""
    for method, body in (("PUT", b"1"), ("DELETE", None)):
        key = f"order-{method}"
        first = alone.ask(method, "/values/idem", body, Idempotency_Key=key)
        again = alone.ask(method, "/values/idem", body, Idempotency_Key=key)
        assert (again.status, again.body) == (200, first.body)
        assert again.headers["skerry-position"] == first.headers["skerry-position"]
        assert alone.ask(method, "/values/idem", b"other", Idempotency_Key=key).status == 422
    assert alone.ask("PUT", "/values/idem", b"1", Idempotency_Key="k" * 256).status == 400


def test_respond_async_waits_for_the_commit_here(alone: Running) -> None:
    """On `local:` respond-async waits for the commit too."""
    assert alone.ask("PUT", "/values/async", b"1", Prefer="respond-async").status == 200


def test_a_read_that_brings_a_position(alone: Running) -> None:
    """Reached: at once; not within `Prefer: wait`: 503 with Retry-After; another epoch: at once, with the new one."""
    here = alone.ask("PUT", "/values/pos", b"1").headers["skerry-position"]
    epoch, _, offset = here.partition(":")
    assert alone.ask("GET", "/values/pos", Skerry_Position=here).status == 200
    later = f"{epoch}:{int(offset) + 10_000}"
    for target in ("/values/pos", "/values"):
        never = alone.ask("GET", target, Skerry_Position=later, Prefer="wait=0")
        assert (never.status, never.headers["retry-after"]) == (503, "1")
    other = alone.ask("GET", "/values/pos", Skerry_Position=f"other:{offset}9999")
    assert other.status == 200
    assert other.headers["skerry-position"].startswith(epoch + ":")
    assert alone.ask("GET", "/values/pos", Skerry_Position="nonsense").status == 400


@pytest.mark.parametrize(
    ("path", "status", "key"),
    [
        ("k" * 512, 200, "k" * 512), ("k" * 513, 414, None),
        ("%C3%A9" * 256, 200, "é" * 256), ("%C3%A9" * 256 + "x", 414, None),
        ("a%2Fb", 200, "a/b"), ("a%2fb", 200, "a/b"), ("%2F", 200, "/"), ("..%2F", 200, "../"), ("...", 200, "..."),
        (".", 400, None), ("..", 400, None), ("%2E", 400, None), ("%2e%2E", 400, None),
        ("%00", 400, None), ("a%00b", 400, None),
        ("%FF", 400, None), ("%C0%AF", 400, None), ("%ED%A0%80", 400, None), ("%F4%90%80%80", 400, None),
        ("%", 400, None), ("a%2", 400, None), ("a%GG", 400, None),
        ("%7E", 200, "~"), ("~", 200, "~"), ("%61", 200, "a"), ("a+b", 200, "a+b"), ("%252F", 200, "%2F"),
        ("e%CC%81", 200, "e\u0301"), ("%C3%A9", 200, "\u00e9"), ("%EF%BB%BFx", 200, "\ufeffx"),
        ("a%0D%0Ab", 200, "a\r\nb"), ("%22%5C", 200, '"\\'),
    ],
)  # fmt: skip
def test_keys(alone: Running, path: str, status: int, key: str | None) -> None:
    """1 to 512 bytes of strictly valid UTF-8 after percent-decoding, and no two keys alias."""
    body = path[:40].encode()
    found = alone.raw(request("PUT", f"/values/{path}", body=body))
    assert int(found.split(b" ", 2)[1]) == status
    if key is None:
        assert b"application/problem+json" in found
        assert alone.ask("DELETE", f"/values/{path}").status == status
        return
    stored: Any = alone.ask("GET", "/values/" + quote(key, safe="")).json()
    assert stored == {"key": key, "value": body.decode()}


@pytest.mark.parametrize(
    ("value", "status"),
    [
        (b"", 200), ("é😀\r\n\t\x7f\u2028".encode(), 200), (b'"\\\x01', 200), (b"x" * (1 << 20), 200),
        (b"x" * ((1 << 20) + 1), 413), (b"\xff", 415), (b"\xed\xa0\x80", 415), (b"a\x00b", 400),
    ],
    ids=["empty", "text", "escapes", "1 MiB", "1 MiB + 1", "no UTF-8", "surrogate", "U+0000"],
)  # fmt: skip
@pytest.mark.parametrize("chunked", [False, True])
def test_values(alone: Running, value: bytes, status: int, chunked: bool) -> None:
    """Any content type, valid UTF-8 (else 415) without U+0000 (400), empty allowed, up to 1 MiB (else 413)."""
    if chunked:
        body = b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in (value[:100_000], value[100_000:]) if p)
        head = request("PUT", "/values/val", "Transfer-Encoding: chunked", "Content-Type: image/png")
        found = alone.raw(head + body + b"0\r\n\r\n")
        assert int(found.split(b" ", 2)[1]) == status
    else:
        answer = alone.ask("PUT", "/values/val", value, Content_Type="image/png")
        assert answer.status == status
        if status != 200:
            assert answer.headers["content-type"] == "application/problem+json"
    if status == 200:
        assert alone.ask("GET", "/values/val").json()["value"] == value.decode()


def test_a_client_that_asks_before_it_sends(alone: Running) -> None:
    """Expect: 100-continue is answered, and refused before the body when that would be too large."""
    fine = alone.raw(request("PUT", "/values/exp", "Expect: 100-continue", body=b"hi"))
    assert fine.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 ")
    large = request("PUT", "/values/exp", "Expect: 100-continue", "Content-Length: 2000000")
    assert alone.status_of(large) == 413


def test_errors_are_problems_without_internals(alone: Running) -> None:
    """application/problem+json with type, title, status, detail."""
    for method, target, status in (
        ("GET", "/nothing", 404), ("POST", "/values/a", 405), ("GET", "/values?limit=x", 422),
        ("GET", "/commands/x", 404), ("PUT", "/values/%FF", 400),
    ):  # fmt: skip
        answer = alone.ask(method, target)
        assert (answer.status, answer.headers["content-type"]) == (status, "application/problem+json")
        problem = answer.json()
        assert problem["status"] == status
        assert not any(word in answer.body.lower() for word in (b"traceback", b"/src/", b".py", b"exception"))


def test_health_and_metrics(alone: Running) -> None:
    """Liveness; readiness with lag in positions; Prometheus."""
    assert alone.ask("GET", "/health/live").json() == {"status": "live"}
    ready = alone.ask("GET", "/health/ready")
    assert (ready.status, ready.json()["checks"]["memory"]["lag"]) == (200, 0)
    metrics = alone.ask("GET", "/metrics")
    assert metrics.headers["content-type"].startswith("text/plain; version=")
    assert b"# TYPE skerry_http_answers_total counter" in metrics.body


def test_the_page_is_rendered_by_the_server(alone: Running) -> None:
    """The values are in it, escaped; a strict Content-Security-Policy, no third-party script."""
    alone.ask("PUT", "/values/" + quote("<b>&", safe=""), b"</td><script>alert(1)</script>")
    page = alone.ask("GET", "/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert b"<script>alert" not in page.body
    assert b"&lt;script&gt;alert(1)" in page.body
    assert b"http" not in page.body.replace(b"http://127.0.0.1", b"").split(b"<body", 1)[0]
