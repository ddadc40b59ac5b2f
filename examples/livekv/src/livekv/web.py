"""What is said over HTTP: the values, one by one and as a list."""

from __future__ import annotations

import asyncio
from typing import Annotated
from urllib.parse import quote

import msgspec

from livekv.messages import DeleteValue, PutValue
from livekv.values import Values
from livekv.view import Entry
from skerry import HttpReads, HttpWrites, Problem, Receipt, Request, Response
from skerry.http import JSON, Preconditions

MAX_KEY_BYTES = 512
MAX_VALUE_BYTES = 1024 * 1024
MAX_PAGE_BYTES = 4 * MAX_VALUE_BYTES
"""A page of values ends before it is larger than this (or after one value), however many were asked for."""
LINE_MEDIA = "application/x-ndjson"

_encode = msgspec.json.Encoder().encode


class Pair(msgspec.Struct, frozen=True, gc=False):
    """A key and its value, as answers show them."""

    key: str
    value: str


def check_key(key: str) -> str:
    """The key, if it is one. Raises Problem 400 or 414."""
    if "\x00" in key or key in ("", ".", ".."):
        raise Problem(400, "a key has at least one character, no U+0000, and is neither . nor ..")
    if len(key) > MAX_KEY_BYTES // 4 and len(key.encode()) > MAX_KEY_BYTES:
        raise Problem(414, f"a key has at most {MAX_KEY_BYTES} bytes of UTF-8")
    return key


def get_value(
    request: Request, key: str, values: Values, reads: HttpReads
) -> Response | asyncio.Future[Response]:
    """One value, from memory."""
    if request.headers.positioned:
        return reads.at(request, lambda: _found(key, values.entries.get(key), reads))
    entry = values.entries.get(key)
    if entry is None:
        return _found(key, None, reads)
    return reads.row(_encode(Pair(key, entry.value)), entry.offset)


def _found(key: str, entry: Entry | None, reads: HttpReads) -> Response:
    if entry is None:
        check_key(key)
        return reads.missing()
    return reads.row(_encode(Pair(key, entry.value)), entry.offset)


def put_value(request: Request, key: str, writes: HttpWrites) -> asyncio.Future[Response]:
    """Set a value; answers when it is in the database and in this server's memory."""
    value = _value_of(request)
    conditions = Preconditions.of(request.headers)
    command = PutValue(check_key(key), value, conditions.if_match, conditions.if_none_match)

    def answer(receipt: Receipt) -> Response:
        body = b'{"key":%b,"value":%b,"message":"OK"}' % (_encode(key), _encode(value))
        return Response(body, media_type=JSON, etag=str(receipt.position))

    return writes.send(request, command, answer, {"key": key, "value": value})


def delete_value(request: Request, key: str, writes: HttpWrites) -> asyncio.Future[Response]:
    """Remove a value; the message says how many there were."""
    conditions = Preconditions.of(request.headers)
    command = DeleteValue(check_key(key), conditions.if_match, conditions.if_none_match)

    def answer(receipt: Receipt[int]) -> Response:
        return Response.json({"key": key, "message": str(receipt.value)})

    return writes.send(request, command, answer, {"key": key})


def list_values(
    request: Request,
    values: Values,
    reads: HttpReads,
    prefix: str = "",
    after: str = "",
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 100,
) -> Response | asyncio.Future[Response]:
    """A page of values in code point order of the keys; as one JSON object a line with
    `Accept: application/x-ndjson`. What there is beyond `limit`, or beyond 4 MiB, is on the following page: `next`
    goes into its `after`."""

    def answer() -> Response:
        pairs, following = _page(values, prefix, after, limit)
        if LINE_MEDIA in (request.headers.get("accept") or ""):
            lines = b"".join(pair + b"\n" for pair in pairs)
            response = Response(
                lines, media_type=LINE_MEDIA, headers={"Skerry-Position": str(reads.position)}
            )
            if following is not None:
                response.with_header("Skerry-Next", _percent(following))
            return response
        parts = (b",".join(pairs), _encode(following), _encode(str(reads.position)))
        return reads.json(b'{"values":[%b],"next":%b,"position":%b}' % parts)

    return reads.at(request, answer)


def _page(values: Values, prefix: str, after: str, limit: int) -> tuple[list[bytes], str | None]:
    """Pairs as JSON, and the last key when more follow."""
    pairs: list[bytes] = []
    last, size = "", 0
    for key in values.ordered(prefix, after):
        if len(pairs) == limit:
            return pairs, last
        pair = _encode(Pair(key, values.entries[key].value))
        size += len(pair)
        if pairs and size > MAX_PAGE_BYTES:
            return pairs, last
        pairs.append(pair)
        last = key
    return pairs, None


def _value_of(request: Request) -> str:
    if len(request.body) > MAX_VALUE_BYTES:
        raise Problem(413, f"a value has at most {MAX_VALUE_BYTES} bytes")
    value = request.text()  # 415 when it is not UTF-8
    if "\x00" in value:
        raise Problem(400, "a value has no U+0000")
    return value


def _percent(text: str) -> str:
    return quote(text, safe="")
