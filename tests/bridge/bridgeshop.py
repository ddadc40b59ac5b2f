"""A shop whose orders are written by its own transactions: what the bridge's tests run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from skerry import App, Command, Event, Projection, Query, Record, Rejected, Unit
from skerry.backends.postgres.journal import PostgresJournal
from skerry.kernel.settings import Settings
from skerry.testing.app import World, running


class OrderPaid(Event):
    number: int
    total: str = ""

    def subject_key(self) -> str:
        return f"order-{self.number}"


class Refund(Command[int]):
    number: int


class Refunded(Event):
    number: int


class PaidOrders(Query[list[int]]):
    least: int = 0


class SlowOrders(Query[int]):
    pass


class Paid(Projection):
    ephemeral = True

    def __init__(self) -> None:
        self.numbers: list[int] = []

    def clear(self) -> None:
        self.numbers.clear()

    @Projection.applies(OrderPaid)
    def paid(self, event: OrderPaid, record: Record) -> None:
        self.numbers.append(event.number)


def shop() -> App:
    app = App("shop")
    app.emits(OrderPaid, foreign=True)
    app.emits(Refunded)

    app.projection(Paid)

    @app.answers(PaidOrders)
    def paid_orders(query: PaidOrders, paid: Paid) -> list[int]:
        return [number for number in paid.numbers if number >= query.least]

    @app.answers(SlowOrders)
    async def slow_orders(query: SlowOrders, paid: Paid) -> int:
        await asyncio.sleep(0)
        return len(paid.numbers)

    @app.handles(Refund)
    async def refund(command: Refund, unit: Unit) -> int:
        if command.number < 0:
            raise Rejected("no such order")
        unit.emit(Refunded(command.number))
        return command.number * 2

    return app


@asynccontextmanager
async def open_shop(dsn: str) -> AsyncIterator[World]:
    """On PostgreSQL, in this process."""
    settings = Settings(journal=dsn, transport="memory:", warm_start=False, namespace="shop")
    async with running(shop(), settings=settings, journal=PostgresJournal(dsn, "shop")) as world:
        yield world
