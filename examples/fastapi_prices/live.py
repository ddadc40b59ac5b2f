"""The App beside the API: prices in memory, and those that watch them."""

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from skerry import App, Event, Projection, Query, Record
from skerry.http import serve_skerry_js


class PriceChanged(Event):
    symbol: str
    cents: int

    def subject_key(self) -> str:
        return f"price:{self.symbol}"


class PriceOf(Query[int | None]):
    symbol: str


class AllPrices(Query[dict[str, int]]):
    pass


app = App("prices")
app.emits(PriceChanged, foreign=True)
app.live("/events")
serve_skerry_js(app.http)
app.host("/", "prices:api")


@app.projection
class Prices(Projection):
    stored = True

    def __init__(self) -> None:
        self.cents: dict[str, int] = {}

    def clear(self) -> None:
        self.cents.clear()

    def state(self) -> bytes:
        return msgspec.json.encode(self.cents)

    def restore(self, state: bytes) -> None:
        self.cents = msgspec.json.decode(state, type=dict[str, int])

    @Projection.applies(PriceChanged)
    def changed(self, event: PriceChanged, record: Record) -> None:
        self.cents[event.symbol] = event.cents


@app.answers(PriceOf)
def price_of(query: PriceOf, prices: Prices) -> int | None:
    return prices.cents.get(query.symbol)


@app.answers(AllPrices)
def all_prices(query: AllPrices, prices: Prices) -> dict[str, int]:
    return dict(prices.cents)


@app.renders(PriceChanged)
def row(event: PriceChanged, record: Record) -> dict[str, Any]:
    return {"event": "row_put", "table": "price", "key": event.symbol, "row": {"cents": event.cents}}


# --- watchers in this process

watchers: dict[str, set[asyncio.Queue[int]]] = defaultdict(set)
KEPT = 100


@contextmanager
def watching(symbol: str) -> Iterator[asyncio.Queue[int]]:
    """The prices of a symbol as they change; of a watcher that is slow the newest ones."""
    queue: asyncio.Queue[int] = asyncio.Queue(KEPT)
    watchers[symbol].add(queue)
    try:
        yield queue
    finally:
        watchers[symbol].discard(queue)


@app.on(PriceChanged)
def tell(event: PriceChanged, record: Record) -> None:
    for queue in watchers.get(event.symbol, ()):
        if queue.full():
            queue.get_nowait()
        queue.put_nowait(event.cents)
