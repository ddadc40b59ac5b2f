"""What answers an exception: the handler that is declared for its class, its problem, or 500.

Not here: which exceptions are problems (`problems`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode

from skerry.http.problems import Problem, problem_of, unexpected
from skerry.http.reply import Response, response_of
from skerry.http.request import Request

logger = logging.getLogger("skerry.http")
Handlers = Mapping[type[Exception], Callable[[Request, Any], Any]]


def answer_of(
    error: Exception, request: Request, handlers: Handlers, login_path: str | None = None
) -> Response:
    """The answer. What is no problem is logged with its stack, and shows the client only the request's id. Browsers
    without a token are sent to `login_path`."""
    for kind in type(error).__mro__:
        handler = handlers.get(kind)
        if handler is not None:
            try:
                return response_of(handler(request, error))
            except Exception as second:
                error = second
                break
    problem = problem_of(error)
    if problem is None:
        logger.error("%s %s failed (request %s)", request.method, request.path, request.id, exc_info=error)
        return unexpected(request.id)
    if login_path is not None and _wants_login(problem, request):
        wanted = request.url_path(request.target.decode("latin-1"))
        login = request.url_path(login_path) + "?" + urlencode({"next": wanted})
        fields = {"Location": login, "Cache-Control": "no-store", "Vary": "Accept"}
        return Response(b"", 303, headers=fields)
    return problem.response()


def _wants_login(problem: Problem, request: Request) -> bool:
    is_page_view = request.method == "GET" and "text/html" in (request.headers.get("accept") or "")
    return problem.status == 401 and is_page_view
