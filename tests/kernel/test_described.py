"""OpenAPI of a whole application: valid, and it says of writes and reads what their answers really have."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from openapi_spec_validator import validate

from skerry import App, Command, Event, HttpReads, HttpWrites, Request, Response, Settings, Unit
from skerry.http import Identity
from skerry.testing import running


class Price(msgspec.Struct, frozen=True):
    cents: int


class SetPrice(Command):
    key: str
    cents: int


class PriceSet(Event):
    key: str


def shop() -> App:
    app = App("shop")

    @app.handles(SetPrice)
    def set_price(command: SetPrice, unit: Unit) -> None:
        unit.emit(PriceSet(command.key))

    @app.put("/prices/{key}", response=Price)
    def put(request: Request, key: str, cents: int, writes: HttpWrites) -> asyncio.Future[Response]:
        return writes.send(request, SetPrice(key, cents), lambda receipt: Response.json(Price(cents)))

    @app.get("/prices/{key:path}")
    def get(key: str, reads: HttpReads) -> Response:
        return reads.missing()

    @app.get("/other", name="get")
    def other() -> Price:
        return Price(1)

    @app.get("/open", rights=None)
    def for_everybody() -> str:
        return ""

    return app


async def described(app: App, **options: Any) -> Any:
    """The document that a process of the application serves, which is valid."""
    async with running(app, **options) as world:
        found = (await world.client.get("/openapi.json")).json()
    validate(found)
    return found


async def test_a_write_says_all_its_answers() -> None:
    """202, 409, 412, 422 and 503, the fields that it heeds and gives, and the schema that was declared."""
    operation = (await described(shop()))["paths"]["/prices/{key}"]["put"]
    assert {"200", "202", "409", "412", "422", "503"} <= operation["responses"].keys()
    fields = {each["name"] for each in operation["parameters"] if each["in"] == "header"}
    assert fields == {"Idempotency-Key", "Prefer", "If-Match", "If-None-Match"}
    success = operation["responses"]["200"]
    assert success["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Price"}
    assert success["headers"].keys() == {"Skerry-Position", "Skerry-Command"}
    assert operation["responses"]["202"]["headers"].keys() == {"Location", "Skerry-Command"}
    assert "security" not in operation


async def test_a_read_at_a_position_says_so() -> None:
    """Only views that take HttpReads heed Skerry-Position."""
    paths = (await described(shop()))["paths"]
    read = paths["/prices/{key}"]["get"]
    assert "Skerry-Position" in {each["name"] for each in read["parameters"]}
    assert {"304", "503"} <= read["responses"].keys()
    assert "parameters" not in paths["/other"]["get"]


async def test_operations_of_one_name_are_told_apart() -> None:
    """Two views may have one name; the document needs two ids."""
    paths = (await described(shop()))["paths"]
    ids = [operation["operationId"] for path in paths.values() for operation in path.values()]
    assert len(set(ids)) == len(ids)


async def test_tokens_and_sessions_are_security_schemes() -> None:
    """A bearer token or the cookie of a login opens routes; a route for everybody needs neither."""
    found = await described(shop(), token="secret", settings=Settings(tokens="write:secret"))
    schemes = found["components"]["securitySchemes"]
    assert {name: each["type"] for name, each in schemes.items()} == {"token": "http", "session": "apiKey"}
    read = found["paths"]["/other"]["get"]
    assert read["security"] == [{"token": []}, {"session": []}]
    assert {"401", "403"} <= read["responses"].keys()
    everybody = found["paths"]["/open"]["get"]
    assert "security" not in everybody
    assert "401" not in everybody["responses"]


async def test_an_application_says_how_it_authenticates() -> None:
    """`scheme=` is its security scheme, a bearer token where it says nothing."""
    for scheme in (None, {"type": "apiKey", "in": "header", "name": "X-Api-Key"}):
        app = shop()

        @app.authenticate(scheme=scheme)
        def who() -> Identity | None:
            return Identity("somebody", rights={"read"})

        schemes = (await described(app))["components"]["securitySchemes"]
        assert schemes == {"application": scheme or {"type": "http", "scheme": "bearer"}}
