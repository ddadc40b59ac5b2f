"""What a Django request leaves in its thread: database connections in a transaction, or beyond their age.

Connections belong to threads, and ours live long: a transaction that a view has opened and not ended (an `atomic` that
was entered by hand, `set_autocommit(False)`) would go on in the next request, of somebody else. It is rolled back, and
the view is named. `CONN_MAX_AGE` is Django's own business, by the signal that `close()` sends; what a view's middleware
kept from being closed is looked at here.
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
import weakref
from tempfile import SpooledTemporaryFile
from typing import Any

from django.core import signals as core_signals
from django.db.backends.signals import connection_created
from django.db.models import signals as model_signals
from django.dispatch import Signal
from django.urls import Resolver404, resolve

logger = logging.getLogger("skerry.host")
IN_MEMORY_BYTES = 1 << 20
"""Of a body in chunks; what is more lies on the disk."""
_BODY = "skerry.body"
SIGNALS = [
    each
    for module in (core_signals, model_signals)
    for each in vars(module).values()
    if isinstance(each, Signal)
]
"""Django's own, whose receivers are counted."""


class DjangoRequests:
    """See `skerry.hosting.release.Framework`."""

    def __init__(self) -> None:
        self._thread = threading.local()
        connection_created.connect(self._note, weak=False, dispatch_uid="skerry.hosting")

    def _note(self, connection: Any, **_: Any) -> None:
        """A connection was opened in this thread: the only ones that have to be looked at."""
        known: list[Any] = self._thread.__dict__.setdefault("connections", [])
        if not any(each is connection for each in known):
            known.append(connection)

    begin = None

    def route_of(self, environ: dict[str, Any], result: Any) -> str | None:
        """The pattern that `urls.py` has, of the request that an answer closes."""
        closers: Any = getattr(result, "_resource_closers", None)
        if closers is None:  # a file: its `close` is the answer's
            close = getattr(getattr(result, "filelike", None), "close", None)
            closers = getattr(getattr(close, "__self__", None), "_resource_closers", ())
        for closer in closers:
            match = getattr(getattr(closer, "__self__", None), "resolver_match", None)
            if match is not None:
                return "/" + str(match.route)
        return None

    def gather(self, environ: dict[str, Any]) -> None:
        """Django reads as much of a body as CONTENT_LENGTH says, which is nothing of one in chunks: such a body is
        taken whole first, on the disk when it is large. Raises OSError for one that breaks off."""
        if environ.get("CONTENT_LENGTH"):
            return
        body = SpooledTemporaryFile(max_size=IN_MEMORY_BYTES)  # noqa: SIM115  `release` closes it
        environ[_BODY] = body
        shutil.copyfileobj(environ["wsgi.input"], body)
        environ["CONTENT_LENGTH"] = str(body.tell())
        body.seek(0)
        environ["wsgi.input"] = body

    def release(self, environ: dict[str, Any]) -> None:
        body = environ.pop(_BODY, None)
        if body is not None:
            body.close()
        for connection in self._thread.__dict__.get("connections", ()):
            if connection.connection is None:
                continue
            if connection.in_atomic_block:
                self._roll_back(connection, environ, "a transaction open")
            elif not connection.autocommit and connection.settings_dict["AUTOCOMMIT"]:
                self._roll_back(connection, environ, "autocommit off")
            elif connection.close_at is not None and time.monotonic() >= connection.close_at:
                connection.close_if_unusable_or_obsolete()

    def receivers(self) -> int:
        return sum(_alive(each) for each in SIGNALS)

    def end_thread(self) -> None:
        for connection in self._thread.__dict__.pop("connections", ()):
            connection.close()

    def _roll_back(self, connection: Any, environ: dict[str, Any], what: str) -> None:
        method, path = environ.get("REQUEST_METHOD"), environ.get("PATH_INFO", "")
        logger.error(
            "view %s has left %s on connection %r (%s %s): it is rolled back", _view(path), what, connection.alias,
            method, path,
        )  # fmt: skip
        if not connection.closed_in_transaction:  # else Django has closed it, and would go on to use it
            try:
                connection._rollback()
            except Exception as error:
                logger.warning("the rollback failed, the connection is closed: %s", error)
        connection.in_atomic_block = connection.needs_rollback = connection.closed_in_transaction = False
        connection.savepoint_ids, connection.atomic_blocks, connection.run_on_commit = [], [], []
        try:
            connection.close()
            if connection.connection is not None:  # a database in memory is not closed: its tables would go
                connection.set_autocommit(True)
        except Exception as error:
            logger.warning("the connection could not be closed: %s", error)


def _alive(signal: Signal) -> int:
    """Its receivers, without those that are gone and not cleared away yet."""
    found = 0
    for each in signal.receivers:
        at = each[1]
        found += not isinstance(at, weakref.ref) or at() is not None
    return found


def _view(path: str) -> str:
    """The name of the view that a path leads to."""
    try:
        return str(resolve(path)._func_path)
    except (Resolver404, AttributeError):
        return "(unknown)"
