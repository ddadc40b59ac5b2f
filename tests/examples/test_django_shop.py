"""The shop of examples/django_shop as people use it: on SQLite with nothing installed, and, under a path and without
DEBUG, on PostgreSQL and RabbitMQ. What changes anywhere is seen by everybody who looks."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, Route, async_playwright

from skerry.testing.broker import PrivateBroker
from skerry.testing.services import PrivatePostgres, require

sys.path.insert(0, str(Path(__file__).parent))
from shopworld import ARGUMENTS, CHROMIUM, Shop, shop, shown, until_live, until_shown  # type: ignore[import-not-found]

pytestmark = [pytest.mark.service("chromium"), pytest.mark.asyncio(loop_scope="module")]
TEA, BEANS, TEAPOT, MUG = 1, 2, 3, 4
EVIL = "<img src=x onerror=document.title='evil'>"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(50_000)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def on_file(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Any]:
    async with shop(tmp_path_factory.mktemp("shop"), "--servers", "2") as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def on_servers(
    tmp_path_factory: pytest.TempPathFactory, postgresql: PrivatePostgres, rabbitmq: PrivateBroker
) -> AsyncIterator[Any]:
    require("postgresql")
    require("rabbitmq")
    async with shop(
        tmp_path_factory.mktemp("shop"), "--servers", "2", root="/store",
        commands=("collectstatic --noinput -v0", "check --deploy --tag skerry"),
        DATABASE_URL=postgresql.database(), SKERRY_TRANSPORT=rabbitmq.url, SKERRY_NAMESPACE="djangoshop",
        SHOP_DEBUG="0", SHOP_SECRET_KEY="s" * 60,
    ) as running:  # fmt: skip
        yield running


@pytest.fixture(params=["on_file", pytest.param("on_servers", marks=pytest.mark.service("postgresql"))])
def running(request: pytest.FixtureRequest) -> Shop:
    found: Shop = request.getfixturevalue(request.param)
    return found


async def edited(page: Page, running: Shop, product: int, **fields: str) -> None:
    """Change a product in Django's admin pages."""
    await page.goto(f"{running.url}admin/shop/product/{product}/change/")
    for name, value in fields.items():
        await page.fill(f"[name={name}]", value)
    await page.click("[name=_save]")
    await page.wait_for_selector(".messagelist .success")


async def test_an_order_is_seen_by_the_staff_and_confirmed(running: Shop, browser: Browser) -> None:
    """The stock and the order appear on the dashboard; the customer gets mail and a parcel; what cannot be had leaves
    nothing behind; nobody else hears of it."""
    page = await running.log_in(browser)
    await until_live(page)
    before = int((await shown(page, "stock"))[str(BEANS)][2])
    known = set(await shown(page, "orders"))
    assert "Thank you" in (await running.buy(BEANS, 2)).text
    assert "There are" in (await running.buy(BEANS, 90)).text
    await until_shown(page, "stock", {str(BEANS): ["Espresso beans", "11.50", str(before - 2)]})
    async with asyncio.timeout(60):
        while not (new := set(await shown(page, "orders")) - known):  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.05)
        while "2 x Espresso beans" not in running.mails():  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.05)
    [number] = new
    assert (await shown(page, "orders"))[number] == [number, "placed", "23.00"]
    assert running.mails().count(f"Subject: Your order {number}\n") == 1
    async with running.client() as client:
        assert "Most wanted: Espresso beans" in (await client.get("")).text
        stream = await client.get("events", headers={"Accept": "text/event-stream"})
        assert stream.status_code == 401
        assert (await client.get(f"orders/{number}/")).status_code == 404
        css = await client.get("static/shop/shop.css")
        assert (css.status_code, css.headers["content-type"].partition(";")[0]) == (200, "text/css")
    await page.context.close()


async def test_an_edit_in_the_admin_appears_in_two_windows(running: Shop, browser: Browser) -> None:
    """Without a reload, under the shop's policy; a name stays text; a product that is made or deleted comes and goes,
    in its place."""
    one, two, admin = [await running.log_in(browser) for _ in range(3)]
    for page in (one, two):
        await until_live(page)
        await page.evaluate("document.mark = 1")
    await edited(admin, running, MUG, name=EVIL, price="8.40", stock="7")
    for page in (one, two):
        await until_shown(page, "stock", {str(MUG): [EVIL, "8.40", "7"]})
        keys = list(await shown(page, "stock"))
        assert keys[0] == str(MUG), "sorted by name, of which '<' is the smallest"
    await admin.goto(f"{running.url}admin/shop/product/add/")
    for name, value in {"name": "Biscuits", "price": "2.00", "stock": "5"}.items():
        await admin.fill(f"[name={name}]", value)
    await admin.set_input_files("[name=picture]", {"name": "b.png", "mimeType": "image/png", "buffer": PNG})
    await admin.click("[name=_save]")
    async with running.client() as client:
        page = (await client.get("")).text
        address = page[page.index("media/products/") :].partition('"')[0]
        picture = await client.get(address)
        assert (picture.content, picture.headers["content-type"]) == (PNG, "image/png")
        assert (await client.get("media/%2E%2E/shop.sqlite3")).status_code == 404
    for page in (one, two):
        link = page.locator("#stock a", has_text="Biscuits")
        await link.wait_for()
        path = httpx.URL(running.url).path
        assert str(await link.get_attribute("href")).startswith(f"{path}products/")
    [made] = [key for key, cells in (await shown(one, "stock")).items() if cells[0] == "Biscuits"]
    await admin.goto(f"{running.url}admin/shop/product/{made}/delete/")
    await admin.click("#content [type=submit]")
    for page in (one, two):
        await page.locator(f"#stock tr[data-key='{made}']").wait_for(state="detached")
        assert await page.evaluate("document.mark") == 1
        assert await page.title() == "Dashboard"
    await edited(admin, running, MUG, name="Mug")
    for page in (one, two, admin):
        await page.context.close()


async def test_a_page_misses_nothing_between_rendering_and_listening(running: Shop, browser: Browser) -> None:
    """What changes after the page was rendered and before it listens is there."""
    page, admin = [await running.log_in(browser) for _ in range(2)]
    held = asyncio.Event()

    async def hold(route: Route) -> None:
        await held.wait()
        await route.continue_()

    await page.route("**/_skerry/rows.js", hold)
    await page.goto(f"{running.url}dashboard/", wait_until="commit")
    await page.wait_for_selector("#orders")
    await edited(admin, running, TEAPOT, stock="9")
    async with running.client() as client:
        assert "9 in stock" in (await client.get(f"products/{TEAPOT}/")).text
    held.set()
    await until_shown(page, "stock", {str(TEAPOT): ["Teapot", "34.00", "9"]})
    await edited(admin, running, TEAPOT, stock="4")
    await until_shown(page, "stock", {str(TEAPOT): ["Teapot", "34.00", "4"]})
    for each in (page, admin):
        await each.context.close()


async def test_a_page_that_was_cut_off_catches_up(running: Shop, browser: Browser) -> None:
    """It says that it is not live; then what it missed comes, without a reload."""
    page = await running.log_in(browser)
    await until_live(page)
    await page.evaluate("document.mark = 1")
    await page.context.set_offline(True)
    await page.evaluate("""() => {  // a network that is away closes nothing: have the connection end
        for (const each of document.querySelectorAll("skerry-rows")) each.followed.stream.link.close();
    }""")
    await page.wait_for_selector("#stock:not([data-phase=live])")
    assert "Thank you" in (await running.buy(TEA, 1)).text
    await page.context.set_offline(False)
    await until_live(page)
    async with running.client() as client:
        told = (await client.get(f"products/{TEA}/")).text
    left = told.partition(" in stock")[0].rpartition(" ")[2]
    await until_shown(page, "stock", {str(TEA): ["Darjeeling tea", "7.80", left]})
    assert await page.evaluate("document.mark") == 1
    await page.context.close()


@pytest.mark.service("postgresql")
async def test_a_bulk_update_by_psql_appears_too(on_servers: Shop, browser: Browser) -> None:
    """Whoever writes to the table: the mirror sees it, and a low stock is told to the store room."""
    one, two = [await on_servers.log_in(browser) for _ in range(2)]
    for page in (one, two):
        await until_live(page)
    with psycopg.connect(on_servers.program.environ["DATABASE_URL"]) as connection:
        connection.execute("update shop_product set stock = 2, price = price + 1 where name <> 'Mug'")
    for page in (one, two):
        await until_shown(
            page,
            "stock",
            {
                str(TEA): ["Darjeeling tea", "8.80", "2"],
                str(BEANS): ["Espresso beans", "12.50", "2"],
                str(TEAPOT): ["Teapot", "35.00", "2"],
            },
        )
    async with asyncio.timeout(60):
        while "Teapot: 2 left" not in on_servers.mails():  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.05)
    for page in (one, two):
        await page.context.close()
    with psycopg.connect(on_servers.program.environ["DATABASE_URL"]) as connection:
        connection.execute("update shop_product set stock = 20, price = price - 1 where name <> 'Mug'")


async def test_on_sqlite_nothing_but_one_file_is_written(on_file: Shop) -> None:
    """The shop's tables and the journal are one file; each order that is stored has its event."""
    await on_file.buy(TEA, 1)
    with closing(sqlite3.connect(on_file.data / "shop.sqlite3")) as connection:
        orders = connection.execute("select count(*) from shop_order").fetchone()
        events = connection.execute("select count(*) from shop__event where name = 'order_placed'").fetchone()
    assert orders == events
