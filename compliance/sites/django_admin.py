"""Django's admin pages of `shelf`, on SQLite, with users, sessions and static files."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import django
from django.conf import settings
from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.wsgi import get_wsgi_application

sys.path.insert(0, str(Path(__file__).parent))
settings.configure(
    DEBUG=True,
    SECRET_KEY="not one",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF="django_admin_urls",
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": Path(os.environ["SITE"]) / "site.db"}},
    INSTALLED_APPS=[
        "django.contrib.admin", "django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions",
        "django.contrib.messages", "django.contrib.staticfiles", "shelf",
    ],
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware", "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.common.CommonMiddleware", "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware", "django.middleware.gzip.GZipMiddleware",
        "django.middleware.http.ConditionalGetMiddleware",
    ],
    TEMPLATES=[{
        "BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True,
        "OPTIONS": {"context_processors": [
            "django.template.context_processors.request", "django.contrib.auth.context_processors.auth",
            "django.contrib.messages.context_processors.messages",
        ]},
    }],
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    STATIC_URL="/static/",
    USE_TZ=True,
    LOGGING_CONFIG=None,
)  # fmt: skip
django.setup()
application = StaticFilesHandler(get_wsgi_application())

if __name__ == "__main__":
    from django.contrib.auth.models import User
    from django.core.management import call_command
    from shelf.models import Author, Book

    call_command("migrate", run_syncdb=True, verbosity=0)
    long_ago = datetime(2024, 1, 1, tzinfo=UTC)
    User.objects.create_superuser("admin", "a@example.org", "secret", date_joined=long_ago)
    author = Author.objects.create(name="Ann")
    for number in range(3):
        Book.objects.create(title=f"Book {number}", author=author)
