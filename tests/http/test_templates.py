"""Pages escape everything, know their names, and gather what must be waited for."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from jinja2 import DictLoader, UndefinedError

from skerry.http.templates import Templates, gathered

PAGES = Templates(DictLoader({"list.html": "{% for each in rows %}<b>{{ each.name }}</b>{% endfor %}"}))


def test_everything_is_escaped() -> None:
    """Markup in values is text on the page."""
    answer = PAGES.render("list.html", rows=[{"name": "<script>"}])
    assert answer.body == b"<b>&lt;script&gt;</b>"
    assert ("Content-Type", "text/html; charset=utf-8") in answer.headers()


def test_a_missing_name_is_an_error() -> None:
    """A typing mistake does not become an empty page."""
    with pytest.raises(UndefinedError):
        PAGES.render("list.html")


async def test_awaitables_are_gathered_together() -> None:
    """Values at any depth are waited for at the same time, also those that bring more of them."""
    running, most = 0, 0

    async def slowly(value: Any) -> Any:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return value

    context = {"rows": [{"name": slowly("a")}, slowly({"name": slowly("b")})], "pair": (slowly(1), 2)}
    assert await gathered(context) == {"rows": [{"name": "a"}, {"name": "b"}], "pair": (1, 2)}
    assert most == 3
    answer = await PAGES.page("list.html", rows=[{"name": slowly("c")}])
    assert answer.body == b"<b>c</b>"


async def test_a_failure_is_the_pages_failure() -> None:
    """The exception of the first that fails is raised as it is."""

    async def broken() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await PAGES.page("list.html", rows=[broken()])
