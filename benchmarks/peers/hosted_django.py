"""What the servers of benchmarks/hosting.py serve: Django with a page from a database, by WSGI and by ASGI.

PAGES is the directory of Django's database, made by `python hosted_apps.py`.
"""

from __future__ import annotations

import os
from pathlib import Path

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from django.db import models
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import path

PLACE = Path(os.environ.get("PAGES", "."))
PAGE = """<!doctype html><title>{{ title }}</title><ul>{% for each in orders %}<li>{{ each.number }}: {{ each.name }}
{% endfor %}</ul>"""

settings.configure(
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": PLACE / "pages.db", "CONN_MAX_AGE": 600}},
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="not one",
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.sessions"],
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware", "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.common.CommonMiddleware", "django.middleware.csrf.CsrfViewMiddleware",
        "django.middleware.clickjacking.XFrameOptionsMiddleware", "django.middleware.http.ConditionalGetMiddleware",
    ],
    TEMPLATES=[{
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "OPTIONS": {"loaders": [("django.template.loaders.locmem.Loader", {"page.html": PAGE})]},
    }],
)  # fmt: skip
django.setup()


class Order(models.Model):
    number = models.IntegerField()
    name = models.CharField(max_length=40)

    class Meta:
        app_label = "hosted"


def page(request: HttpRequest) -> HttpResponse:
    return render(request, "page.html", {"title": "Orders", "orders": Order.objects.order_by("number")[:5]})


urlpatterns = [path("page", page)]
django_wsgi = get_wsgi_application()
django_asgi = get_asgi_application()

if __name__ == "__main__":
    from django.db import connection

    call_command("migrate", verbosity=0)
    with connection.schema_editor() as editor:
        editor.create_model(Order)
    Order.objects.bulk_create(Order(number=number, name=f"order {number}") for number in range(100))
