"""The pages: a catalogue, a basket in the session, orders, and a dashboard for the staff."""

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.admin.views.decorators import staff_member_required
from django.core.exceptions import SuspiciousFileOperation
from django.db import transaction
from django.http import FileResponse, Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils._os import safe_join
from django.views.decorators.http import require_POST, require_safe

from shop.events import BestSellers, Pack
from shop.forms import PlaceOrder, PutInBasket
from shop.models import Order, Product, SoldOut
from skerry.hosting import ask, send

RECENT = 20


@require_safe
def catalogue(request: HttpRequest) -> HttpResponse:
    names = dict(Product.objects.values_list("pk", "name"))
    best = [(names[product], pieces) for product, pieces in ask(BestSellers()) if product in names]
    return render(request, "shop/catalogue.html", {"products": Product.objects.all(), "best": best})


def product(request: HttpRequest, product: int) -> HttpResponse:
    found = get_object_or_404(Product, pk=product)
    form = PutInBasket(request.POST or None)
    if form.is_valid():
        basket = request.session.setdefault("basket", {})
        basket[str(product)] = basket.get(str(product), 0) + form.cleaned_data["pieces"]
        request.session.modified = True
        return redirect("basket")
    return render(request, "shop/product.html", {"product": found, "form": form})


@require_safe
def basket(request: HttpRequest) -> HttpResponse:
    return _basket(request, PlaceOrder(initial={"email": getattr(request.user, "email", "")}))


@require_POST
def order(request: HttpRequest) -> HttpResponse:
    form = PlaceOrder(request.POST)
    pieces = {int(key): count for key, count in request.session.get("basket", {}).items()}
    if not pieces or not form.is_valid():
        return _basket(request, form)
    customer = request.user if request.user.is_authenticated else None
    try:
        with transaction.atomic():
            order = Order.place(form.cleaned_data["email"], pieces, customer)
            send(Pack(order.pk, sum(pieces.values())), after_commit=True)
    except SoldOut as error:
        messages.error(request, str(error))
        return redirect("basket")
    del request.session["basket"]
    request.session["orders"] = [*request.session.get("orders", []), order.pk]
    return redirect("receipt", order.pk)


@require_safe
def receipt(request: HttpRequest, number: int) -> HttpResponse:
    if number not in request.session.get("orders", []) and not request.user.is_staff:
        raise Http404
    order = get_object_or_404(Order.objects.prefetch_related("lines__product"), pk=number)
    return render(request, "shop/receipt.html", {"order": order})


@staff_member_required
def dashboard(request: HttpRequest) -> HttpResponse:
    """Rendered by Django from its own tables; from then on the page follows them."""
    context = {"products": Product.objects.all(), "orders": Order.objects.all()[:RECENT], "recent": RECENT}
    return render(request, "shop/dashboard.html", context)


@require_safe
def picture(request: HttpRequest, name: str) -> FileResponse:
    """The system sends the file; no thread of Django does."""
    try:
        return FileResponse(open(safe_join(settings.MEDIA_ROOT, name), "rb"))
    except (OSError, SuspiciousFileOperation) as error:
        raise Http404 from error


def _basket(request: HttpRequest, form: PlaceOrder) -> HttpResponse:
    basket = request.session.get("basket", {})
    lines: list[dict[str, Any]] = [
        {"product": each, "pieces": basket[str(each.pk)], "price": each.price * basket[str(each.pk)]}
        for each in Product.objects.filter(pk__in=basket)
    ]
    return render(request, "shop/basket.html", {"lines": lines, "form": form})
