"""Django's models on the database of a benchmark. Only imported where Django is measured."""

from __future__ import annotations

from urllib.parse import urlsplit

import django
from django.conf import settings


def set_up(dsn: str) -> None:
    """Once in a process, before the first model is defined."""
    where = urlsplit(dsn)
    database = {
        "ENGINE": "django.db.backends.postgresql", "NAME": where.path[1:], "USER": where.username,
        "PASSWORD": where.password, "HOST": where.hostname, "PORT": where.port,
    }  # fmt: skip
    settings.configure(DATABASES={"default": database})
    django.setup()
