"""The routes as an OpenAPI 3.1 document. Pure: routes in, plain data out.

A service may say what a view that takes it promises beyond its signature: a class attribute `openapi` with
`parameters`, `responses` and `headers` (of the 200), in OpenAPI's own terms.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
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


def document(
    title: str,
    version: str,
    routes: Iterable[Route],
    *,
    schemes: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """The description of all documented routes, paths in the order of their declaration. `schemes`: OpenAPI's Security
    Scheme Objects by name; any of them opens a route that needs a right."""
    shown = [route for route in routes if route.documented and WEBSOCKET not in route.methods]
    schemas, components = _schemas(shown)
    components["Problem"] = PROBLEM
    paths: dict[str, dict[str, Any]] = {}
    taken: dict[str, int] = {}
    for route in shown:
        operations = paths.setdefault(_plain(route.path), {})
        for method in sorted(route.methods):
            operation = _operation(route, method, schemas, schemes or {})
            name = operation["operationId"]
            taken[name] = taken.get(name, 0) + 1
            if taken[name] > 1:  # two views of one name: the document needs different ones
                operation["operationId"] = f"{name}_{taken[name]}"
            operations[method.lower()] = operation
    described: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version},
        "paths": paths,
        "components": {"schemas": components},
    }
    if schemes:
        described["components"]["securitySchemes"] = {name: dict(each) for name, each in schemes.items()}
    return described


def problem(description: str, **headers: str) -> dict[str, Any]:
    """A Response Object of problem details, with header fields and what each is for."""
    found: dict[str, Any] = {
        "description": description,
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    if headers:
        found["headers"] = header_objects({name.replace("_", "-"): text for name, text in headers.items()})
    return found


def header_objects(fields: Mapping[str, str]) -> dict[str, Any]:
    """Header Objects: name -> what it is for."""
    return {name: {"description": text, "schema": {"type": "string"}} for name, text in fields.items()}


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
        if _has_schema(route.result):
            kinds.append(route.result)
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


def _operation(
    route: Route, method: str, schemas: dict[Any, Any], schemes: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
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
    arguments = route.binding.arguments
    extras = [found for each in arguments if (found := getattr(each.type, "openapi", None)) is not None]
    parameters = [_parameter(each, schemas) for each in arguments if each.kind in ("path", "query")]
    told = {each["name"] for each in parameters}
    parameters += [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in route.template.names
        if name not in told
    ]
    by_name = {each["name"]: each for extra in extras for each in extra.get("parameters", ())}
    parameters += by_name.values()
    if parameters:
        operation["parameters"] = parameters
    body = next((each for each in arguments if each.kind in ("body", "bytes")), None)
    if body is not None:
        media = "application/json" if body.kind == "body" else "application/octet-stream"
        schema = schemas.get(_key(body.type), {}) if body.kind == "body" else {}
        operation["requestBody"] = {"required": body.required, "content": {media: {"schema": schema}}}
    operation["responses"] = _responses(
        route, schemas, extras, guarded=bool(schemes) and route.right is not None
    )
    if schemes and route.right is not None:
        operation["security"] = [{name: []} for name in schemes]
    return operation


def _responses(
    route: Route, schemas: dict[Any, Any], extras: list[Mapping[str, Any]], *, guarded: bool
) -> dict[str, Any]:
    success: dict[str, Any] = {"description": "OK"}
    result = schemas.get(_key(route.result))
    if result is not None:
        success["content"] = {"application/json": {"schema": result}}
    responses: dict[str, Any] = {"200": success, "default": problem("What went wrong")}
    if route.template.names:
        # Without a content: some views answer with a problem, others with nothing at all.
        responses["404"] = {"description": "Nothing has that name"}
    if guarded:
        responses["401"] = problem(
            "No token, or one that is not known", WWW_Authenticate="How to authenticate"
        )
        responses["403"] = problem("The token does not give this right")
    for extra in extras:
        responses |= extra.get("responses", {})
        if fields := extra.get("headers"):
            success["headers"] = {**success.get("headers", {}), **fields}
    return responses


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
