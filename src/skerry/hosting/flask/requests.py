"""What a Flask request leaves: a context that nobody has popped, whose teardown functions did not run."""

from __future__ import annotations

import logging
from contextvars import ContextVar
from typing import Any

from flask import globals as flask_globals
from flask.signals import request_started

logger = logging.getLogger("skerry.host")
_rule: ContextVar[str | None] = ContextVar("skerry_flask_rule", default=None)
"""Of the request whose context this is."""


class FlaskRequests:
    """See `skerry.hosting.release.Framework`."""

    def __init__(self) -> None:
        # Flask 3.2 has one context for both.
        names = ("_cv_request", "_cv_app")
        found: list[Any] = [getattr(flask_globals, name, None) for name in names]
        self._variables = [each for each in found if each is not None]
        request_started.connect(self._note, weak=False)

    def _note(self, sender: Any, **_: Any) -> None:
        """A request has been matched; at its end Flask forgets it before we are asked."""
        rule = flask_globals.request.url_rule
        _rule.set(None if rule is None else rule.rule)

    def route_of(self, environ: dict[str, Any], result: Any) -> str | None:
        """The rule of `@app.route`."""
        return _rule.get()

    def gather(self, environ: dict[str, Any]) -> None:
        """Werkzeug reads to the end by itself (`wsgi.input_terminated`)."""

    def release(self, environ: dict[str, Any]) -> None:
        environ.pop("werkzeug.request", None)  # it holds the environ, which holds it
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

    def end_thread(self) -> None:
        """Flask keeps nothing in threads."""
