"""A shop that a browser listens to, for the benchmark of the bridge: each payment is a row and an event."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs

import sqlalchemy
from sqlalchemy.orm import Session

from skerry import App, Event
from skerry.hosting import emit


class Paid(Event):
    number: int


app = App("bench")
app.emits(Paid, foreign=True)
app.live("/events")
engine = sqlalchemy.create_engine(
    os.environ["SKERRY_JOURNAL"].replace("postgresql:", "postgresql+psycopg:"), pool_size=20
)


@app.renders(Paid)
def paid(event: Paid) -> dict[str, Any]:
    return {"event": "paid", "number": event.number}


def shop(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answers when the payment was committed, in milliseconds since 1970; without a number, an empty page."""
    asked = parse_qs(environ["QUERY_STRING"])
    start_response("200 OK", [("Content-Type", "text/html")])
    if "number" not in asked:
        return [b"<!doctype html><title>shop</title>"]
    with Session(engine) as session, session.begin():
        session.execute(sqlalchemy.text("insert into bill (text) values ('x')"))
        emit(Paid(int(asked["number"][0])), key="k", session=session)
    return [str(time.time() * 1000).encode()]


app.host("/shop", shop)
