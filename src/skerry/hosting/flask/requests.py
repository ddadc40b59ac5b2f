"""What a Flask request leaves: a context that nobody has popped, whose teardown functions did not run."""

from __future__ import annotations

import logging
from typing import Any

from blinker import NamedSignal
from flask import globals as flask_globals
from flask import signals

logger = logging.getLogger("skerry.host")
REQUEST = "werkzeug.request"
"""Where Werkzeug leaves its request in the environ."""
RULE = "skerry.flask.rule"


class FlaskRequests:
    """See `skerry.hosting.release.Framework`."""

    def __init__(self) -> None:
        # Flask 3.2 has one context for both.
        names = ("_cv_request", "_cv_app")
        found: list[Any] = [getattr(flask_globals, name, None) for name in names]
        self._variables = [each for each in found if each is not None]

    def begin(self, environ: dict[str, Any]) -> None:
        """Flask forgets the request before we are asked for its route."""
        environ[RULE] = getattr(environ.get(REQUEST), "url_rule", None)

    def route_of(self, environ: dict[str, Any], result: Any) -> str | None:
        """The rule of `@app.route`."""
        rule = environ.get(RULE)
        return None if rule is None else str(rule.rule)

    def gather(self, environ: dict[str, Any]) -> None:
        """Werkzeug reads to the end by itself (`wsgi.input_terminated`)."""

    def release(self, environ: dict[str, Any]) -> None:
        environ.pop(REQUEST, None)  # it holds the environ, which holds it
        for variable in self._variables:
            while (context := variable.get(None)) is not None:
                logger.error(
                    "%s %s has left a context of Flask that it pushed: it is popped",
                    environ.get("REQUEST_METHOD"), environ.get("PATH_INFO"),
                )  # fmt: skip
                try:
                    context.pop()
                except Exception as error:
                    logger.warning("its teardown failed", exc_info=error)
                if variable.get(None) is context:
                    variable.set(None)
                    break

    def receivers(self) -> int:
        return sum(len(each.receivers) for each in vars(signals).values() if isinstance(each, NamedSignal))

    def end_thread(self) -> None:
        """Flask keeps nothing in threads."""
