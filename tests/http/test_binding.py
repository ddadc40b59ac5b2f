"""A view's arguments are decided at start, and what a client sends is converted or refused with a reason."""

from __future__ import annotations

import datetime
import enum
import uuid
from collections.abc import Callable
from typing import Annotated, Any, Literal

import msgspec
import pytest
from starlette.requests import Request as StarletteRequest

from skerry.errors import DeclarationError
from skerry.http.auth import Identity
from skerry.http.binding import Body, bind
from skerry.http.headers import Headers
from skerry.http.problems import Problem
from skerry.http.request import Request


class Item(msgspec.Struct):
    name: str
    count: int = 0


class Colour(enum.Enum):
    RED = "red"


class Service:
    """Something that the application offers."""


SERVICE = Service()


def resolve(kind: type) -> object:
    if kind is Service:
        return SERVICE
    raise LookupError(kind)


def call(
    view: Callable[..., Any], target: bytes = b"/", body: bytes = b"", *path: str, names: tuple[str, ...] = ()
) -> Any:
    binding = bind(view, "POST / (view)", names, frozenset({"POST"}), resolve)
    return binding.call(
        Request("POST", target, Headers([(b"content-type", b"application/json")]), body), *path
    )


def test_each_source() -> None:
    """Path, request, identity, body, raw body, query and service each come from where they should."""

    def view(
        key: str,
        number: int,
        request: Request,
        who: Identity | None,
        item: Item,
        raw: bytes,
        q: str,
        *,
        service: Service,
    ) -> tuple[Any, ...]:
        return key, number, request.method, who, item, raw, q, service

    found = call(view, b"/?q=x", b'{"name":"n"}', "k", "7", names=("key", "number"))
    assert found == ("k", 7, "POST", None, Item("n"), b'{"name":"n"}', "x", SERVICE)


@pytest.mark.parametrize(
    ("kind", "query", "expected"),
    [
        (int, "v=5", 5), (float, "v=1.5", 1.5), (bool, "v=true", True), (bool, "v=0", False), (str, "v=", ""),
        (Colour, "v=red", Colour.RED), (Literal["a", "b"], "v=b", "b"), (int | None, "v=3", 3),
        (datetime.date, "v=2026-11-20", datetime.date(2026, 11, 20)),
        (uuid.UUID, "v=00000000-0000-0000-0000-000000000001", uuid.UUID(int=1)),
        (list[int], "v=1&v=2", [1, 2]), (list[str], "v=a", ["a"]), (Annotated[int, msgspec.Meta(ge=1)], "v=1", 1),
    ],
)  # fmt: skip
def test_query_types(kind: Any, query: str, expected: object) -> None:
    """Scalars, enums, dates, UUIDs, unions and lists are converted by annotation."""

    def view(v: Any) -> Any:
        return v

    view.__annotations__["v"] = kind
    assert call(view, b"/?" + query.encode()) == expected


@pytest.mark.parametrize(
    ("kind", "query", "reason"),
    [
        (int, "v=x", "Expected `int`"), (int, "", "missing"), (Colour, "v=blue", "Invalid enum value"),
        (Annotated[int, msgspec.Meta(ge=1)], "v=0", ">= 1"), (list[int], "v=1&v=x", "Expected `int`"),
        (datetime.date, "v=tomorrow", "Invalid"),
    ],
)  # fmt: skip
def test_wrong_query_values_say_why(kind: Any, query: str, reason: str) -> None:
    """A value that does not fit is 422 and names the parameter and the reason."""

    def view(v: Any) -> Any:
        return v

    view.__annotations__["v"] = kind
    with pytest.raises(Problem, match=reason) as caught:
        call(view, b"/?" + query.encode())
    assert caught.value.status == 422
    assert "v" in caught.value.detail


def test_defaults() -> None:
    """Absent optional parameters take their defaults; so does an absent optional body."""

    def view(
        a: int = 3, b: str | None = None, item: Item | None = None, many: list[int] | None = None
    ) -> Any:
        return a, b, item, many

    assert call(view) == (3, None, None, None)
    assert call(view, b"/?many=1&many=2")[3] == [1, 2]


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (b"{", 400, "not JSON"), (b"", 400, "not JSON"), (b"\xff", 400, "not JSON"), (b"[]", 422, "Expected `object`"),
        (b'{"count":1}', 422, "missing required field `name`"), (b'{"name":1}', 422, r"\$.name"),
    ],
)  # fmt: skip
def test_wrong_bodies_say_why(body: bytes, status: int, reason: str) -> None:
    """Not JSON is 400, JSON of another shape 422 with the place in it."""

    def view(item: Item) -> Any:
        return item

    with pytest.raises(Problem, match=reason) as caught:
        call(view, b"/", body)
    assert caught.value.status == status


def test_a_marked_body() -> None:
    """`Annotated[T, Body]` makes any type the body."""

    def view(items: Annotated[list[Item], Body]) -> Any:
        return items

    assert call(view, b"/", b'[{"name":"a"}]') == [Item("a")]


def test_what_cannot_be_bound_is_found_at_start() -> None:
    """Unknown services, missing annotations, star arguments, lost path parameters and two bodies are named."""

    def unknown(x: Exception) -> None: ...

    def bare(x) -> None: ...  # type: ignore[no-untyped-def]

    def star(*x: int) -> None: ...

    def lost() -> None: ...

    def two(a: Item, b: Item) -> None: ...

    def body(a: Item) -> None: ...

    cases: list[tuple[Callable[..., Any], tuple[str, ...], set[str], str]] = [
        (unknown, (), {"GET"}, "no service Exception"), (bare, (), {"GET"}, "needs a type"),
        (star, (), {"GET"}, r"\*x"), (lost, ("key",), {"GET"}, "no such parameter"),
        (two, (), {"POST"}, "two parameters"), (body, (), {"GET"}, "has none"),
    ]  # fmt: skip
    for view, names, methods, reason in cases:
        with pytest.raises(DeclarationError, match=reason):
            bind(view, "here", names, frozenset(methods), resolve)


class Sender:
    """A service whose calls are answers, as HttpWrites is one."""

    must_return = ("send",)

    def send(self) -> str:
        return "sent"


def test_a_view_that_drops_its_answer_is_refused() -> None:
    """One that returns what it sends, or anything else of its own, is bound."""

    def drops(sender: Sender) -> None:
        sender.send()

    def returns(sender: Sender) -> str:
        return sender.send()

    def tells(sender: Sender) -> str:
        sender.send()
        return "told"

    def resolve_sender(kind: type) -> object:
        return Sender()

    with pytest.raises(DeclarationError, match="the view returns nothing"):
        bind(drops, "here", (), frozenset({"POST"}), resolve_sender)
    for view in (returns, tells):
        bind(view, "here", (), frozenset({"POST"}), resolve_sender)


def test_starlettes_request_belongs_to_the_asgi_side() -> None:
    """A view that wants it says so in its binding."""

    def view(request: StarletteRequest) -> None: ...

    assert bind(view, "here", (), frozenset({"GET"})).needs_connection
