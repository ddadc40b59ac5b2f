"""The App that hosts the project: its pages follow the project's own transactions."""

from __future__ import annotations

from skerry import App, Event
from skerry.http import serve_skerry_js


class OrderPaid(Event):
    number: int


app = App("shop")
app.emits(OrderPaid, foreign=True)
app.live("/events")
serve_skerry_js(app.http)
app.host("/", "shop.wsgi")
