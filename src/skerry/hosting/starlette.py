"""FastAPI and Starlette beside an App: its answers as dependencies, its errors as answers.

    problems(api)                                                          # an error of the App is a problem document

    @api.get("/prices/{name}")
    async def price(price: Annotated[int, Depends(asked(PriceOf))]): ...   # PriceOf(name=...), answered from memory

Commands and events need no dependency: `await send(Refund(7))`, `emit(...)` from `skerry.hosting`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar, cast

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from skerry.errors import LifecycleError, SkerryError
from skerry.hosting import ask_async
from skerry.http.problems import Problem, problem_of

if TYPE_CHECKING:
    from skerry.messages.message import Query

R = TypeVar("R")


def asked(query: type[Query[R]]) -> Callable[..., Coroutine[Any, Any, R]]:
    """A dependency of FastAPI: what the App answers to this query. Its fields are parameters of the route: those of the
    path by their names, all others from the query string.

    It raises what `skerry.hosting.ask_async` raises; see `problems`."""

    async def answer(**given: Any) -> R:
        return await ask_async(query(**given))

    answer.__name__ = answer.__qualname__ = query.__name__
    answer.__doc__ = query.__doc__
    # FastAPI reads the signature, not the code.
    cast(Any, answer).__signature__ = inspect.Signature(
        [_parameter(each) for each in msgspec.structs.fields(query)]
    )
    return answer


def problems(app: Starlette) -> None:
    """Answer the errors of commands and queries of the App as the App's own views do (RFC 9457): 409 for what a rule
    refuses, 412, 422, 503 with `Retry-After`. All other errors stay the application's own."""
    app.add_exception_handler(SkerryError, _answer)


def _parameter(field: msgspec.structs.FieldInfo) -> inspect.Parameter:
    default: Any = inspect.Parameter.empty
    if field.default is not msgspec.NODEFAULT:
        default = field.default
    elif field.default_factory is not msgspec.NODEFAULT:
        default = field.default_factory()
    return inspect.Parameter(
        field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=field.type
    )


async def _answer(request: Request, error: Exception) -> Response:
    problem = problem_of(error)
    if problem is None and isinstance(error, LifecycleError):
        problem = Problem(503, headers={"Retry-After": "1"})
    if problem is None:
        raise error
    return cast(Response, problem.response())  # an ASGI application, which is all that is asked of it
