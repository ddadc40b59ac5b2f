"""The admin pages."""

from typing import Any

from django.contrib import admin

from shop.models import Order, OrderLine, Product


@admin.register(Product)
class ProductAdmin(admin.ModelAdmin):
    list_display = ("name", "price", "stock")
    list_editable = ("price", "stock")
    search_fields = ("name",)


class Lines(admin.TabularInline):
    model = OrderLine
    extra = 0
    readonly_fields = ("product", "pieces", "price")

    def has_add_permission(self, *_: Any) -> bool:
        return False


@admin.register(Order)
class OrderAdmin(admin.ModelAdmin):
    list_display = ("id", "email", "status", "total", "placed_at")
    list_filter = ("status",)
    inlines = (Lines,)
    actions = ("cancel",)

    @admin.action(description="Cancel, and put the pieces back into the stock")
    def cancel(self, request: Any, orders: Any) -> None:
        for order in orders:
            order.cancel()
