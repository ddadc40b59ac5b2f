"""A shop for the bridge's end-to-end tests: orders are written by its own transactions, beside an App.

`SHOP_FILE`: the journal's SQLite file, where there is one. Without, orders are a mirror of a table in PostgreSQL.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import closing
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from skerry import App, Command, Event, Projection, Query, Record, Table, Unit
from skerry.hosting import ask, emit, send


class OrderPaid(Event):
    number: int


class Note(Command):
    key: str


class Noted(Event):
    key: str


class PaidNumbers(Query[list[int]]):
    pass


class Kept(msgspec.Struct, frozen=True):
    text: str


class Order(msgspec.Struct, frozen=True):
    number: int
    version: int


app = App("shop")
app.emits(OrderPaid, foreign=True)
app.emits(Noted)
notes = Table("note", key=str, row=Kept)
app.uses(notes)
file = os.environ.get("SHOP_FILE", "")
orders: Any = None if file else app.mirror("shop_order", key="number", row=Order)


@app.projection
class Paid(Projection):
    """Made of all events there are, so that it may be compared after any restart."""

    stored = True

    def __init__(self) -> None:
        self.numbers: list[int] = []

    def clear(self) -> None:
        self.numbers.clear()

    def state(self) -> bytes:
        return msgspec.json.encode(self.numbers)

    def restore(self, state: bytes) -> None:
        self.numbers = msgspec.json.decode(state, type=list[int])

    @Projection.applies(OrderPaid)
    def paid(self, event: OrderPaid, record: Record) -> None:
        self.numbers.append(event.number)


@app.answers(PaidNumbers)
def paid_numbers(query: PaidNumbers, paid: Paid) -> list[int]:
    return list(paid.numbers)


@app.handles(Note)
def note(command: Note, unit: Unit) -> None:
    unit.put(notes, command.key, Kept("noted"))
    unit.emit(Noted(command.key))


@app.get("/paid")
def paid_view(paid: Paid) -> dict[str, Any]:
    return {"numbers": paid.numbers}


@app.get("/orders")
def orders_view() -> dict[str, Any]:
    return {"orders": [] if orders is None else [[each.number, each.version] for each in orders.values()]}


def pay(request: Request) -> JSONResponse:
    """A view of another framework, in a thread of its own, with its own connection."""
    number, rolls_back = int(request.query_params["number"]), "back" in request.query_params
    with closing(sqlite3.connect(file, isolation_level=None, timeout=30)) as connection:
        connection.execute("begin immediate")
        connection.execute("create table if not exists bill (number integer)")
        connection.execute("insert into bill values (?)", (number,))
        emitted = emit(OrderPaid(number), connection=connection)
        connection.execute("rollback" if rolls_back else "commit")
    if rolls_back:
        return JSONResponse({"status": "rolled back"})
    receipt = emitted.wait(20)
    noted = send(Note(f"note-{number}"), wait=20)
    told = {"status": receipt.status, "position": str(receipt.position), "noted": noted.status}
    return JSONResponse(
        {**told, "paid": number in ask(PaidNumbers()), "thread": threading.current_thread().name}
    )


app.mount("/shop", Starlette(routes=[Route("/pay", pay)]))
