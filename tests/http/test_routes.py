"""One table decides which route answers, and says what would do where none does."""

from __future__ import annotations

from typing import Any

import pytest

from skerry.errors import DeclarationError
from skerry.http.binding import bind
from skerry.http.path import PathTemplate
from skerry.http.routes import Found, Missing, Mount, Route, RouteTable


def route(path: str, *methods: str, lane: bool = True, guarded: bool = False) -> Route:
    template = PathTemplate(path)
    view = eval(f"lambda {', '.join(template.names)}: None")
    view.__annotations__ = dict.fromkeys(template.names, str)
    binding = bind(view, path, template.names, frozenset(methods or ("GET",)))
    return Route(
        template, frozenset(methods or ("GET",)), path, view, binding, lane, "read", 10, guarded=guarded
    )


def table(*routes: Route, mounts: tuple[Mount, ...] = ()) -> RouteTable:
    made = RouteTable()
    for each in routes:
        made.add(each)
    for mount in mounts:
        made.mount(mount)
    return made


async def app(scope: Any, receive: Any, send: Any) -> None: ...


def name(found: object) -> object:
    return found.route.name if isinstance(found, Found) else found.name if isinstance(found, Mount) else found


def test_precedence() -> None:
    """Static before templates, templates in order, mounts last with the longest prefix first."""
    made = table(
        route("/v/{k}"), route("/v/all"), route("/v/{other}/x"),
        mounts=(Mount(b"", app, "rest"), Mount(b"/v", app, "v"), Mount(b"/v/deep", app, "deep")),
    )  # fmt: skip
    for path, expected in [
        (b"/v/all", "/v/all"), (b"/v/a%6Cl", "/v/all"), (b"/v/a", "/v/{k}"), (b"/v/a/x", "/v/{other}/x"),
        (b"/v/deep/x/y", "deep"), (b"/v/a/b/c", "v"), (b"/v", "v"), (b"/vx", "rest"), (b"/w/x", "rest"), (b"/", "rest"),
    ]:  # fmt: skip
        assert name(made.find("GET", path)) == expected, path


def test_methods() -> None:
    """HEAD falls back to GET; another method is told what is allowed, over all routes of the path."""
    made = table(route("/v/{k}", "GET"), route("/v/{key}", "PUT", "DELETE"), route("/s", "POST"))
    assert name(made.find("HEAD", b"/v/a")) == "/v/{k}"
    assert name(made.find("DELETE", b"/v/a")) == "/v/{key}"
    assert made.find("POST", b"/v/a") == Missing(frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS"}))
    assert made.find("HEAD", b"/s") == Missing(frozenset({"POST", "OPTIONS"}))
    assert made.find("GET", b"/nope") == Missing()


def test_an_own_head_route_wins() -> None:
    """A declared HEAD route answers HEAD even when GET was declared first."""
    made = table(route("/v/{k}", "GET"), route("/v/{key}", "HEAD"))
    assert name(made.find("HEAD", b"/v/a")) == "/v/{key}"


def test_a_route_is_declared_once() -> None:
    """The same path and method twice is an error that names both."""
    with pytest.raises(DeclarationError, match="twice"):
        table(route("/v/{k}"), route("/v/{other}"))


def test_the_shortcut_holds_only_what_is_unambiguous() -> None:
    """Routes with a static neighbour, an earlier rival or on the ASGI side are not in it."""
    assert set(
        table(route("/v/{k}"), route("/w/{k}", lane=False), route("/g/{k}", guarded=True)).direct()
    ) == {b"/v", b"/g"}
    assert table(route("/v/{k}"), route("/v/all")).direct() == {}
    assert table(route("/{p:path}"), route("/v/{k}")).direct() == {}
    assert set(table(route("/v/{k}"), route("/v/{k}/x")).direct()) == {b"/v"}
    assert table(route("/v/{k}", "PUT")).direct() == {}
