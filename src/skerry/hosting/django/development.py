"""The project with the static files of its applications, as `runserver` has it: what `manage.py skerry` serves while
DEBUG is on. Not for production: there `collectstatic` collects the files."""

from __future__ import annotations

from typing import Any

import django
from django.conf import settings
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler, StaticFilesHandler
from django.core.servers.basehttp import get_internal_wsgi_application
from django.utils.module_loading import import_string

from skerry.hosting.django.project import is_asgi


def application() -> Any:
    """The WSGI or ASGI application, as the settings say."""
    django.setup(set_prefix=False)
    if is_asgi():
        return ASGIStaticFilesHandler(import_string(settings.ASGI_APPLICATION))
    return StaticFilesHandler(get_internal_wsgi_application())
