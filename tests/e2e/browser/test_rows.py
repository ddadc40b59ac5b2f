"""<skerry-rows> in a browser, with a server that the test plays: which rows are shown, where, and what they hold."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, Route, WebSocketRoute

import skerry.http

sys.path.insert(0, str(Path(__file__).parent))
from seen import until  # type: ignore[import-not-found]

pytestmark = [
    pytest.mark.service("chromium"),
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(300),
]
STATIC = Path(skerry.http.__path__[0]) / "static"
POLICY = "default-src 'self'; base-uri 'none'"
ROW = '<tr data-key="{}"><td data-field="name">{}</td><td data-field="at">{}</td></tr>'
PAGE = """<!doctype html><html lang="en"><title>rows</title>
<skerry-rows table="thing" events="/root/events" {}><table><tbody>{}
<template><tr><td><a data-field="name" data-href="/things/{{key}}?of={{name}}"></a></td><td data-field="at"></td></tr>
</template>
</tbody></table></skerry-rows><script type="module" src="/root/_skerry/rows.js"></script></html>"""


class Stage:
    """A page, its server and its stream."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.html = ""
        self.asked: list[str] = []
        self.loaded = 0
        self.position = 0
        self._socket: WebSocketRoute | None = None
        self._connected = asyncio.Event()

    async def open(self, attributes: str, *rows: tuple[Any, str, Any]) -> None:
        """A page with rows (key, name, at), and its stream, which has not said anything yet."""
        self.render(attributes, *rows)
        await self.page.route("**/*", self._answer)
        await self.page.route_web_socket("**/events*", self._connect)
        await self.page.goto("http://rows.test/root/")
        await self.connected()

    def render(self, attributes: str, *rows: tuple[Any, str, Any]) -> None:
        """What the page is from now on."""
        self.html = PAGE.format(attributes, "".join(ROW.format(*row) for row in rows))

    async def connected(self) -> None:
        async with asyncio.timeout(60):
            await self._connected.wait()
        self._connected.clear()

    def hello(self, recovered: bool = True) -> None:
        at = f"a:{self.position}"
        self.say({"type": "hello", "position": at, "head": at, "recovered": recovered, "snapshot": False})
        if recovered:
            self.say({"type": "caught_up", "position": at})

    def put(self, key: Any, table: str = "thing", **row: Any) -> None:
        self.tell({"event": "row_put", "table": table, "key": key, "row": row})

    def delete(self, key: Any) -> None:
        self.tell({"event": "row_deleted", "table": "thing", "key": key})

    def tell(self, event: dict[str, Any]) -> None:
        self.position += 1
        self.say({"type": "domain_event", **event, "position": f"a:{self.position}"})

    def say(self, frame: dict[str, Any]) -> None:
        assert self._socket is not None
        self._socket.send(json.dumps(frame))

    async def cut(self) -> None:
        assert self._socket is not None
        await self._socket.close(code=1012)

    async def rows(self) -> list[list[str]]:
        """Key and texts of each row that is shown, in their order."""
        found: list[list[str]] = await self.page.evaluate(
            "() => [...document.querySelectorAll('tr[data-key]')].map("
            "row => [row.dataset.key, ...[...row.cells].map(cell => cell.textContent)])"
        )
        return found

    async def until(self, *expected: list[str]) -> None:
        async def are_shown() -> bool:
            return await self.rows() == list(expected)

        try:
            await until(are_shown)
        except TimeoutError:
            assert await self.rows() == list(expected)

    async def _answer(self, route: Route) -> None:
        path = route.request.url.partition("rows.test")[2]
        if path.startswith("/root/_skerry/"):
            await route.fulfill(
                body=(STATIC / path.rpartition("/")[2]).read_text(), content_type="text/javascript"
            )
        else:
            self.loaded += 1
            headers = {"Content-Security-Policy": POLICY}
            await route.fulfill(body=self.html, content_type="text/html", headers=headers)

    def _connect(self, socket: WebSocketRoute) -> None:
        self.asked.append(socket.url.partition("?")[2])
        self._socket = socket
        self._connected.set()


@pytest_asyncio.fixture(loop_scope="module")
async def stage(browser: Browser) -> AsyncIterator[Stage]:
    context = await browser.new_context()
    page = await context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield Stage(page)
    await context.close()
    assert not complaints


async def test_rows_come_change_and_go(stage: Stage) -> None:
    """From the position of the page on, those of its table; new ones last, from the template; texts stay texts."""
    await stage.open('since="a:0"', (1, "one", 1), (2, "two", 2))
    assert stage.asked == ["since=a%3A0&beat=1"]
    stage.hello()
    stage.put(2, name="<b>two</b>", at=None)
    stage.put(2, table="other", name="no", at=0)
    stage.put(3, name="javascript:alert(1)", at="x", more={"a": 1})
    stage.delete(1)
    stage.delete(9)
    await stage.until(["2", "<b>two</b>", ""], ["3", "javascript:alert(1)", "x"])
    link = stage.page.locator("tr[data-key='3'] a")
    assert await link.get_attribute("href") == "/things/3?of=javascript%3Aalert(1)"
    assert await stage.page.get_attribute("skerry-rows", "data-phase") == "live"
    assert stage.loaded == 1


async def test_order_limit_and_where(stage: Stage) -> None:
    """Rows stand where they belong, also when they change; what is beyond the limit, or not wanted, is not shown."""
    where = "where='{\"open\":true}'"
    await stage.open(f'since="a:0" order="-at" limit="3" {where}', (7, "seven", 30), (8, "eight", 9))
    stage.hello()
    stage.put(1, name="one", at=10, open=True)
    await stage.until(["7", "seven", "30"], ["1", "one", "10"], ["8", "eight", "9"])
    stage.put(2, name="two", at=20, open=True)
    stage.put(3, name="three", at=40, open=False)
    await stage.until(["7", "seven", "30"], ["2", "two", "20"], ["1", "one", "10"])
    stage.put(1, name="one", at=50, open=True)
    stage.put(7, name="seven", at=30, open=False)
    stage.put(8, name="eight", at=5, open=True)
    await stage.until(["1", "one", "50"], ["2", "two", "20"], ["8", "eight", "5"])


async def test_composite_keys_and_formats(stage: Stage) -> None:
    """A key of several columns is JSON; values are shown in the page's language, or as the page says."""
    await stage.open('since="a:0" order="key"', ("[&quot;A&quot;,2]", "seat", 0))
    await stage.page.add_script_tag(
        type="module", url="http://rows.test/root/_skerry/rows.js"
    )  # the module is there once
    await stage.page.evaluate(
        "async () => { const { formats } = await import('/root/_skerry/rows.js');"
        "formats.loud = (value) => value.toUpperCase();"
        "const [name, at] = document.querySelectorAll('tr[data-key] td');"
        "name.dataset.format = 'loud'; at.dataset.format = 'number'; }"
    )
    stage.hello()
    stage.put(["A", 2], name="seat", at=1234.5)
    stage.put(["A", 1], name="first", at="")
    await stage.until(['["A",1]', "first", ""], ['["A",2]', "SEAT", "1,234.5"])


async def test_what_was_missed_and_cannot_be_had_is_fetched(stage: Stage) -> None:
    """A break is made good by the stream; where that is not possible the page's rows are taken anew, with what happens
    meanwhile behind them."""
    await stage.open('since="a:5"', (1, "one", 1))
    stage.position = 5
    stage.hello()
    stage.put(1, name="uno", at=1)
    await stage.until(["1", "uno", "1"])
    await stage.cut()
    await stage.connected()
    assert stage.asked[1] == "since=a%3A6&beat=1"
    stage.position = 90
    stage.render('since="a:89"', (1, "eins", 1), (2, "zwei", 2))
    stage.hello(recovered=False)
    stage.put(3, name="drei", at=3)
    await stage.until(["1", "eins", "1"], ["2", "zwei", "2"], ["3", "drei", "3"])
    assert stage.loaded == 2
    assert await stage.page.evaluate("performance.getEntriesByType('navigation').length") == 1


async def test_a_page_without_a_position_is_fetched_once_it_listens(stage: Stage) -> None:
    """Where no App runs in the process that renders."""
    await stage.open("", (1, "one", 1))
    assert stage.asked == ["beat=1"]
    stage.render("", (1, "newer", 1))
    stage.hello(recovered=False)
    await stage.until(["1", "newer", "1"])
    stage.put(1, name="newest", at=1)
    await stage.until(["1", "newest", "1"])
    assert stage.loaded == 2
