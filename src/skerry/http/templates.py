"""HTML pages by Jinja: everything escaped, missing names are errors, awaitable values are gathered first.

A context may hold coroutines and futures at any depth of dicts, lists and tuples: `page` waits for all of them at
once, then renders without waiting. `render` is for the lane, where nothing can be waited for.
"""

from __future__ import annotations

import asyncio
import inspect
from pathlib import Path
from typing import Any

from jinja2 import BaseLoader, Environment, FileSystemLoader, StrictUndefined

from skerry.http.reply import Response


class Templates:
    """The templates of a directory (or any Jinja loader). `environment` takes filters and globals."""

    def __init__(self, source: Path | str | BaseLoader) -> None:
        loader = source if isinstance(source, BaseLoader) else FileSystemLoader(source)
        self.environment = Environment(
            loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )

    def text(self, name: str, **context: Any) -> str:
        """The rendered template. Raises jinja2.UndefinedError for a name that the context lacks."""
        return self.environment.get_template(name).render(context)

    def render(self, template: str, *, status: int = 200, **context: Any) -> Response:
        """An answer, at once."""
        return Response.html(self.text(template, **context), status)

    async def page(self, template: str, *, status: int = 200, **context: Any) -> Response:
        """An answer, when all awaitables in the context are done.

        When one fails, the others are cancelled and its exception is raised.
        """
        return self.render(template, status=status, **await gathered(context))


async def gathered(value: Any) -> Any:
    """The same structure with every awaitable replaced by what it gave; all are waited for together."""
    found: list[Any] = []
    _collect(value, found)
    if not found:
        return value
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_wait(each)) for each in found]
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    results = iter([task.result() for task in tasks])
    return _replaced(value, results)


async def _wait(awaitable: Any) -> Any:
    # What came may hold further awaitables.
    return await gathered(await awaitable)


def _collect(value: Any, found: list[Any]) -> None:
    if inspect.isawaitable(value):
        found.append(value)
    elif isinstance(value, dict):
        for each in value.values():
            _collect(each, found)
    elif isinstance(value, list | tuple):
        for each in value:
            _collect(each, found)


def _replaced(value: Any, results: Any) -> Any:
    if inspect.isawaitable(value):
        return next(results)
    if isinstance(value, dict):
        return {key: _replaced(each, results) for key, each in value.items()}
    if isinstance(value, list):
        return [_replaced(each, results) for each in value]
    if isinstance(value, tuple):
        return tuple(_replaced(each, results) for each in value)
    return value
