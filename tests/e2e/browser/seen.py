"""What a page shows, read from its document, and waiting until it shows it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from playwright.async_api import Locator, Page, expect


async def rows(page: Page) -> dict[str, str]:
    """What the table shows, by key."""
    found: list[list[str]] = await page.evaluate(
        "() => [...document.querySelectorAll('#rows tr')].map(r => [r.cells[0].textContent, r.cells[1].textContent])"
    )
    return {pair[0]: pair[1] for pair in found}


async def listed(page: Page) -> list[str]:
    """What the list of events says, newest first, without the times."""
    found: list[str] = await page.evaluate(
        "() => [...document.querySelectorAll('#events li')].map(li => li.children[1].textContent + ' ' + "
        "li.children[2].textContent)"
    )
    return found


async def until_listed(page: Page, expected: list[str], *kinds: str) -> None:
    """What the list of events says of these kinds, oldest first, comes to be exactly this."""

    async def found() -> list[str]:
        return [line for line in await listed(page) if line.startswith(kinds)][::-1]

    async def shown() -> bool:
        return await found() == expected

    try:
        await until(shown)
    except TimeoutError:
        assert await found() == expected


async def told(page: Page, text: str) -> None:
    """A line of the list of events comes to say this. Not the newest: somebody's coming may be told after it."""
    await expect(page.locator("#events li", has_text=text).first).to_be_visible()


def row(page: Page, key: str) -> Locator:
    """The row of a key."""
    return page.locator("#rows tr", has=page.get_by_role("rowheader", name=key, exact=True))


async def until(truth: Callable[[], Awaitable[bool]], seconds: float = 60) -> None:
    """Wait for something that neither the page nor the store would tell by itself."""
    async with asyncio.timeout(seconds):
        while not await truth():  # noqa: ASYNC110 - polled on purpose
            await asyncio.sleep(0.05)


async def until_shown(page: Page, expected: dict[str, str]) -> None:
    async def shown() -> bool:
        return await rows(page) == expected

    try:
        await until(shown)
    except TimeoutError:
        assert await rows(page) == expected
