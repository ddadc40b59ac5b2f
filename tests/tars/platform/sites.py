"""Django, Flask and FastAPI as objects of one Tars service, each with settings from remote files."""

from __future__ import annotations

import logging
import os
import sys
from types import ModuleType
from typing import Any

from fastapi import FastAPI
from flask import Flask

from skerry.tars import Service

settings = ModuleType("sites_settings")
vars(settings).update(
    SECRET_KEY="x",
    ROOT_URLCONF="sites",
    ALLOWED_HOSTS=["*"],
    GREETING="local",
    PARTS={"kept": 1, "replaced": 1},
    SKERRY_TARS={"django.json": "settings"},
    LOGGING={
        "version": 1,
        "disable_existing_loggers": True,
        "handlers": {"null": {"class": "logging.NullHandler"}},
        "root": {"handlers": ["null"], "level": "WARNING"},
    },
)
sys.modules["sites_settings"] = settings
os.environ["DJANGO_SETTINGS_MODULE"] = "sites_settings"

from django.conf import settings as django_settings  # noqa: E402
from django.core.asgi import get_asgi_application  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.http import HttpRequest, JsonResponse  # noqa: E402
from django.urls import path  # noqa: E402

django_application = get_wsgi_application()
at_setup = django_settings.GREETING


def shown(request: HttpRequest, page: str = "") -> Any:
    logging.getLogger("shop").info("django logs")
    return JsonResponse(
        {"at_setup": at_setup, "now": django_settings.GREETING, "parts": django_settings.PARTS}
    )


urlpatterns = [path("shown", shown), path("pages/<slug:page>", shown)]
asgi_application = get_asgi_application()

flask_application = Flask("sites")
flask_application.config.update(GREETING="local", LIMIT=1, SKERRY_TARS={"flask.ini": "settings"})


@flask_application.get("/items/<int:item>")
def items(item: int) -> Any:
    flask_application.logger.warning("flask logs")
    return {key: flask_application.config[key] for key in ("GREETING", "LIMIT")}


fast_application = FastAPI()
FAST_GREETING = os.environ["FAST__GREETING"]


@fast_application.get("/items/{item}")
def fast(item: str) -> Any:
    return {"greeting": FAST_GREETING}


service = Service()
service.http("DjangoObj", django_application)
service.http("AsgiObj", asgi_application)
service.http("FlaskObj", flask_application)
service.http("FastObj", fast_application)
