"""A Django project as a target of `skerry host` and `skerry tars run`: what its settings say."""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import django
from django.conf import settings
from django.utils.module_loading import import_string

from skerry.errors import SettingsError
from skerry.hosting import program
from skerry.hosting.django.views import is_plain
from skerry.hosting.program import says
from skerry.http.application import Application
from skerry.http.assets import serve_skerry_js

NAMES = {
    "APP": "the skerry.App that hosts this project, as mysite.live:app: manage.py skerry runs it",
    "TARS": "the skerry.tars.Service that has this project, as mysite.service:service: manage.py tars runs it",
    "JOURNAL": "where emit leaves events, as postgresql://...",
    "TRANSPORT": "how commands reach the consumer: postgresql: (the same database), or amqp://...",
    "NAMESPACE": "whose journal that is",
    "HOST_STRICT": "whether an emit before its transaction has written anything is told",
}
"""Keys of the setting SKERRY."""


def declared(name: str) -> str:
    """What the setting SKERRY says of `name`; empty where it says nothing."""
    found = getattr(settings, "SKERRY", None)
    return str(found.get(name) or "") if isinstance(found, Mapping) else ""


def is_asgi() -> bool:
    """Whether the project is to be served as ASGI: ASGI_APPLICATION is set, and something behind it is asynchronous (a
    view, or another application around Django's); or there is nothing else. Imports the project's asgi.py."""
    asgi = getattr(settings, "ASGI_APPLICATION", None)
    if not asgi:
        return False
    return not getattr(settings, "WSGI_APPLICATION", None) or not is_plain(import_string(asgi))


def target() -> str:
    """The project's application as TARGET: of WSGI_APPLICATION, or ASGI_APPLICATION where `is_asgi`."""
    dotted = settings.ASGI_APPLICATION if is_asgi() else getattr(settings, "WSGI_APPLICATION", None)
    if not dotted:
        return "django.core.wsgi:get_wsgi_application()"
    module, _, name = str(dotted).rpartition(".")
    return f"{module}:{name}"


OF_THE_APP = ("infra", "journal")
"""Groups of commands that take the App as TARGET."""
KEPT = (*OF_THE_APP, "dead")
"""Groups of commands about what the App keeps."""


def kept_arguments(given: Sequence[str]) -> list[str]:
    """The arguments of `skerry` for `manage.py skerry infra create` and its like: of the App that the settings name.
    Raises SettingsError where they name none."""
    app = declared("APP")
    if not app:
        raise SettingsError(
            "SKERRY['APP']", f"skerry {given[0]} is about an App, and none is named: MODULE:NAME"
        )
    return [*given[:2], *([app] if given[0] in OF_THE_APP else []), *given[2:]]


def host_arguments(given: Sequence[str], environ: Mapping[str, str] = os.environ) -> list[str]:
    """The arguments of `skerry` for `manage.py skerry GIVEN`. Static files, unless the user says otherwise, are those
    that the finders find while DEBUG is on, else those that `collectstatic` has collected."""
    app, debug = declared("APP"), bool(settings.DEBUG)
    found, files = "" if app else target(), []
    if not app and not says(given, ("--static",), environ, "SKERRY_HOST_STATIC"):
        if _finds_static_files():
            found = "skerry.hosting.django.development:application()"
        elif collected := collected_files():
            files = ["--static", collected]
    return [*program.host_arguments(found, given, app=app, debug=debug, environ=environ), *files]


class Hosting(Protocol):
    """What is asked of the App that hosts a project."""

    http: Application

    def host(self, path: str, target: str) -> None: ...


def host_project(app: Hosting) -> None:
    """Have an App serve this project at "/", with its static files as `manage.py skerry` has them without an App, and
    the modules of its live pages (`/_skerry/`). The project's application is imported where it is served only."""
    if _finds_static_files():
        app.host("/", "skerry.hosting.django.development:application()")
    else:
        app.host("/", "skerry.hosting.django.project:application()")
        if collected := collected_files():
            path, _, directory = collected.partition("=")
            app.http.static(path, directory, rights=None)
    serve_skerry_js(app.http)


def application() -> Any:
    """The WSGI or ASGI application, as the settings say."""
    django.setup(set_prefix=False)
    found = target()
    made = import_string(found.removesuffix("()").replace(":", "."))
    return made() if found.endswith("()") else made


def tell_journal(environ: MutableMapping[str, str] = os.environ) -> None:
    """Have the App that hosts the project use the journal, transport and namespace of the settings, unless the
    environment names others. The transport belongs to the journal: with another journal it is not taken."""
    with_journal = "SKERRY_JOURNAL" not in environ
    for name in ("JOURNAL", *(["TRANSPORT"] if with_journal else []), "NAMESPACE"):
        if found := declared(name):
            environ.setdefault(f"SKERRY_{name}", found)


def tars_arguments(given: Sequence[str]) -> list[str]:
    """The arguments of `skerry` for `manage.py tars GIVEN`: the project, or the service that the settings name."""
    return ["tars", "run", declared("TARS") or target(), *given]


def collected_files() -> str:
    """What `collectstatic` has collected, as PATH=DIRECTORY; empty when there is nothing, or it lies elsewhere."""
    url, root = str(settings.STATIC_URL or ""), settings.STATIC_ROOT
    if not root or not url.startswith("/") or url == "/" or "," in str(root) or not Path(root).is_dir():
        return ""
    return f"{url.rstrip('/')}={Path(root).resolve()}"


def _finds_static_files() -> bool:
    """Whether `runserver` would serve static files."""
    return bool(settings.DEBUG) and "django.contrib.staticfiles" in settings.INSTALLED_APPS


def has_async_views() -> bool:
    """Whether one of the project's views is a coroutine."""
    from django.core.handlers.asgi import ASGIHandler

    return not is_plain(ASGIHandler.__new__(ASGIHandler))
