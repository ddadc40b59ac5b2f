"""Its views: what they know of settings, how many they have served, calls to the servant beside them."""

from __future__ import annotations

import logging
import os
from typing import Any

from django.conf import settings
from django.http import JsonResponse
from django.urls import path

logger = logging.getLogger("shop")


def shown(request: Any) -> Any:
    return JsonResponse({"greeting": settings.GREETING, "shop": settings.SHOP, "pid": os.getpid()})


def order(request: Any, item: str) -> Any:
    from site_service import idl, service  # type: ignore[import-not-found]  # deployed beside it

    echo = service.blocking_communicator.proxy(idl.Echo, "Interop.PyServer.EchoObj")
    slept = echo.sleep(1)
    service.property("orders").sum(1)
    logger.info("ordered %s", item)
    return JsonResponse({"item": item, "slept": slept, "body": request.body.decode()})


urlpatterns = [path("shown", shown), path("orders/<str:item>", order)]
