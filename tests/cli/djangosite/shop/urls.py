"""Pages: a counter in the session, an upload, a page that follows the live stream."""

from __future__ import annotations

import os
import threading

from django.contrib import admin
from django.contrib.auth.models import Group
from django.core.files.storage import default_storage
from django.db import transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.urls import path
from django.views.decorators.csrf import csrf_exempt


def visits(request: HttpRequest) -> HttpResponse:
    request.session["visits"] = request.session.get("visits", 0) + 1
    return HttpResponse(str(request.session["visits"]))


@csrf_exempt  # type: ignore[untyped-decorator]
def upload(request: HttpRequest) -> HttpResponse:
    found = request.FILES["file"]
    return JsonResponse({"name": default_storage.save(found.name, found), "size": found.size})


def groups(request: HttpRequest) -> HttpResponse:
    """What the test has written, seen in a thread of the server."""
    names = [group.name for group in Group.objects.order_by("name")]
    thread = threading.current_thread()
    return JsonResponse({"groups": names, "thread": type(thread).__module__, "pid": os.getpid()})


def pay(request: HttpRequest, number: int) -> HttpResponse:
    """An event in the transaction of a row; what goes wrong afterwards takes both back."""
    from shop.live import OrderPaid  # type: ignore[import-not-found]
    from skerry.hosting import emit

    with transaction.atomic():
        Group.objects.create(name=f"order {number}")
        emit(OrderPaid(number=number), key=f"order-{number}")
        if number < 0:
            transaction.set_rollback(True)
    return HttpResponse("paid")


def live(request: HttpRequest) -> HttpResponse:
    return render(request, "live.html", {"csp_nonce": "n0nce"})


urlpatterns = [
    path("visits", visits),
    path("upload", upload),
    path("groups", groups),
    path("live", live),
    path("pay/<int:number>", pay),
    path("refuse/<int:number>", lambda request, number: pay(request, -number)),
    path("admin/", admin.site.urls),
]
