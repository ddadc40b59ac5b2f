"""A feed of prices with FastAPI and SQLAlchemy. Writes go to the database, reads come from memory, and each price that
is committed is sent to everybody that watches it over a WebSocket."""

import asyncio
import os
from collections.abc import Iterator
from html import escape
from typing import Annotated, Any

from fastapi import Body, Depends, FastAPI, HTTPException, Response, WebSocket
from fastapi.responses import HTMLResponse
from live import AllPrices, PriceChanged, PriceOf, watching
from sqlalchemy import create_engine, event
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from skerry.hosting import ask_async, emit, position
from skerry.hosting.starlette import asked, problems

URL = os.environ.get("PRICES_DATABASE", "sqlite:///prices.sqlite3")
engine = create_engine(URL)


class Base(DeclarativeBase):
    pass


class Price(Base):
    __tablename__ = "price"
    symbol: Mapped[str] = mapped_column(primary_key=True)
    cents: Mapped[int]


if engine.dialect.name == "sqlite":

    @event.listens_for(engine, "connect")
    def connected(connection: Any, record: Any) -> None:
        connection.isolation_level = None  # else the driver begins transactions, and not immediate ones

    @event.listens_for(engine, "begin")
    def begun(connection: Any) -> None:
        connection.exec_driver_sql("begin immediate")


Base.metadata.create_all(engine)
api = FastAPI(title="Prices")
problems(api)


def session() -> Iterator[Session]:
    with Session(engine) as session:
        yield session


@api.get("/prices")
async def every_price(prices: Annotated[dict[str, int], Depends(asked(AllPrices))]) -> dict[str, int]:
    return prices


@api.get("/prices/{symbol}")
async def price(cents: Annotated[int | None, Depends(asked(PriceOf))]) -> dict[str, int]:
    if cents is None:
        raise HTTPException(404)
    return {"cents": cents}


@api.put("/prices/{symbol}")
def put_price(
    symbol: str, cents: Annotated[int, Body(embed=True, gt=0)], session: Annotated[Session, Depends(session)]
) -> dict[str, str]:
    """It is committed and in this server's memory when this is answered."""
    with session.begin():
        session.merge(Price(symbol=symbol, cents=cents))
        changed = emit(PriceChanged(symbol, cents), session=session)
    return {"status": changed.wait(5).status}


@api.websocket("/prices/{symbol}/watch")
async def watch(socket: WebSocket, symbol: str) -> None:
    """The price now, then each one that is committed."""
    await socket.accept()
    with watching(symbol) as changes:
        if (now := await ask_async(PriceOf(symbol))) is not None:
            await socket.send_json({"cents": now})
        leaving = asyncio.ensure_future(socket.receive())
        while True:
            change = asyncio.ensure_future(changes.get())
            await asyncio.wait({change, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if leaving.done():
                change.cancel()
                return
            await socket.send_json({"cents": change.result()})


ROW = '<tr data-key="{0}"><td data-field="key">{0}</td><td data-field="cents">{1}</td></tr>'
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Prices</title><link rel="icon" href="data:,">
<skerry-rows id="prices" table="price" events="/events" since="{since}" order="key"><table><tbody>
{rows}<template>{empty}</template></tbody></table></skerry-rows>
<script type="module" src="/_skerry/rows.js"></script></html>"""


@api.get("/", response_class=HTMLResponse)
async def page(response: Response) -> str:
    response.headers["Content-Security-Policy"] = "default-src 'self'; img-src data:"
    since = position()  # before the prices are read: what happens from now on, the page is told
    prices = await ask_async(AllPrices())
    rows = "".join(ROW.format(escape(symbol), cents) for symbol, cents in sorted(prices.items()))
    return PAGE.format(since=since, rows=rows, empty=ROW.format("", ""))
