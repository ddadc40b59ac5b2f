"""A Django project without files beside a running App, as a program of its own (Django is configured once a process):
prints what it saw as JSON. Its argument: the URL of a database that has a table of orders."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any
from urllib.parse import urlsplit

import django
from bridgeshop import OrderPaid, PaidOrders, Refund, open_shop  # type: ignore[import-not-found]
from django.conf import settings
from django.db import connection, models, transaction

from skerry.errors import SkerryError
from skerry.hosting import ask, emit, send

url = urlsplit(sys.argv[1])
settings.configure(
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": url.path[1:],
            "USER": url.username,
            "PASSWORD": url.password,
            "HOST": url.hostname,
            "PORT": url.port,
        }
    },
    SKERRY={"JOURNAL": sys.argv[1], "NAMESPACE": "shop"},
    USE_TZ=True,
)
django.setup()
seen: dict[str, Any] = {}


class Order(models.Model):  # type: ignore[misc]
    number = models.IntegerField(primary_key=True)

    class Meta:
        app_label = "shop"
        db_table = "shop_order"


def told(call: Any) -> str:
    try:
        call()
    except SkerryError as error:
        return f"{type(error).__name__}: {error}"
    return ""


def view() -> None:
    """What a Django view does, in its thread."""
    seen["outside"] = told(lambda: emit(OrderPaid(0)))
    with transaction.atomic():
        Order.objects.create(number=1)
        first = emit(OrderPaid(1))
        seen["too early"] = told(lambda: first.wait(1))
    seen["first"] = first.wait(30).status
    try:
        with transaction.atomic():
            Order.objects.create(number=2)
            emit(OrderPaid(2), using="default")
            raise ZeroDivisionError
    except ZeroDivisionError:
        pass
    with transaction.atomic():
        try:
            with transaction.atomic():
                emit(OrderPaid(3))
                send(Refund(3), after_commit=True)
                raise ZeroDivisionError
        except ZeroDivisionError:
            pass
        send(Refund(4), after_commit=True)
        last = emit(OrderPaid(4))
    last.wait(30)
    seen["paid"] = ask(PaidOrders())
    seen["refund"] = send(Refund(5), wait=20).value
    seen["orders"] = list(Order.objects.values_list("number", flat=True))
    connection.close()


def shell() -> None:
    """Where no App runs, as under manage.py shell or in a Celery worker: Django's settings say where."""
    with transaction.atomic():
        emitted = emit(OrderPaid(6))
    seen["shell"] = told(lambda: emitted.wait(1))
    connection.close()


async def main() -> None:
    async with open_shop(sys.argv[1]) as world:
        await asyncio.to_thread(view)
    await asyncio.to_thread(shell)
    async with open_shop(sys.argv[1]) as world:
        deadline = asyncio.get_running_loop().time() + 30
        while len(await world.events()) < 5 and asyncio.get_running_loop().time() < deadline:
            await world.clock.sleep(0.01)
        seen["events"] = [f"{record.name} {record.key}" for record in await world.events()]


asyncio.run(main())
print(json.dumps(seen))
