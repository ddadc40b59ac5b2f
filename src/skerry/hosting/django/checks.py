"""System checks: what of a project's settings does not go together with how it is served. `manage.py check` and
`manage.py skerry` run them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning

from skerry.hosting.django.project import NAMES, has_async_views, is_asgi
from skerry.plugins import BACKENDS, find, names

LOOPBACK = ("127.", "localhost:", "[::1]:", "unix:")


def check_settings(app_configs: Any, **_: Any) -> list[CheckMessage]:
    """The settings SKERRY and SKERRY_TARS."""
    return [
        *_check_skerry(getattr(settings, "SKERRY", {})),
        *_check_tars(getattr(settings, "SKERRY_TARS", {})),
    ]


def check_views(app_configs: Any, **_: Any) -> list[CheckMessage]:
    """Synchronous views behind ASGI, asynchronous ones behind WSGI."""
    asgi, wsgi = getattr(settings, "ASGI_APPLICATION", None), getattr(settings, "WSGI_APPLICATION", None)
    is_async = has_async_views()
    if asgi and not wsgi and not is_async:
        return [
            Warning(
                "ASGI_APPLICATION is set, WSGI_APPLICATION is not, and no view is asynchronous.",
                hint="Set WSGI_APPLICATION: it serves the same for a third of the CPU. Ignore this where something "
                "other than a view is asynchronous.",
                id="skerry.W001",
            )
        ]
    if is_async and not asgi:
        return [
            Warning(
                "There are asynchronous views, and the project is served as WSGI: each of them holds a thread.",
                hint="Set ASGI_APPLICATION, as 'mysite.asgi.application'.",
                id="skerry.W002",
            )
        ]
    return []


def check_databases(app_configs: Any, **_: Any) -> list[CheckMessage]:
    """Persistent connections, which belong to threads."""
    kept = {
        alias: database
        for alias, database in settings.DATABASES.items()
        if database.get("CONN_MAX_AGE", 0) != 0
    }
    if not kept:
        return []
    if is_asgi():
        return [
            Warning(
                f"DATABASES[{alias!r}] keeps connections (CONN_MAX_AGE), and the project is served as ASGI, where "
                "threads come and go: connections pile up.",
                hint="Set CONN_MAX_AGE to 0, or use a pool (OPTIONS: pool).",
                id="skerry.W003",
            )
            for alias in kept
        ]
    return [
        Warning(
            f"DATABASES[{alias!r}] keeps connections (CONN_MAX_AGE) without looking whether they still work: after a "
            "restart of the database one request in each thread fails.",
            hint="Set CONN_HEALTH_CHECKS to True.",
            id="skerry.W004",
        )
        for alias, database in kept.items()
        if not database.get("CONN_HEALTH_CHECKS") and "sqlite3" not in str(database.get("ENGINE"))
    ]


def check_exposure(app_configs: Any, **_: Any) -> list[CheckMessage]:
    """DEBUG where others can connect."""
    warning = exposed([])
    return [warning] if warning else []


CHECKS: tuple[tuple[Callable[..., list[CheckMessage]], str], ...] = (
    (check_settings, "skerry"),
    (check_views, Tags.urls),
    (check_databases, "skerry"),
    (check_exposure, "skerry"),
)


def exposed(arguments: Sequence[str], environ: Mapping[str, str] = os.environ) -> CheckMessage | None:
    """A warning when DEBUG is on and `--bind` (of no arguments: its variable) names an address that others reach."""
    bind = environ.get("SKERRY_BIND", "") if not arguments else ""
    for flag, value in zip(arguments, [*arguments[1:], ""], strict=False):
        if flag == "--bind":
            bind = value
        elif flag.startswith("--bind="):
            bind = flag.removeprefix("--bind=")
    if not settings.DEBUG or not bind or bind.startswith(LOOPBACK):
        return None
    return Warning(
        f"DEBUG is on and {bind} can be reached by others, who see settings and source code in error pages.",
        hint="Set DEBUG to False, or bind to 127.0.0.1.",
        id="skerry.W005",
    )


def _check_skerry(found: Any) -> list[CheckMessage]:
    if not isinstance(found, Mapping):
        return [_wrong("SKERRY", f"is a {type(found).__name__}, not a dictionary", "E001")]
    errors = [
        _wrong("SKERRY", f"has an unknown key {name!r}", "E001", f"Known are {', '.join(NAMES)}.")
        for name in found
        if name not in NAMES
    ]
    for name in ("APP", "TARS"):
        if value := found.get(name):
            errors += _check_target(name, str(value))
    journal = str(found.get("JOURNAL") or "")
    if journal and journal.partition(":")[0] not in journal_schemes():
        hint = f"Write postgresql://... or sqlite:///...; known are {', '.join(journal_schemes())}."
        errors.append(_wrong("SKERRY['JOURNAL']", "is no URL of a journal", "E003", hint))
    if journal and not (found.get("NAMESPACE") or os.environ.get("SKERRY_NAMESPACE")):
        errors.append(
            _wrong(
                "SKERRY",
                "has a JOURNAL and no NAMESPACE",
                "E004",
                "Give the name of the App whose journal it is.",
            )
        )
    return errors


def journal_schemes() -> list[str]:
    """The schemes of journals, those of other distributions too."""
    backends = [find(BACKENDS, name) for name in names(BACKENDS)]
    return [
        scheme for each in backends if each.journal is not None for scheme in (each.scheme, *each.aliases)
    ]


def _check_target(name: str, value: str) -> list[CheckMessage]:
    module, separator, attribute = value.partition(":")
    if not separator or not all(part.isidentifier() for part in (*module.split("."), *attribute.split("."))):
        hint = "Write MODULE:NAME, as in mysite.live:app."
        return [_wrong(f"SKERRY[{name!r}]", f"is {value!r}, which is not MODULE:NAME", "E002", hint)]
    try:
        import_module(module)
    except ImportError as error:
        return [_wrong(f"SKERRY[{name!r}]", f"names a module that cannot be imported: {error}", "E002")]
    return []


def _check_tars(found: Any) -> list[CheckMessage]:
    if not isinstance(found, Mapping):
        return [_wrong("SKERRY_TARS", f"is a {type(found).__name__}, not a dictionary", "E005")]
    return [
        _wrong("SKERRY_TARS", f"sends {name!r} to {into!r}", "E005", "Write 'settings' or 'environ'.")
        for name, into in found.items()
        if into not in ("settings", "environ")
    ]


def _wrong(name: str, problem: str, number: str, hint: str | None = None) -> CheckMessage:
    return Error(f"{name} {problem}.", hint=hint, id=f"skerry.{number}")
