"""What is said between the project and the App beside it. No Django here: the App's processes import it too."""

import datetime
from decimal import Decimal
from typing import Any

import msgspec

from skerry import Command, Event, Query


class Product(msgspec.Struct, frozen=True):
    """What pages may show of a product."""

    id: int
    name: str
    price: Decimal
    stock: int


class Order(msgspec.Struct, frozen=True):
    """What pages may show of an order; whose it is stays in the database."""

    id: int
    status: str
    total: Decimal
    placed_at: datetime.datetime


class Line(msgspec.Struct, frozen=True):
    product: int
    name: str
    pieces: int


class OrderPlaced(Event):
    number: int
    email: str
    total: Decimal
    lines: list[Line]

    def subject_key(self) -> str:
        return f"order-{self.number}"


class RowSaved(Event):
    """A row that pages follow, where the database has no mirrors."""

    table: str
    key: int
    row: dict[str, Any]

    def subject_key(self) -> str:
        return f"{self.table}:{self.key}"


class RowGone(Event):
    table: str
    key: int

    def subject_key(self) -> str:
        return f"{self.table}:{self.key}"


class Pack(Command[None]):
    order: int
    pieces: int


class Packed(Event):
    order: int
    parcels: int

    def subject_key(self) -> str:
        return f"parcel:{self.order}"


class BestSellers(Query[list[tuple[int, int]]]):
    """The products that were ordered most: (primary key, pieces)."""

    most: int = 3
