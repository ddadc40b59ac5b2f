"""Products, orders and their lines: ordinary models, with one way to place an order."""

from collections.abc import Mapping
from typing import Any

import msgspec
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import FileExtensionValidator, MinValueValidator
from django.db import models, transaction
from django.urls import reverse

from shop import events
from skerry.hosting import emit

LARGEST_PICTURE = 2_000_000


class SoldOut(Exception):
    """There is not enough of a product."""


class Followed(models.Model):
    """Rows that pages follow. On PostgreSQL the mirrors of `storefront.live` see to that; elsewhere each row that a
    model saves or deletes is emitted, in the same transaction."""

    shown: type[msgspec.Struct]

    class Meta:
        abstract = True

    def save(self, *args: Any, **options: Any) -> None:
        with transaction.atomic():
            super().save(*args, **options)
            self.told()

    def delete(self, *args: Any, **options: Any) -> Any:
        with transaction.atomic():
            key, table = self.pk, self._meta.db_table
            found = super().delete(*args, **options)
            if not settings.ON_POSTGRESQL:
                emit(events.RowGone(table, key))
            return found

    def told(self) -> None:
        if not settings.ON_POSTGRESQL:
            row = {name: getattr(self, name) for name in self.shown.__struct_fields__}
            emit(events.RowSaved(self._meta.db_table, self.pk, msgspec.to_builtins(row)))


def check_size(file: Any) -> None:
    if file.size > LARGEST_PICTURE:
        raise ValidationError(f"A picture has at most {LARGEST_PICTURE} bytes.")


class Product(Followed):
    shown = events.Product

    name = models.CharField(max_length=80, unique=True)
    price = models.DecimalField(max_digits=8, decimal_places=2, validators=[MinValueValidator(0)])
    stock = models.PositiveIntegerField(default=0)
    picture = models.FileField(
        upload_to="products",
        blank=True,
        validators=[FileExtensionValidator(["png", "jpg", "jpeg", "webp"]), check_size],
    )

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("product", args=[self.pk])


class Order(Followed):
    class Status(models.TextChoices):
        PLACED = "placed"
        SENT = "sent"
        CANCELLED = "cancelled"

    shown = events.Order

    customer = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True)
    email = models.EmailField()
    status = models.CharField(max_length=12, choices=Status, default=Status.PLACED)
    total = models.DecimalField(max_digits=10, decimal_places=2, default=0)
    placed_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("-id",)

    def __str__(self) -> str:
        return f"order {self.pk}"

    @classmethod
    def place(cls, email: str, basket: Mapping[int, int], customer: Any = None) -> "Order":
        """Take what is in the basket (product -> pieces) out of the stock. Its event is committed with its rows; when
        there is not enough, nothing of it has happened. Raises SoldOut."""
        with transaction.atomic():
            order = cls(email=email, customer=customer)
            lines = []
            for product in Product.objects.select_for_update().filter(pk__in=basket).order_by("pk"):
                pieces = basket[product.pk]
                if product.stock < pieces:
                    raise SoldOut(f"There are {product.stock} of {product.name}.")
                product.stock -= pieces
                product.save(update_fields=["stock"])
                order.total += pieces * product.price
                lines.append(OrderLine(order=order, product=product, pieces=pieces, price=product.price))
            order.save()
            OrderLine.objects.bulk_create(lines)
            told = [events.Line(line.product_id, line.product.name, line.pieces) for line in lines]
            emit(events.OrderPlaced(order.pk, email, order.total, told))
        return order

    def cancel(self) -> None:
        """Put its pieces back into the stock."""
        with transaction.atomic():
            order = type(self).objects.select_for_update().get(pk=self.pk)
            if order.status != self.Status.PLACED:
                return
            for line in order.lines.order_by("product_id"):
                product = Product.objects.select_for_update().get(pk=line.product_id)
                product.stock += line.pieces
                product.save(update_fields=["stock"])
            order.status = self.Status.CANCELLED
            order.save(update_fields=["status"])


class OrderLine(models.Model):
    order = models.ForeignKey(Order, models.CASCADE, related_name="lines")
    product = models.ForeignKey(Product, models.PROTECT)
    pieces = models.PositiveIntegerField(validators=[MinValueValidator(1)])
    price = models.DecimalField(max_digits=8, decimal_places=2)

    def __str__(self) -> str:
        return f"{self.pieces} x {self.product}"
