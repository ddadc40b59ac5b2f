"""A router declares a part of an application elsewhere; what contradicts itself is told with both places."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from skerry import (
    App,
    Command,
    Event,
    HttpWrites,
    KeyedProjection,
    Projection,
    Query,
    QueryBus,
    Record,
    Request,
    Response,
    Router,
    Table,
    Unit,
)
from skerry.errors import DeclarationError
from skerry.journal import RowPut
from skerry.testing import running


class Order(Command):
    key: str


class Ordered(Event):
    key: str


class HowMany(Query[int]):
    pass


orders = Table("orders", key=str, row=int, emits=True)


class Orders(KeyedProjection[str, int]):
    table = orders


class Mailer:
    """What a reactor sends with."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.was_sent = asyncio.Event()


def order(command: Order, unit: Unit) -> None:
    unit.put(orders, command.key, 1)
    unit.emit(Ordered(command.key))


def how_many(query: HowMany, orders: Orders) -> int:
    return len(orders)


def shop_orders() -> tuple[Router, list[str]]:
    """Everything that a router may declare."""
    router, heard = Router("orders", prefix="/orders", tags=("orders",)), list[str]()
    router.handles(loads=orders)(order)
    router.answers()(how_many)
    router.projection(Orders)
    router.service()(Mailer)

    @router.on(Ordered)
    def listened(event: Ordered) -> None:
        heard.append(event.key)

    @router.reactor("mail", orders.Put)
    def mail(event: RowPut[str, int], mailer: Mailer) -> None:
        mailer.sent.append(event.key)
        mailer.was_sent.set()

    @router.renders(Ordered)
    def shown(event: Ordered, record: Record) -> dict[str, object]:
        return {"key": event.key.upper()}

    @router.get("")
    def count(queries: QueryBus) -> int:
        return queries.ask(HowMany())

    @router.get("/{key}", tags=("one",))
    def one(key: str, orders: Orders) -> dict[str, int]:
        return {key: orders[key]}

    @router.put("/{key}")
    def put(request: Request, key: str, writes: HttpWrites) -> object:
        return writes.send(request, Order(key), lambda receipt: Response(b""))

    return router, heard


async def test_what_a_router_declares_is_the_applications() -> None:
    """Views under its prefix, handlers, queries, listeners, reactors, projections and services; tags in OpenAPI."""
    app = App("shop")
    router, heard = shop_orders()
    app.include(router, prefix="/v1", tags=("v1",))
    async with running(app) as world:
        client = world.client
        assert (await client.put("/v1/orders/tea")).status == 200
        assert (await client.get("/v1/orders/tea")).json() == {"tea": 1}
        assert (await client.get("/v1/orders")).json() == 1
        assert (await client.get("/orders")).status == 404
        async with asyncio.timeout(10):
            await world.service(Mailer).was_sent.wait()
        assert heard == world.service(Mailer).sent == ["tea"]
        paths = (await client.get("/openapi.json")).json()["paths"]
    assert paths["/v1/orders/{key}"]["get"]["tags"] == ["v1", "orders", "one"]
    assert paths["/v1/orders"]["get"]["tags"] == ["v1", "orders"]


async def test_routers_nest() -> None:
    """The outer prefix first; parameters of prefixes are parameters of the views."""
    shop, shelf = Router("shop", prefix="/shops/{shop}"), Router("shelf", prefix="/shelves")

    @shelf.get("/{number}")
    def shown(shop: str, number: int) -> dict[str, object]:
        return {"shop": shop, "number": number}

    shop.include(shelf, prefix="/left")
    app = App("mall")
    app.include(shop)
    async with running(app) as world:
        answer = await world.client.get("/shops/north/left/shelves/7")
    assert answer.json() == {"shop": "north", "number": 7}


async def test_one_router_serves_under_two_prefixes() -> None:
    """Where it declares nothing that there can be once only."""
    router = Router("ping")

    @router.get("/ping")
    def ping() -> str:
        return "pong"

    app = App("twice")
    app.include(router, prefix="/v1")
    app.include(router, prefix="/v2")
    async with running(app) as world:
        assert [(await world.client.get(f"/v{n}/ping")).status for n in (1, 2)] == [200, 200]


def clash(first: Callable[[Router], object], second: Callable[[Router], object]) -> str:
    """What is said when two routers of one application declare these."""
    left, right = Router("left"), Router("right")
    first(left)
    second(right)
    app = App("shop")
    app.include(left)
    with pytest.raises(DeclarationError) as told:
        app.include(right)
    return str(told.value)


def other_order(command: Order, unit: Unit) -> None: ...


def other_shown(event: Ordered, record: Record) -> dict[str, object]:
    return {}


def made() -> Mailer:
    return Mailer()


def react(event: Ordered) -> None: ...


def other_react(event: Ordered) -> None: ...


def named_orders() -> type[Projection]:
    class Orders(KeyedProjection[str, int]):
        table = orders

    return Orders


HERE = __name__


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        (
            lambda r: r.handles()(order),
            lambda r: r.handles()(other_order),
            f"two handlers for the command Order: {HERE}.order and {HERE}.other_order",
        ),
        (
            lambda r: r.renders(Ordered)(other_shown),
            lambda r: r.renders(Ordered)(lambda event, record: {}),
            f"two functions render Ordered: {HERE}.other_shown and {HERE}.<lambda>",
        ),
        (
            lambda r: r.service()(Mailer),
            lambda r: r.service()(made),
            f"two factories make the service Mailer: {HERE}.Mailer and {HERE}.made",
        ),
        (
            lambda r: r.reactor("mail", Ordered)(react),
            lambda r: r.reactor("mail", Ordered)(other_react),
            f"two reactors are named 'mail': {HERE}.react and {HERE}.other_react",
        ),
        (
            lambda r: r.projection(Orders),
            lambda r: r.projection(named_orders()),
            f"two projections are named Orders: {HERE}.Orders and {HERE}.named_orders.<locals>.Orders",
        ),
        (
            lambda r: r.uses(orders),
            lambda r: r.uses(Table("orders", key=str, row=str)),
            "two tables are named 'orders': one of left, one of right",
        ),
        (
            lambda r: r.emits(Ordered),
            lambda r: r.emits(type("Ordered", (Event,), {"__module__": "elsewhere"})),
            f"elsewhere.Ordered and {HERE}.Ordered are both named 'ordered'",
        ),
    ],
    ids=["handler", "renderer", "service", "reactor", "projection", "table", "message"],
)
def test_a_contradiction_names_both_places(
    first: Callable[[Router], object], second: Callable[[Router], object], told: str
) -> None:
    """And the router in which the second one is."""
    message = clash(first, second)
    assert message.startswith("router right, included in shop: ")
    assert told in message


async def test_two_views_of_one_path_are_told_with_both_places() -> None:
    """At the start, as everything about routes."""
    app, router = App("shop"), Router("orders", prefix="/orders")
    app.get("/orders/{key}")(one_view)
    router.get("/{key}")(other_view)
    app.include(router)
    with pytest.raises(
        DeclarationError,
        match=rf"GET /orders/\{{key\}} is declared twice: {HERE}.one_view and {HERE}.other_view",
    ):
        async with running(app):
            pass


def one_view(key: str) -> str:
    return key


def other_view(key: str) -> str:
    return key


def test_what_is_declared_afterwards_is_refused() -> None:
    """It would be lost; the cure is in the message."""
    app, router = App("shop"), Router("orders")
    app.include(router)
    with pytest.raises(DeclarationError, match="router orders is included in shop already: declare first"):
        router.get("/late")(one_view)


@pytest.mark.parametrize("prefix", ["orders", "/orders/", "/", 7])
def test_a_prefix_is_the_beginning_of_a_path(prefix: str) -> None:
    """Where it is given: of the router, and of the including."""
    with pytest.raises(DeclarationError, match="begins with a slash and does not end with one"):
        Router("orders", prefix=prefix)
    with pytest.raises(DeclarationError, match="begins with a slash and does not end with one"):
        App("shop").include(Router("orders"), prefix=prefix)


def test_only_routers_are_included() -> None:
    """An App has settings, hosts and a stream of its own; a router cannot be in itself."""
    with pytest.raises(DeclarationError, match=r"include takes a Router, not <skerry\.app\.App"):
        App("shop").include(App("other"))  # type: ignore[arg-type]
    router = Router("orders")
    with pytest.raises(DeclarationError, match="router orders includes itself"):
        router.include(router)


def test_a_handler_s_table_is_made() -> None:
    """`loads=` is enough: no projection, no `app.uses`."""
    app = App("rows")
    table = Table("numbers", key=str, row=int)

    class Count(Command):
        key: str

    @app.handles(Count, loads=table)
    def count(command: Count, unit: Unit) -> None: ...

    assert list(app.declaration.tables) == ["numbers"]
