"""The stream of events and the commands of an application as an AsyncAPI 3.0 document. Pure: a declaration in, plain
data out. HTTP is described by `skerry.http.openapi`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from skerry.journal.correcting import RESERVED
from skerry.kernel.declaration import Declaration
from skerry.messages.message import Command, Event, result_of

POSITION = {"type": "string", "description": "The position in the journal, EPOCH:OFFSET"}
_PREFIX = "#/components/schemas/"


def document(declaration: Declaration) -> dict[str, Any]:
    """The description of one application. Types that JSON Schema cannot say are described as any value."""
    settings = declaration.http.settings
    commands = list(declaration.handlers.commands)
    hidden = {name for name, of in declaration.mirrored_events().items() if not declaration.mirrors[of].live}
    events = [
        kind
        for kind in declaration.messages
        if issubclass(kind, Event)
        and kind.message_name not in hidden
        and not kind.message_name.startswith(RESERVED)
    ]
    results = {kind: result_of(kind) for kind in commands}
    schemas, components = _schemas([*commands, *events, *results.values()])
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    messages: dict[str, Any] = {}
    if declaration.live is not None:
        stream = {f"event_{kind.message_name}": _event(kind, declaration, components) for kind in events}
        messages |= _frames() | stream
        channels["events"] = _channel(declaration.live.path, [*_frames(), *stream], STREAM) | {
            "bindings": {"ws": {"method": "GET", "query": QUERY}}
        }
        operations["tell"] = _operation("send", "events", "Tell listeners of what memory has applied")
    if commands:
        decided = {
            f"command_{kind.message_name}": _command(kind, schemas, results[kind]) for kind in commands
        }
        messages |= decided
        channels["commands"] = _channel(None, decided, COMMANDS)
        operations["decide"] = _operation("receive", "commands", "Decide a command, once in effect")
    return {
        "asyncapi": "3.0.0",
        "info": {"title": settings.title, "version": settings.version},
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {"schemas": components, "messages": messages},
    }


STREAM = (
    "The stream of events: a WebSocket with one JSON object a frame, or server-sent events with the same objects "
    "(`Accept: text/event-stream`)."
)
COMMANDS = (
    "Commands on their way to a consumer, over the transport that SKERRY_TRANSPORT names. A message on the queue is a "
    "JSON array of envelopes; this is the body of one. Commands of one key are decided in the order in which they "
    "were sent."
)
QUERY = {
    "type": "object",
    "properties": {
        "since": {"type": "string", "description": "First what happened after this position, EPOCH:OFFSET"},
        "snapshot": {"type": "string", "enum": ["0", "1"], "description": "First the current values"},
        "prefix": {"type": "string", "description": "Only events whose key begins with it"},
        "beat": {"type": "string", "enum": ["0", "1"], "description": "A frame with each ping"},
    },
}


def _channel(address: str | None, names: Iterable[str], description: str) -> dict[str, Any]:
    return {
        "address": address,
        "description": description,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names},
    }


def _operation(action: str, channel: str, summary: str) -> dict[str, Any]:
    return {"action": action, "channel": {"$ref": f"#/channels/{channel}"}, "summary": summary}


def _schemas(kinds: Iterable[Any]) -> tuple[dict[Any, Any], dict[str, Any]]:
    """A schema for each type, and the named components that they refer to."""
    found: dict[Any, Any] = {}
    components: dict[str, Any] = {}
    for kind in dict.fromkeys(kinds):
        try:
            (schema,), named = msgspec.json.schema_components([kind], ref_template=_PREFIX + "{name}")
        except TypeError:
            schema, named = {}, {}
        found[kind] = schema
        components |= named
    return found, components


def _event(kind: type[Event], declaration: Declaration, components: Mapping[str, Any]) -> dict[str, Any]:
    own = {} if kind in declaration.renderers else components.get(kind.__name__, {}).get("properties", {})
    head = {"type": {"const": "domain_event"}, "event": {"const": kind.message_name}}
    tail = {"position": POSITION, "at": {"type": "number", "description": "Seconds since 1970"}}
    payload = {"type": "object", "properties": {**head, **own, **tail}, "required": [*head, *tail]}
    return _message(kind, payload)


def _command(kind: type[Command[Any]], schemas: Mapping[Any, Any], result: Any) -> dict[str, Any]:
    described = _message(kind, schemas[kind])
    described["headers"] = {
        "type": "object",
        "properties": {
            "who": {"type": "string", "description": "The identity that sent it"},
            "traceparent": {"type": "string", "description": "W3C Trace Context"},
        },
    }
    return described | {"x-result": schemas[result], "x-version": kind.message_version}


def _message(kind: type[Event] | type[Command[Any]], payload: Any) -> dict[str, Any]:
    text = (kind.__doc__ or "").strip() if "__doc__" in vars(kind) else ""
    described = {"name": kind.message_name, "title": kind.__name__, "payload": payload}
    return described | ({"summary": text.partition("\n")[0]} if text else {})


def _frames() -> dict[str, Any]:
    """The frames of the stream beside the application's events."""

    def frame(name: str, summary: str, **fields: Any) -> dict[str, Any]:
        properties = {"type": {"const": name}, **fields}
        payload = {"type": "object", "properties": properties, "required": list(properties)}
        return {"name": name, "summary": summary, "payload": payload}

    text, truth = {"type": "string"}, {"type": "boolean"}
    found = [
        frame("hello", "First: where the following frames begin", position=POSITION, recovered=truth, snapshot=truth,
              connection=text, process=text, head=POSITION),
        frame("snapshot", "Current values, a piece of them", values={"type": "array", "items": {"type": "object"}}),
        frame("snapshot_end", "The values are complete as of this position", position=POSITION,
              count={"type": "integer"}),
        frame("caught_up", "The end of what was missed", position=POSITION),
        frame("connection_opened", "A listener came, at any process", route=text, connection=text),
        frame("connection_closed", "A listener went", route=text, connection=text),
        frame("connections", "Many came and went", opened={"type": "integer"}, closed={"type": "integer"}),
        frame("beat", "Nothing happened, the server is there"),
        frame("process_joined", "A server process came", process=text),
        frame("process_left", "A server process went", process=text),
    ]  # fmt: skip
    return {each["name"]: each for each in found}
