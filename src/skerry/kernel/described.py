"""What OpenAPI says of views that send commands or read at a position: header fields and answers that their signature
does not show. Read by `skerry.http.openapi` as the `openapi` of the services that such views take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from skerry.http.openapi import header_objects, problem

_POSITION = {"Skerry-Position": "The position in the journal, EPOCH:OFFSET"}
_COMMAND = {"Skerry-Command": "The command's id: its state is at /commands/ID"}


def _field(name: str, description: str, pattern: str | None = None) -> dict[str, Any]:
    schema = {"type": "string"} | ({"pattern": pattern} if pattern else {})
    return {"name": name, "in": "header", "required": False, "description": description, "schema": schema}


WRITES: Mapping[str, Any] = {
    "parameters": [
        _field(
            "Idempotency-Key",
            "1 to 255 printable characters. A request that repeats it, with the same method, path and body, gets "
            "the outcome of the first one and changes nothing",
        ),
        _field(
            "Prefer",
            "`wait=SECONDS`: how long to wait until the write is visible here (30 at most). `respond-async`: "
            "answer 202 as soon as the write is durable (RFC 7240)",
        ),
        _field("If-Match", "Only if the current value has one of these entity tags, where the resource has any"),
        _field("If-None-Match", "Only if the current value has none of these; `*`: only if there is none"),
    ],
    "headers": header_objects({**_POSITION, **_COMMAND}),
    "responses": {
        "202": {
            "description": "Durable, but not decided or not visible here in time; the state is at `Location`",
            "headers": header_objects({"Location": "Where the command's state is", **_COMMAND}),
            "content": {
                "application/json": {
                    "schema": {
                        "type": "object",
                        "properties": {"message": {"const": "Accepted"}, "detail": {"type": "string"}},
                        "required": ["message"],
                    }
                }
            },
        },
        "409": problem("A rule of the application refuses it"),
        "412": problem("If-Match or If-None-Match does not hold"),
        "422": problem("The content is not valid, or the Idempotency-Key was used for another request"),
        "500": problem("The command failed and was kept as a dead letter", Skerry_Command="The command's id"),
        "503": problem(
            "Not possible now; whether it was done is unknown if `Skerry-Command` is there: ask for its state, or "
            "repeat the request with the same Idempotency-Key",
            Retry_After="Seconds",
            Skerry_Command="The command's id, when its outcome is unknown",
        ),
    },
}  # fmt: skip

READS: Mapping[str, Any] = {
    "parameters": [
        _field("Skerry-Position", "Answer when memory has reached this position: read your own write", "^.+:[0-9]+$"),
        _field("Prefer", "`wait=SECONDS`: how long to wait for that position (2 by default, 30 at most)"),
        _field("If-None-Match", "Answer 304 if the value still has one of these entity tags"),
    ],
    "headers": header_objects(_POSITION),
    "responses": {
        "304": {"description": "The client has the current value"},
        "503": problem("This server has not reached that position", Retry_After="Seconds"),
    },
}  # fmt: skip
