"""`INSTALLED_APPS += ["skerry.hosting.django"]`: commands, system checks and template tags for a Django project."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.core.checks import register
from django.core.signals import request_started

from skerry.hosting import position
from skerry.hosting.page import BEGUN_AT


class SkerryConfig(AppConfig):  # type: ignore[misc]
    """Registers the checks; commands and tags are found by Django itself."""

    name = "skerry.hosting.django"
    label = "skerry"
    verbose_name = "Skerry"

    def ready(self) -> None:
        from skerry.hosting.django.checks import CHECKS

        for check, tag in CHECKS:
            register(check, tag)
        request_started.connect(_note_position, dispatch_uid="skerry.hosting.django")


def _note_position(sender: Any, environ: Any = None, scope: Any = None, **_: Any) -> None:
    """Before anything is read for a page: what happens from now on, it has to be told."""
    of_request = environ if environ is not None else scope
    if of_request is not None and (found := position()) is not None:
        of_request[BEGUN_AT] = str(found)
