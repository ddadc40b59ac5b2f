"""The page in a real browser: what changes anywhere is seen everywhere, once; nothing that is shown is ever run."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from playwright.async_api import Page, expect

from skerry.testing.proxy import FaultProxy

if TYPE_CHECKING:
    from tests.e2e.browser.conftest import Store, Windows
else:
    Store = Windows = Any

pytestmark = [
    pytest.mark.service("chromium"),
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(90),
]

ODD_KEYS = [
    "a.b:c#d", "with space", 'quo"te\'s', "[x=y]", "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>", "ключ/值/🗝",
    "back\\slash", "%2F%00", "--", "constructor", "__proto__", "a&amp;b", "tab\there", "{{7*7}}", "..hidden", "?q=1&r",
]  # fmt: skip


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


def row(page: Page, key: str) -> Any:
    return page.locator("#rows tr", has=page.get_by_role("rowheader", name=key, exact=True))


async def until(truth: Callable[[], Awaitable[bool]], seconds: float = 10) -> None:
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


async def test_two_windows_see_the_same(store: Store, windows: Windows, pictures: Path | None) -> None:
    """Writes, deletes and connections of anyone appear in each window, without reload."""
    await store.put("before", "rendered by the server")
    one = await windows.open()
    two = await windows.open()
    await expect(one.locator("#events li").first).to_contain_text("opened")
    await store.put("city", "Ålesund")
    await store.put("city", "Bodø")
    await store.put("gone", "soon")
    await store.delete("gone")
    for page in (one, two):
        told = ["put city = Ålesund", "put city = Bodø", "put gone = soon", "deleted gone"]
        await until_listed(page, told, "put", "deleted")
        await until_shown(page, {"before": "rendered by the server", "city": "Bodø"})
        await expect(page.locator("#count")).to_have_text("2")
    await two.context.close()
    await expect(one.locator("#events li").first).to_contain_text("closed")
    assert await one.evaluate("() => performance.getEntriesByType('navigation').length") == 1


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


async def test_a_cut_connection_shows_and_misses_nothing(
    store: Store, windows: Windows, pictures: Path | None
) -> None:
    """The banner while cut; then every change once, in order; live ones go on."""
    windows.expected = ("WebSocket", "net::ERR", "Failed to load")
    await store.put("k", "0")
    async with FaultProxy(store.port) as proxy:
        page = await windows.open(port=proxy.port)
        await store.put("k", "1")
        await expect(page.locator("#events li").first).to_contain_text("= 1")
        proxy.refuse()
        await expect(page.locator("#banner")).to_be_visible()
        await expect(page.locator("#banner")).to_contain_text("The connection is cut")
        await expect(page.locator("#state .word")).not_to_have_text("Live")
        if pictures:
            await page.screenshot(path=pictures / "cut.png")
        for n in range(2, 8):
            await store.put("k", str(n))
        await store.put("new", "made while cut")
        await store.delete("new")
        proxy.mend()
        # It may have come back by itself already; then the button is gone and does nothing.
        await page.locator("#retry").dispatch_event("click")
        await expect(page.locator("#banner")).to_be_hidden()
        await expect(page.locator("#state .word")).to_have_text("Live")
        await store.put("k", "8")
        await expect(page.locator("#events li").first).to_contain_text("= 8")
        missed = [f"put k = {n}" for n in range(1, 8)]
        told = [*missed, "put new = made while cut", "deleted new", "put k = 8"]
        await until_listed(page, told, "put", "deleted")
        await until_shown(page, {"k": "8"})


async def test_a_page_between_rendering_and_listening_misses_nothing(store: Store, windows: Windows) -> None:
    """What happens after the server rendered the page and before the socket is open is told."""
    await store.put("k", "rendered")

    async def delayed(route: Any) -> None:
        await store.put("k", "meanwhile")
        await route.continue_()

    page = await windows.open(live=False)
    await page.context.route("**/static/livekv.js", delayed)
    await page.reload()
    await page.wait_for_selector("#state[data-phase=live]")
    await until_shown(page, {"k": "meanwhile"})
    await until_listed(page, ["put k = meanwhile"], "put")


async def test_a_restart_with_another_epoch_reloads_the_values(store: Store, windows: Windows) -> None:
    """A store that came back with another history: the old values go, the new ones come, the page stays."""
    windows.expected = ("WebSocket", "net::ERR", "Failed to load")
    await store.put("old", "1")
    page = await windows.open()
    await page.evaluate("() => { window.stayed = true }")
    await store.stop()
    await expect(page.locator("#banner")).to_be_visible()
    await store.start()
    await store.put("fresh", "2")
    await expect(page.locator("#state .word")).to_have_text("Live", timeout=20_000)
    await until_shown(page, {"fresh": "2"})
    assert await page.evaluate("() => window.stayed") is True


async def test_markup_and_odd_keys_stay_text(store: Store, windows: Windows) -> None:
    """Rendered by the server and told live: nothing is run, nothing is mangled, every key can be changed."""
    evil = "<script>document.title='hacked'</script><img src=x onerror=\"document.title='hacked'\">"
    half = len(ODD_KEYS) // 2
    for key in ODD_KEYS[:half]:
        assert (await store.put(key, evil)).status_code == 200
    page = await windows.open()
    for key in ODD_KEYS[half:]:
        assert (await store.put(key, evil)).status_code == 200
    await store.put("crlf", "one\r\ntwo\rthree\n")
    await until_shown(page, {**dict.fromkeys(ODD_KEYS, evil), "crlf": "one\r\ntwo\rthree\n"})
    again = await windows.open()
    await until_shown(again, {**dict.fromkeys(ODD_KEYS, evil), "crlf": "one\r\ntwo\rthree\n"})
    for key in ODD_KEYS:
        await store.put(key, "changed")
    await until_shown(page, {**dict.fromkeys(ODD_KEYS, "changed"), "crlf": "one\r\ntwo\rthree\n"})
    assert await page.title() == "livekv"
    assert await page.locator("#rows img, #rows script, #events img, #events script").count() == 0
    await row(page, ODD_KEYS[4]).get_by_role("button", name=f"Delete {ODD_KEYS[4]}").dispatch_event("click")

    async def deleted() -> bool:
        return await store.get(ODD_KEYS[4]) is None

    await until(deleted)


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
    await page.get_by_label("Key", exact=True).fill("..")
    await page.get_by_role("button", name="Save").click()
    await expect(page.locator("#new .problem")).to_contain_text("is no key")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_dark_and_light(store: Store, windows: Windows, pictures: Path | None, scheme: Any) -> None:
    """It follows the system, the button turns it over; text keeps its contrast (WCAG AA) in both."""
    for n in range(14):
        await store.put(f"service/{n:02}/address", f"10.0.{n}.{n * 7}:8080")
    page = await windows.open(color_scheme=scheme)
    for n in range(6):
        await store.put(f"service/{n * 2:02}/address", f"10.1.{n}.7:8080")
    await store.delete("service/13/address")
    await expect(page.locator("#events li").first).to_contain_text("deleted")

    async def contrasts() -> dict[str, float]:
        found: dict[str, float] = await page.evaluate(CONTRAST)
        return found

    assert min((await contrasts()).values()) >= 4.5, await contrasts()
    bright = await page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    if pictures:
        await asyncio.sleep(1.5)
        await page.screenshot(path=pictures / f"page-{scheme}.png")
    await page.get_by_role("button", name="Switch between light and dark").click()
    assert await page.evaluate("() => getComputedStyle(document.body).backgroundColor") != bright
    assert min((await contrasts()).values()) >= 4.5, await contrasts()


CONTRAST = """() => {
  const numbers = (css) => css.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(c => (c /= 255) <= .03928 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4)
    .reduce((sum, c, n) => sum + c * [.2126, .7152, .0722][n], 0);
  const ground = (node) => { for (; node; node = node.parentElement) {
    const c = numbers(getComputedStyle(node).backgroundColor); if (c.length < 4 || c[3] > 0) return c; }
    return [255, 255, 255]; };
  const found = {};
  for (const name of ["h1", "#state .detail", "#rows th", "#rows td", "#events time", ".chip.put", ".chip.deleted",
      "#add", "footer", ".count", "#pause"]) {
    const node = document.querySelector(name);
    const [a, b] = [light(numbers(getComputedStyle(node).color)), light(ground(node))].sort((x, y) => y - x);
    found[name] = (a + .05) / (b + .05);
  }
  return found;
}"""


async def test_many_keys_and_many_events_stay_smooth(store: Store, windows: Windows) -> None:
    """10,000 keys and 200 events a second: the page answers, its lists stay bounded, nothing is missed."""
    await asyncio.gather(*(_fill(store, n * 1000, 1000) for n in range(10)))
    page = await windows.open()
    await expect(page.locator("#count")).to_have_text("10,000", timeout=20_000)
    assert len(await rows(page)) <= 300
    session = await page.context.new_cdp_session(page)
    # The processor time of the page's main thread: what the machine does beside does not count.
    await session.send("Performance.enable", {"timeDomain": "threadTicks"})
    before = await _spent(session)
    await page.evaluate(
        "() => { window.frames = 0; const turn = () => { window.frames++; requestAnimationFrame(turn); }; turn(); }"
    )
    began = asyncio.get_running_loop().time()
    for n in range(20):
        await asyncio.gather(
            *(store.put(f"key/{(n * 40 + m) * 7 % 10_000:05}", f"{n}.{m}") for m in range(40))
        )
        await asyncio.sleep(max(0.0, began + (n + 1) * 0.2 - asyncio.get_running_loop().time()))
    seconds = asyncio.get_running_loop().time() - began
    await page.locator("#filter").fill("key/0000")
    await expect(page.locator("#count")).to_have_text("10 of 10,000")
    spent = await _spent(session) - before
    frames = await page.evaluate("() => window.frames")
    assert spent < 0.4 * seconds, f"{spent:.2f} s of processor time in {seconds:.1f} s"
    assert frames > 5 * seconds, f"{frames} frames in {seconds:.1f} s"
    assert await page.locator("#events li").count() <= 200
    expected = {key: value for key, value in (await store.all()).items() if key.startswith("key/0000")}
    await until_shown(page, expected)


async def _spent(session: Any) -> float:
    metrics = (await session.send("Performance.getMetrics"))["metrics"]
    return float(next(m["value"] for m in metrics if m["name"] == "TaskDuration"))


async def _fill(store: Store, first: int, number: int) -> None:
    """Pipelined, because filling is not what is tested."""
    reader, writer = await asyncio.open_connection("127.0.0.1", store.port)
    for n in range(first, first + number):
        value = b"value %d" % n
        writer.write(b"PUT /values/key%%2F%05d HTTP/1.1\r\nHost: x\r\n" % n)
        writer.write(b"Content-Length: %d\r\n\r\n%b" % (len(value), value))
    answers = 0
    while answers < number:
        answers += (await reader.readuntil(b"\r\n\r\n")).count(b" 200 OK\r\n")
    writer.close()


async def test_where_websockets_are_blocked_events_come_as_a_stream(store: Store, windows: Windows) -> None:
    """A network that lets no WebSocket through: server-sent events, by itself, with the same content."""
    page = await windows.open(
        script="window.WebSocket = class { constructor() { throw new Error('blocked'); } };"
    )
    await expect(page.locator("#state .detail")).to_contain_text("event stream")
    await store.put("k", "by stream")
    await until_shown(page, {"k": "by stream"})


async def test_without_javascript_it_is_a_plain_table(store: Store, windows: Windows) -> None:
    """The values are there; what needs a script is not shown."""
    await store.put("k", "v")
    page = await windows.open(live=False, java_script_enabled=False)
    await expect(page.get_by_role("rowheader", name="k")).to_be_visible()
    await expect(page.locator("#add")).to_be_hidden()
    await expect(page.locator("#pause")).to_be_hidden()
    await expect(page.locator("#filter")).to_be_hidden()
    await expect(page.get_by_text("This list needs JavaScript")).to_be_visible()


async def test_a_screen_reader_is_told_calmly(store: Store, windows: Windows) -> None:
    """Changes are summed up in one polite line, at most once a second; the connection's state is in words."""
    page = await windows.open()
    await page.evaluate(
        "() => { window.said = []; new MutationObserver(() => window.said.push([performance.now(), "
        "document.getElementById('said').textContent])).observe(document.getElementById('said'), "
        "{ childList: true }); }"
    )
    for n in range(60):
        await store.put("busy", str(n))

    async def heard() -> bool:
        return bool(await page.evaluate("() => window.said.some(([, text]) => text.includes('busy'))"))

    await until(heard)
    said = await page.evaluate("() => window.said")
    assert len(said) <= 1 + (said[-1][0] - said[0][0]) / 900
    assert await page.locator("#said").get_attribute("aria-live") == "polite"
    assert await page.locator("#banner").get_attribute("role") == "alert"
    await expect(page.get_by_role("table")).to_have_count(1)
    await expect(page.get_by_label("Filter keys and values")).to_be_visible()


async def test_the_list_of_events_can_be_held_and_is_bounded(store: Store, windows: Windows) -> None:
    """Pause holds it and counts; resume shows the newest; never more than 200 lines."""
    page = await windows.open()
    await page.get_by_role("button", name="Pause").click()
    before = await listed(page)
    await asyncio.gather(*(store.put("k", str(n)) for n in range(250)))
    await expect(page.get_by_role("button", name="Resume · 250 new")).to_be_visible()
    assert await listed(page) == before
    await page.get_by_role("button", name="Resume").click()
    await expect(page.locator("#events li")).to_have_count(200)
    await page.get_by_label("connections").uncheck()
    await expect(page.locator("#events li.connection")).to_have_count(0)


async def test_a_policy_keeps_foreign_and_inline_scripts_out(store: Store, windows: Windows) -> None:
    """Even markup that got in would not run: the header forbids it, and the page needs none of it."""
    windows.expected = ("Content Security Policy",)
    page = await windows.open()
    policy = (await store.http.get("/")).headers["content-security-policy"]
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    await page.evaluate(
        "() => { const s = document.createElement('script'); "
        "s.textContent = 'window.ran = true'; document.body.append(s); }"
    )
    assert await page.evaluate("() => window.ran") is None
