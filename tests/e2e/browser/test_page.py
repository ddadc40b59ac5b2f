"""The page in a real browser: what changes anywhere is seen everywhere, once; nothing that is shown is ever run."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from playwright.async_api import Page, expect

from skerry.testing.proxy import FaultProxy

sys.path.insert(0, str(Path(__file__).parent))
from seen import listed, row, rows, told, until, until_listed, until_shown  # type: ignore[import-not-found]

if TYPE_CHECKING:
    from tests.e2e.browser.conftest import Store, Windows
else:
    Store = Windows = Any

pytestmark = [
    pytest.mark.service("chromium"),
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(300),
]

ODD_KEYS = [
    "a.b:c#d", "with space", 'quo"te\'s', "[x=y]", "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>", "ключ/值/🗝",
    "back\\slash", "%2F%00", "--", "constructor", "__proto__", "a&amp;b", "tab\there", "{{7*7}}", "..hidden", "?q=1&r",
]  # fmt: skip


async def test_two_windows_see_the_same(store: Store, windows: Windows, pictures: Path | None) -> None:
    """Writes, deletes and connections of anyone appear in each window, without reload."""
    await store.put("before", "rendered by the server")
    one = await windows.open()
    two = await windows.open()
    await told(one, "opened")
    await store.put("city", "Ålesund")
    await store.put("city", "Bodø")
    await store.put("gone", "soon")
    await store.delete("gone")
    for page in (one, two):
        expected = ["put city = Ålesund", "put city = Bodø", "put gone = soon", "deleted gone"]
        await until_listed(page, expected, "put", "deleted")
        await until_shown(page, {"before": "rendered by the server", "city": "Bodø"})
        await expect(page.locator("#count")).to_have_text("2")
    await two.context.close()
    await told(one, "closed")
    assert await one.evaluate("() => performance.getEntriesByType('navigation').length") == 1


async def test_a_cut_connection_shows_and_misses_nothing(
    store: Store, windows: Windows, pictures: Path | None
) -> None:
    """The banner while cut; then every change once, in order; live ones go on."""
    windows.expected = ("WebSocket", "net::ERR", "Failed to load")
    await store.put("k", "0")
    async with FaultProxy(store.port) as proxy:
        page = await windows.open(port=proxy.port)
        await store.put("k", "1")
        await told(page, "= 1")
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
        await reconnected(page)
        await expect(page.locator("#banner")).to_be_hidden()
        await store.put("k", "8")
        await told(page, "= 8")
        missed = [f"put k = {n}" for n in range(1, 8)]
        expected = [*missed, "put new = made while cut", "deleted new", "put k = 8"]
        await until_listed(page, expected, "put", "deleted")
        await until_shown(page, {"k": "8"})


async def test_a_server_that_goes_silent_is_noticed(store: Store, windows: Windows) -> None:
    """Its process is stopped (SIGSTOP), so that nothing closes: after 35 s the page says that it is cut, where it would
    have shown "Live" for ever; when the server is there again it catches up."""
    windows.expected = ("WebSocket", "net::ERR", "Failed to load")
    page = await windows.open(clock=True)
    await store.put("k", "1")
    await told(page, "= 1")
    store.pause()
    await page.clock.run_for(20_000)
    await expect(page.locator("#state")).to_have_attribute("data-phase", "live")
    await page.clock.run_for(15_500)
    await expect(page.locator("#banner")).to_be_visible()
    await expect(page.locator("#state .word")).not_to_have_text("Live")
    store.resume()
    await store.put("k", "2")
    await reconnected(page)
    await until_shown(page, {"k": "2"})
    await until_listed(page, ["put k = 1", "put k = 2"], "put")


async def reconnected(page: Page) -> None:
    """Not after a pause that has grown: the button is pressed until the page is live. When it is, it does nothing."""

    async def live() -> bool:
        await page.locator("#retry").dispatch_event("click")
        return await page.locator("#state").get_attribute("data-phase") == "live"

    await until(live)


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
    await reconnected(page)
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


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_dark_and_light(store: Store, windows: Windows, pictures: Path | None, scheme: Any) -> None:
    """It follows the system, the button turns it over; text keeps its contrast (WCAG AA) in both."""
    for n in range(14):
        await store.put(f"service/{n:02}/address", f"10.0.{n}.{n * 7}:8080")
    page = await windows.open(color_scheme=scheme)
    for n in range(6):
        await store.put(f"service/{n * 2:02}/address", f"10.1.{n}.7:8080")
    await store.delete("service/13/address")
    await told(page, "deleted")
    await page.wait_for_function("() => document.getAnimations().length === 0")

    async def contrasts() -> dict[str, float]:
        found: dict[str, float] = await page.evaluate(CONTRAST)
        return found

    assert min((await contrasts()).values()) >= 4.5, await contrasts()
    bright = await page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    if pictures:
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


async def test_on_a_telephone_key_and_value_have_the_width(store: Store, windows: Windows) -> None:
    """They stand below each other, nothing is wider than the screen, and it is still a table to a screen reader."""
    await store.put("a/key/of/some/length", "and a value of more than a few words, as they are")
    page = await windows.open(viewport={"width": 390, "height": 800})
    key = page.get_by_role("rowheader", name="a/key/of/some/length", exact=True)
    value = page.get_by_role("cell", name="and a value of more than a few words")
    above, below = await key.bounding_box(), await value.bounding_box()
    assert above is not None
    assert below is not None
    assert above["y"] + above["height"] <= below["y"] + 1
    assert below["width"] > 300
    assert await page.evaluate("() => document.documentElement.scrollWidth") <= 390


async def test_many_keys_and_many_events_stay_smooth(store: Store, windows: Windows) -> None:
    """10,000 keys and events as fast as they can be written: the page renders ten times a second at most, answers
    meanwhile, its lists stay bounded, and it shows in the end what is stored."""
    await asyncio.gather(*(_fill(store, n * 1000, 1000) for n in range(10)))
    page = await windows.open()
    await expect(page.locator("#count")).to_have_text("10,000")
    assert len(await rows(page)) <= 300
    await page.evaluate(COUNT_RENDERINGS)
    writing = asyncio.create_task(_write(store, 800))
    await page.locator("#filter").fill("key/0000")
    await expect(page.locator("#count")).to_have_text("10 of 10,000")
    await writing
    await expect(page.locator("#events li")).to_have_count(200)
    stored = await store.all()
    await until_shown(page, {key: value for key, value in stored.items() if key.startswith("key/0000")})
    renderings, milliseconds = await page.evaluate("() => [renderings, last - began]")
    # One may come at the very beginning, and one is asked for by the filter.
    assert renderings <= 2 + milliseconds / 99, f"{renderings} renderings in {milliseconds:.0f} ms"
    await page.locator("#filter").fill("")
    await expect(page.locator("#count")).to_have_text("10,000")
    await until_shown(page, dict(sorted(stored.items())[:300]))


COUNT_RENDERINGS = """() => {
  window.renderings = 0;
  window.began = window.last = performance.now();
  const observer = new MutationObserver(() => { window.renderings++; window.last = performance.now(); });
  for (const id of ["rows", "events"])
    observer.observe(document.getElementById(id), { childList: true, subtree: true });
}"""


async def _write(store: Store, number: int) -> None:
    """Change keys from all over, forty at a time."""
    for n in range(0, number, 40):
        await asyncio.gather(*(store.put(f"key/{m * 7 % 10_000:05}", f"new {m}") for m in range(n, n + 40)))


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
    page = await windows.open(clock=True)
    now: float = await page.evaluate("() => Date.now()")
    await page.clock.pause_at(now / 1000 + 60)
    await page.evaluate(
        "() => { window.said = []; const node = document.getElementById('said'); "
        "new MutationObserver(() => window.said.push(node.textContent)).observe(node, { childList: true }); }"
    )
    for n in range(60):
        await store.put("busy", str(n))
    assert await page.evaluate("() => window.said") == [], "no time has passed"
    seconds = 0

    async def heard() -> bool:
        nonlocal seconds
        seconds += 1
        await page.clock.run_for(1000)
        said: list[str] = await page.evaluate("() => window.said")
        assert len(said) <= seconds
        return sum(1 if text == "busy put" else int(text.split(" put; last busy")[0]) for text in said) == 60

    await until(heard)
    assert await page.locator("#said").get_attribute("aria-live") == "polite"
    assert await page.locator("#banner").get_attribute("role") == "alert"
    await expect(page.get_by_role("table")).to_have_count(1)
    await expect(page.get_by_label("Filter keys and values")).to_be_visible()


async def test_the_chart_shows_the_events_of_each_second_of_a_minute(store: Store, windows: Windows) -> None:
    """Every event is counted in one second; the number beside it is the last second's."""
    page = await windows.open(clock=True)
    await told(page, "opened")
    now: float = await page.evaluate("() => Date.now()")
    await page.clock.pause_at(now / 1000 + 10)
    seconds: list[int] = []

    async def all_counted() -> bool:
        await page.clock.run_for(1000)
        seconds.append(int(await page.locator("#rate").inner_text()))
        return sum(seconds) == 7

    for n in range(7):
        await store.put("k", str(n))
    await until(all_counted)
    shown = (await heights(page))[-len(seconds) :]
    assert [height > 0 for height in shown] == [count > 0 for count in seconds]
    assert max(shown) == max(await heights(page)), "the busiest second is the highest"
    await page.clock.run_for(1000)
    await expect(page.locator("#rate")).to_have_text("0")
    assert (await heights(page))[:-1][-len(seconds) :] == shown, "one second further to the left"


async def heights(page: Page) -> list[float]:
    """The chart's sixty points above its ground."""
    path = str(await page.locator("#chart .line").get_attribute("d"))
    ys = [float(point.split()[1]) for point in path.removeprefix("M").split("L")]
    assert len(ys) == 60
    return [max(ys) - y for y in ys]


async def test_the_list_of_events_can_be_held_and_is_bounded(store: Store, windows: Windows) -> None:
    """Pause holds it and counts; resume shows the newest; never more than 200 lines; connections can be left out."""
    page = await windows.open()
    await told(page, "opened")  # so that nothing but what is written comes after
    await page.get_by_label("connections").uncheck()
    await expect(page.locator("#events li.connection").first).to_be_hidden()
    await page.get_by_label("connections").check()
    await expect(page.locator("#events li.connection").first).to_be_visible()
    await page.get_by_role("button", name="Pause").click()
    before = await listed(page)
    await asyncio.gather(*(store.put("k", str(n)) for n in range(250)))
    await expect(page.get_by_role("button", name="Resume · 250 new")).to_be_visible()
    assert await listed(page) == before
    await page.get_by_role("button", name="Resume").click()
    await expect(page.locator("#events li")).to_have_count(200)


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
