"""`manage.py demo`: everything that a first look needs, then the shop itself."""

import os
import secrets
import subprocess
import sys
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand

from shop.models import Product

SKERRY = [sys.executable, str(settings.BASE_DIR / "manage.py"), "skerry"]
PRODUCTS = [
    ("Darjeeling tea", "7.80", 12),
    ("Espresso beans", "11.50", 20),
    ("Teapot", "34.00", 4),
    ("Mug", "9.90", 40),
]


class Command(BaseCommand):
    help = "Make the tables, some products and a user for the staff pages, then serve the shop."

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("--prepare", action="store_true", help="do not serve it")

    def handle(self, *_: str, prepare: bool, **__: Any) -> None:
        call_command("migrate", verbosity=0)
        subprocess.run([*SKERRY, "infra", "create"], check=True)  # the journal, and triggers of mirrors
        for name, price, stock in PRODUCTS:
            Product.objects.get_or_create(name=name, defaults={"price": price, "stock": stock})
        users = get_user_model().objects
        if not users.filter(is_staff=True).exists():
            password = secrets.token_urlsafe(9)
            users.create_superuser("admin", "admin@example.com", password)
            self.stdout.write(f"The staff logs in as admin with the password {password}")
        if not prepare:
            sys.stdout.flush()
            os.execv(sys.executable, SKERRY)
