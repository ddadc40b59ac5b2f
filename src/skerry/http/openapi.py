"""The routes as an OpenAPI 3.1 document. Pure: routes in, plain data out."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from typing import Any

import msgspec

from skerry.http.binding import Argument, is_pydantic
from skerry.http.routes import WEBSOCKET, Route

PROBLEM = {
    "type": "object",
    "description": "Problem details (RFC 9457)",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
    },
    "required": ["title", "status"],
}


def document(title: str, version: str, routes: Iterable[Route], *, secured: bool = False) -> dict[str, Any]:
    """The description of all documented routes, paths in the order of their declaration."""
    shown = [route for route in routes if route.documented and WEBSOCKET not in route.methods]
    schemas, components = _schemas(shown)
    components["Problem"] = PROBLEM
    paths: dict[str, dict[str, Any]] = {}
    for route in shown:
        operations = paths.setdefault(_plain(route.path), {})
        for method in sorted(route.methods):
            operations[method.lower()] = _operation(route, method, schemas, secured)
    described: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version},
        "paths": paths,
        "components": {"schemas": components},
    }
    if secured:
        described["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    return described


def _plain(template: str) -> str:
    """OpenAPI knows no parameter kinds within braces."""
    return re.sub(r"\{(\w+):\w+\}", r"{\1}", template)


def _schemas(routes: list[Route]) -> tuple[dict[Any, Any], dict[str, Any]]:
    """A schema per type that the routes speak of, and the named components they refer to."""
    kinds: list[Any] = []
    for route in routes:
        kinds += [
            argument.type
            for argument in route.binding.arguments
            if argument.kind in ("path", "query", "body")
        ]
        if _has_schema(route.binding.result):
            kinds.append(route.binding.result)
    models = [kind for kind in kinds if is_pydantic(kind)]
    kinds = [kind for kind in kinds if not is_pydantic(kind)]
    described: dict[Any, Any] = {}
    named: dict[str, Any] = {}
    for kind in models:
        described[_key(kind)] = schema = kind.model_json_schema(ref_template="#/components/schemas/{model}")
        named |= schema.pop("$defs", {})
    try:
        found, components = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")
    except TypeError:
        # One type without a schema must not take the description of all others away.
        return described, named
    described |= {_key(kind): schema for kind, schema in zip(kinds, found, strict=True)}
    return described, {**named, **components}


def _has_schema(kind: Any) -> bool:
    if kind is inspect.Parameter.empty or kind is None:
        return False
    if is_pydantic(kind):
        return True
    try:
        msgspec.json.schema(kind)
    except TypeError:
        return False
    return True


def _key(kind: Any) -> str:
    return repr(kind)


def _operation(route: Route, method: str, schemas: dict[Any, Any], secured: bool) -> dict[str, Any]:
    text = inspect.getdoc(route.view) or ""
    summary, _, description = text.partition("\n")
    operation: dict[str, Any] = {
        "operationId": f"{route.name}_{method.lower()}",
        "summary": summary or route.name,
    }
    if route.tags:
        operation["tags"] = list(dict.fromkeys(route.tags))
    if description.strip():
        operation["description"] = description.strip()
    parameters = [
        _parameter(each, schemas) for each in route.binding.arguments if each.kind in ("path", "query")
    ]
    if parameters:
        operation["parameters"] = parameters
    body = next((each for each in route.binding.arguments if each.kind in ("body", "bytes")), None)
    if body is not None:
        media = "application/json" if body.kind == "body" else "application/octet-stream"
        schema = schemas.get(_key(body.type), {}) if body.kind == "body" else {}
        operation["requestBody"] = {"required": body.required, "content": {media: {"schema": schema}}}
    success: dict[str, Any] = {"description": "OK"}
    result = schemas.get(_key(route.binding.result))
    if result is not None:
        success["content"] = {"application/json": {"schema": result}}
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    operation["responses"] = {
        "200": success,
        "default": {"description": "What went wrong", "content": problem},
    }
    if any(each.kind == "path" for each in route.binding.arguments):
        # Without a content: some views answer with a problem, others with nothing at all.
        operation["responses"]["404"] = {"description": "Nothing has that name"}
    if secured and route.right is not None:
        operation["security"] = [{"token": []}]
    return operation


def _parameter(argument: Argument, schemas: dict[Any, Any]) -> dict[str, Any]:
    schema = dict(schemas.get(_key(argument.type), {}))
    if not argument.required and isinstance(argument.default, str | int | float | bool | None):
        schema["default"] = argument.default
    return {
        "name": argument.name,
        "in": argument.kind,
        "required": argument.kind == "path" or argument.required,
        "schema": schema,
    }
