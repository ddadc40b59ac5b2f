"""Settings of a small Django project that is deployed to a node; the remote file says more."""

SECRET_KEY = "x"
ROOT_URLCONF = "site_views"
ALLOWED_HOSTS = ["*"]
GREETING = "local"
SHOP = {"currency": "EUR", "name": "local"}
SKERRY_TARS = {"django.json": "settings"}
LOGGING = {
    "version": 1,
    "disable_existing_loggers": True,
    "formatters": {"plain": {"format": "%(message)s"}},
    "handlers": {"null": {"class": "logging.NullHandler"}},
    "root": {"handlers": ["null"], "level": "INFO"},
}
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
