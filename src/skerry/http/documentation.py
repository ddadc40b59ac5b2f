"""The routes that describe an application: its OpenAPI document, and that document as plain HTML, without a script."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from html import escape
from typing import Any

from skerry.http.reply import Response
from skerry.http.request import Request
from skerry.http.routes import DeclaredRoute

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 small { font-weight: normal; opacity: .6; font-size: 1rem; }
details { border: 1px solid #8886; border-radius: .4rem; margin: .5rem 0; padding: .4rem .8rem; }
summary { cursor: pointer; } summary b { display: inline-block; min-width: 4.5rem; }
code, pre { font: .9rem ui-monospace, monospace; } pre { overflow-x: auto; background: #8881; padding: .6rem; }
table { border-collapse: collapse; } td, th { text-align: left; padding: .15rem .8rem .15rem 0; vertical-align: top; }
"""


def documentation(
    openapi: str | None, docs: str | None, describe: Callable[[], dict[str, Any]]
) -> Iterator[DeclaredRoute]:
    """The routes, at these paths; None: there is none. `describe` makes the document."""

    def document(request: Request) -> dict[str, Any]:
        found = describe()
        if request.root_path:
            found["servers"] = [{"url": request.url_path("")}]
        return found

    def openapi_json(request: Request) -> Response:
        """The OpenAPI description of this application."""
        return Response.json(document(request))

    def docs_page(request: Request) -> Response:
        """This application's routes as a page."""
        return page(document(request), None if openapi is None else request.url_path(openapi))

    for path, view, name in ((openapi, openapi_json, "openapi"), (docs, docs_page, "docs")):
        if path is not None:
            yield DeclaredRoute(path, frozenset({"GET"}), view, name, "read", documented=False)


def page(document: dict[str, Any], source: str | None) -> Response:
    """The page for a document; `source` is where the document itself is served."""
    info = document["info"]
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        "<meta name=viewport content='width=device-width, initial-scale=1'>",
        f"<title>{escape(info['title'])}</title><style>{STYLE}</style>",
        f"<h1>{escape(info['title'])} <small>{escape(info['version'])}</small></h1>",
    ]
    if source is not None:
        parts.append(
            f"<p>Machine-readable: <a href='{escape(source)}'>{escape(source)}</a> (OpenAPI 3.1)</p>"
        )
    for path, operations in document["paths"].items():
        parts += [_operation(path, method, operation) for method, operation in operations.items()]
    schemas = document["components"]["schemas"]
    parts.append("<h2>Types</h2>")
    parts += [
        f"<details id='{escape(name)}'><summary><code>{escape(name)}</code></summary>{_json(schema)}</details>"
        for name, schema in schemas.items()
    ]
    return Response.html("".join(parts), headers={"Content-Security-Policy": POLICY})


def _operation(path: str, method: str, operation: dict[str, Any]) -> str:
    lines = [
        f"<details><summary><b>{escape(method.upper())}</b> <code>{escape(path)}</code> ",
        f"{escape(operation.get('summary', ''))}</summary>",
    ]
    if operation.get("description"):
        lines.append(f"<p>{escape(operation['description'])}</p>")
    if operation.get("security"):
        lines.append("<p>Needs a token.</p>")
    if operation.get("parameters"):
        lines.append("<table><tr><th>Parameter<th>In<th>Required<th>Type</tr>")
        for each in operation["parameters"]:
            required = "yes" if each["required"] else "no"
            kind = escape(json.dumps(each["schema"], ensure_ascii=False))
            lines.append(
                f"<tr><td><code>{escape(each['name'])}</code><td>{each['in']}<td>{required}<td><code>{kind}</code></tr>"
            )
        lines.append("</table>")
    if operation.get("requestBody"):
        lines.append("<p>Body:</p>" + _json(operation["requestBody"]["content"]))
    success = operation["responses"]["200"]
    if success.get("content"):
        lines.append("<p>Answer:</p>" + _json(success["content"]))
    return "".join([*lines, "</details>"])


def _json(value: Any) -> str:
    return f"<pre>{escape(json.dumps(value, indent=2, ensure_ascii=False))}</pre>"
