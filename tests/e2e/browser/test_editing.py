"""Changing values on the page: in place, by keyboard, by pointer; nothing that somebody wrote is overwritten unseen."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from playwright.async_api import expect

sys.path.insert(0, str(Path(__file__).parent))
from seen import row, told, until_shown  # type: ignore[import-not-found]

if TYPE_CHECKING:
    from tests.e2e.browser.conftest import Store, Windows
else:
    Store = Windows = Any

pytestmark = [
    pytest.mark.service("chromium"),
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(300),
]


async def test_a_value_is_edited_in_place_and_seen_by_the_other(store: Store, windows: Windows) -> None:
    """Edit, save; the other window shows it. An edit over a newer value is refused with both shown; nothing is lost."""
    await store.put("k", "first")
    one, two = await windows.open(), await windows.open()
    await row(one, "k").hover()
    await row(one, "k").get_by_role("button", name="Edit k").click()
    await one.locator("#rows textarea").fill("line one\nline two")
    await one.locator("#rows textarea").press("Enter")
    await until_shown(two, {"k": "line one\nline two"})
    await until_shown(one, {"k": "line one\nline two"})
    await row(two, "k").hover()
    await row(two, "k").get_by_role("button", name="Edit k").click()
    await two.locator("#rows textarea").fill("mine")
    await store.put("k", "theirs")
    problem = two.locator("#rows .problem")
    await expect(problem).to_contain_text("Somebody changed this value meanwhile. It is now: theirs")
    assert await two.locator("#rows textarea").input_value() == "mine", "what was typed is still there"
    await problem.get_by_role("button", name="Keep mine").click()
    await until_shown(one, {"k": "mine"})
    assert await store.get("k") == "mine"


async def test_editing_can_be_done_by_pointer_alone(store: Store, windows: Windows) -> None:
    """Save and Cancel stand below what is typed. A value without a character shows as empty, and is edited as such."""
    await store.put("k", "")
    page = await windows.open()
    await until_shown(page, {"k": "empty"})
    await row(page, "k").hover()
    await row(page, "k").get_by_role("button", name="Edit k").click()
    assert await page.locator("#rows textarea").input_value() == ""
    await page.locator("#rows textarea").fill("nothing of this")
    await row(page, "k").get_by_role("button", name="Cancel").click()
    await until_shown(page, {"k": "empty"})
    await row(page, "k").get_by_role("button", name="Edit k").click()
    await page.locator("#rows textarea").fill("something")
    await row(page, "k").get_by_role("button", name="Save").click()
    await until_shown(page, {"k": "something"})
    assert await store.get("k") == "something"


async def test_a_saved_value_is_not_left_dim(store: Store, windows: Windows) -> None:
    """While its event is awaited a value is dim; also when the event comes before the answer, it is not afterwards."""
    await store.put("k", "first")
    page = await windows.open()

    async def late(route: Any) -> None:
        answer = await route.fetch()
        await told(page, "= mine")
        await route.fulfill(response=answer)

    await page.route("**/values/k", late)
    await row(page, "k").hover()
    await row(page, "k").get_by_role("button", name="Edit k").click()
    await page.locator("#rows textarea").fill("mine")
    await page.locator("#rows textarea").press("Enter")
    await until_shown(page, {"k": "mine"})
    await expect(page.locator("#rows tr.saving")).to_have_count(0)


async def test_a_conflict_that_the_server_finds_is_shown(store: Store, windows: Windows) -> None:
    """With If-Match: a write that this window has not heard of yet is not overwritten."""
    await store.put("k", "first")
    page = await windows.open()
    windows.expected = ("412",)
    await page.route("**/values/k", lambda route: _race(store, route))
    await row(page, "k").hover()
    await row(page, "k").get_by_role("button", name="Edit k").click()
    await page.locator("#rows textarea").fill("mine")
    await page.locator("#rows textarea").press("Enter")
    await expect(page.locator("#rows .problem")).to_contain_text("Somebody changed this value meanwhile")
    assert await store.get("k") == "theirs"
    await page.locator("#rows .problem").get_by_role("button", name="Take theirs").click()
    await until_shown(page, {"k": "theirs"})


async def _race(store: Store, route: Any) -> None:
    await store.put("k", "theirs")
    await route.continue_()


async def test_everything_can_be_done_by_keyboard(store: Store, windows: Windows) -> None:
    """New, filter, move, edit, delete and undo without a pointer; focus is never lost."""
    await store.put("a", "1")
    page = await windows.open()
    keys = page.keyboard
    await keys.press("n")
    await keys.type("b")
    await keys.press("Tab")
    await keys.type("2")
    await keys.press("Enter")
    await until_shown(page, {"a": "1", "b": "2"})
    await keys.press("Escape")
    await expect(page.locator("#new")).to_be_hidden()
    await keys.press("/")
    await keys.type("b")
    await until_shown(page, {"b": "2"})
    await keys.press("Escape")
    await until_shown(page, {"a": "1", "b": "2"})
    await keys.press("Home")
    await keys.press("ArrowDown")
    assert await page.evaluate("() => document.activeElement.cells[0].textContent") == "b"
    await keys.press("Enter")
    await keys.press("Control+A")
    await keys.type("edited")
    await keys.press("Enter")
    await until_shown(page, {"a": "1", "b": "edited"})
    assert await page.evaluate("() => document.activeElement.tagName") == "TR"
    await keys.press("Delete")
    await until_shown(page, {"a": "1"})
    assert await page.evaluate("() => document.activeElement.cells[0].textContent") == "a", "focus moved on"
    await page.get_by_role("button", name="Undo").focus()
    await keys.press("Enter")
    await until_shown(page, {"a": "1", "b": "edited"})


async def test_adding_what_exists_asks_first(store: Store, windows: Windows) -> None:
    """New does not overwrite unseen."""
    windows.expected = ("412",)
    await store.put("k", "theirs")
    page = await windows.open()
    await page.get_by_role("button", name="New value").click()
    await page.get_by_label("Key", exact=True).fill("k")
    await page.get_by_label("Value", exact=True).fill("mine")
    await page.get_by_role("button", name="Save").click()
    await expect(page.locator("#new .problem")).to_contain_text("k exists already.")
    assert await store.get("k") == "theirs"
    await page.get_by_role("button", name="Replace it").click()
    await until_shown(page, {"k": "mine"})
    await expect(page.locator("#toast")).to_contain_text("Saved k.")  # and the form is empty again
    await page.get_by_label("Key", exact=True).fill("..")
    await page.get_by_role("button", name="Save").click()
    await expect(page.locator("#new .problem")).to_contain_text("is no key")
