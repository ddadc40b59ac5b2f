"""`INSTALLED_APPS += ["skerry.hosting.django"]`: commands, system checks and template tags for a Django project."""

from __future__ import annotations

from django.apps import AppConfig
from django.core.checks import register


class SkerryConfig(AppConfig):  # type: ignore[misc]
    """Registers the checks; commands and tags are found by Django itself."""

    name = "skerry.hosting.django"
    label = "skerry"
    verbose_name = "Skerry"

    def ready(self) -> None:
        from skerry.hosting.django.checks import CHECKS

        for check, tag in CHECKS:
            register(check, tag)
