"""One view that is a coroutine."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.urls import path


async def page(request: HttpRequest) -> HttpResponse:
    return HttpResponse("asynchronous")


urlpatterns = [path("", page)]
