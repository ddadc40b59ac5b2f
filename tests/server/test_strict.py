"""The form of a head, pure and on real sockets: what h1spec asks of a server, and what smugglers try."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from compliance.probe import PROBE
from compliance.requests import CASES, Case
from compliance.subjects import ours
from tests.server.conftest import everything

from skerry.http.problems import Problem
from skerry.server.strict import Head, examine, origin_form

Start = Callable[..., Awaitable[Any]]
LATER = b"GET /values/k HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize("side", ["lane", "asgi"])
async def test_http11probe(start: Start, side: str) -> None:
    """Http11Probe's list, by its names, on both sides: each is answered as it wants, or as the case says why not."""
    running = await start(ours(side, None), body_seconds=60.0)

    async def asked(case: Case) -> str:
        reader, writer = await running.connect()
        writer.write(case.data)
        said = await everything(reader, looks=100)  # they all come at once, and some are long
        writer.close()
        ended = said.endswith((b"<end>", b"<reset>"))
        return (
            ""
            if case.judge(said.rpartition(b"<")[0] if ended else said, ended=ended)
            else f"{case.name}: {said[:300]!r}"
        )

    mine = [case for case in PROBE if not case.of or side in case.of]
    assert not [wrong for wrong in await asyncio.gather(*map(asked, mine)) if wrong]


def test_the_list_names_each_case_once() -> None:
    """So that a verdict has one place, and none is lost."""
    names = [case.name for case in PROBE]
    assert len(set(names)) == len(names)
    assert len(names) == 212


async def test_heads_and_bodies(start: Start) -> None:
    """Each well-formed request is answered, each malformed one refused with the right class and never served; what is
    not complete is waited for."""
    running = await start()
    wrong = []
    waiting = []
    for case in CASES:
        reader, writer = await running.connect()
        writer.write(case.data)
        if not case.answers:
            waiting.append((case, reader, writer))
            continue
        line = await asyncio.wait_for(reader.readline(), 30)
        found = re.match(rb"HTTP/1\.1 (\d{3}) ", line)
        status = None if found is None else int(found[1])
        if not case.met_by(status, closed=reader.at_eof()):
            wrong.append(f"{case.name}: {line!r}, not {case.answers}")
        writer.close()
    for case, reader, writer in waiting:
        if reader._buffer or reader.at_eof():
            wrong.append(f"{case.name}: {bytes(reader._buffer)!r} before it was complete")
        writer.close()
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("cut", range(1, 60))
async def test_a_request_may_come_in_any_two_pieces(start: Start, cut: int) -> None:
    """Where the network cuts a request makes no difference."""
    running = await start()
    text = b"PUT /values/k HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
    found = await running.ask(text[:cut], text[cut:] + LATER)
    assert found.endswith(b'{"key":"k","value":"hello"}<end>')


def test_what_the_fields_say() -> None:
    """Framing and expectation are read in one pass."""
    fields = [(b"host", b"x"), (b"content-length", b"5"), (b"expect", b"100-Continue")]
    assert examine("1.1", fields) == Head(5, False, True, False)
    assert examine("1.1", [(b"host", b"x"), (b"transfer-encoding", b"chunked")]).has_body
    assert not examine("1.0", []).has_body
    with pytest.raises(Problem) as caught:
        examine("1.1", [])
    assert caught.value.status == 400


def test_an_absolute_target_replaces_the_host() -> None:
    """RFC 9112 section 3.2.2: the authority of the target counts, not the Host field."""
    fields = [(b"host", b"one"), (b"accept", b"*/*")]
    assert origin_form("GET", b"http://two:81/p?q", fields) == b"/p?q"
    assert fields == [(b"host", b"two:81"), (b"accept", b"*/*")]
    assert origin_form("GET", b"http://two?q", fields) == b"/?q"
