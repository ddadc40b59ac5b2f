"""The App beside the project: what happens in the shop's own transactions is memory of every server, rows on the pages
of everybody who looks, and work in the background. Run by `manage.py skerry`.

On PostgreSQL products and orders are mirrors of their tables, whoever writes to them. On SQLite, which has none, the
models leave an event for each row that is saved (`shop.models.Followed`); pages see no difference.
"""

import os
from collections import Counter
from typing import Any

import msgspec
from django.conf import settings

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "storefront.settings")

from shop import events
from shop.events import BestSellers, OrderPlaced, Pack, Packed, RowGone, RowSaved

from skerry import App, Projection, Record, Table, Unit
from skerry.hosting.django import by_session, host_project
from skerry.journal import RowPut

app = App("shop")
app.emits(OrderPlaced, RowSaved, RowGone, foreign=True)
host_project(app)
app.live("/events")
app.authenticate(by_session(lambda user: user.is_staff))  # orders are nobody else's business


# --- rows on pages


@app.renders(RowSaved)
def row_saved(event: RowSaved, record: Record) -> dict[str, Any]:
    return {"event": "row_put", "table": event.table, "key": event.key, "row": event.row}


@app.renders(RowGone)
def row_gone(event: RowGone, record: Record) -> dict[str, Any]:
    return {"event": "row_deleted", "table": event.table, "key": event.key}


if settings.ON_POSTGRESQL:
    products = app.mirror("shop_product", key="id", row=events.Product, live=True)
    app.mirror("shop_order", key="id", row=events.Order, live=True)

    @app.reactor("low_stock", products.Put)
    def stock_of_mirror(event: RowPut, record: Record) -> None:
        tell_low_stock(event.row)


else:

    @app.reactor("low_stock", RowSaved)
    def stock_of_saved(event: RowSaved, record: Record) -> None:
        if event.table == "shop_product":
            tell_low_stock(msgspec.convert(event.row, events.Product))


# --- memory


@app.projection
class Sold(Projection):
    """How many pieces of each product were ordered."""

    stored = True

    def __init__(self) -> None:
        self.pieces: Counter[int] = Counter()

    def clear(self) -> None:
        self.pieces.clear()

    def state(self) -> bytes:
        return msgspec.json.encode(self.pieces)

    def restore(self, state: bytes) -> None:
        self.pieces = Counter(msgspec.json.decode(state, type=dict[int, int]))

    @Projection.applies(OrderPlaced)
    def ordered(self, event: OrderPlaced, record: Record) -> None:
        for line in event.lines:
            self.pieces[line.product] += line.pieces


@app.answers(BestSellers)
def best_sellers(query: BestSellers, sold: Sold) -> list[tuple[int, int]]:
    return sold.pieces.most_common(query.most)


# --- work in the background


class Parcel(msgspec.Struct, frozen=True):
    order: int
    parcels: int


parcels = Table("parcel", key=str, row=Parcel)
app.uses(parcels)
PIECES_IN_A_PARCEL = 5


@app.handles(Pack)
async def pack(command: Pack, unit: Unit) -> None:
    """Sent by a view once its order is committed: the store room packs it, once."""
    key = str(command.order)
    if await unit.get(parcels, key) is None:
        needed = -(-command.pieces // PIECES_IN_A_PARCEL)
        unit.put(parcels, key, Parcel(command.order, needed))
        unit.emit(Packed(command.order, needed))


@app.renders(Packed)
def packed(event: Packed, record: Record) -> dict[str, Any]:
    row = {"order": event.order, "parcels": event.parcels}
    return {"event": "row_put", "table": "parcel", "key": event.order, "row": row}


@app.reactor("confirmation", OrderPlaced)
def confirm(event: OrderPlaced, record: Record) -> None:
    """Once the order is committed: a mail server that is away is tried again, and delays no customer."""
    lines = "\n".join(f"{line.pieces} x {line.name}" for line in event.lines)
    mail(
        f"Your order {event.number}",
        f"Thank you. You have ordered\n\n{lines}\n\nTotal {event.total}",
        event.email,
    )


def tell_low_stock(product: events.Product) -> None:
    if product.stock <= settings.LOW_STOCK:
        _, address = settings.MANAGERS[0]
        mail(f"{product.name}: {product.stock} left", "Please order more of it.", address)


def mail(subject: str, text: str, to: str) -> None:
    """By the backend of the settings; the console while there is no mail server."""
    from django.core.mail import send_mail

    send_mail(subject, text, None, [to])
