"""What a target is: a WSGI or an ASGI application, or a function that makes one. Decided by how it can be called."""

from __future__ import annotations

import inspect
from typing import Any, Literal

from skerry.errors import SettingsError

Kind = Literal["wsgi", "asgi"]


def kind_of(application: Any, target: str) -> Kind:
    """Raises SettingsError, which names the cure, for what is neither or could be both."""
    if not callable(application):
        raise SettingsError("TARGET", f"{target} is a {type(application).__name__}, which cannot be called")
    if inspect.isclass(application):
        raise SettingsError("TARGET", f"{target} is a class, not an application: name one that was made")
    called = application if inspect.isroutine(application) else type(application).__call__
    if inspect.iscoroutinefunction(called) or inspect.iscoroutinefunction(application):
        return "asgi"
    asgi, wsgi, made = (_takes(application, count) for count in (3, 2, 0))
    if asgi is None:  # something in C: it does not tell
        raise SettingsError("TARGET", f"{target} does not tell how it is called: give --kind wsgi or asgi")
    if wsgi and not asgi:
        return "wsgi"
    if asgi and not wsgi:
        return "asgi"
    if made and not asgi:
        name = target if ":" in target else f"{target}:{getattr(application, '__name__', 'application')}"
        raise SettingsError(
            "TARGET", f"{target} takes no arguments: if it makes an application, write {name}()"
        )
    if asgi and wsgi:
        raise SettingsError("TARGET", f"{target} could be WSGI or ASGI: give --kind wsgi or asgi")
    raise SettingsError(
        "TARGET",
        f"{target} is neither application(environ, start_response) (WSGI) nor application(scope, receive, send) (ASGI)",
    )


def _takes(application: Any, count: int) -> bool | None:
    """Whether it can be called with so many arguments; None when nobody knows."""
    try:
        signature = inspect.signature(application)
    except (TypeError, ValueError):
        return None
    try:
        signature.bind(*[None] * count)
    except TypeError:
        return False
    return True
