"""The shop of `examples/django_shop`, prepared and started as its README says, and its staff's browsers."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
from playwright.async_api import Browser, Page

from skerry.testing.broker import free_ports
from skerry.testing.program import Program, surroundings

HOME = Path(__file__).parents[2] / "examples" / "django_shop"
MANAGE = str(HOME / "manage.py")
PATIENCE_MS = 60_000
CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
]


async def manage(directory: Path, *arguments: str, environ: Mapping[str, str]) -> str:
    """What `manage.py ARGUMENTS` has written. Fails with it when it fails."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, MANAGE, *arguments, cwd=directory, env=surroundings(directory, **environ),
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    async with asyncio.timeout(240):
        told, _ = await process.communicate()
    assert process.returncode == 0, told.decode()
    return told.decode()


class Shop:
    """A shop that runs; `url` is its front page."""

    def __init__(self, program: Program, url: str, password: str) -> None:
        self.program, self.url, self.password = program, url, password

    @property
    def data(self) -> Path:
        return Path(self.program.environ["SHOP_DATA"])

    def client(self) -> httpx.AsyncClient:
        """A customer, with cookies."""
        return httpx.AsyncClient(base_url=self.url, follow_redirects=True, timeout=PATIENCE_MS / 1000)

    async def post(self, client: httpx.AsyncClient, path: str, **fields: str) -> httpx.Response:
        """Fill in the form that a page has."""
        page = await client.get(path)
        assert page.status_code == 200, page.text
        found = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)
        assert found, page.text
        target = re.search(r'<form method="post" action="([^"]*orders/)"', page.text)
        where = str(page.url.join(target[1])) if target else str(page.url)
        fields["csrfmiddlewaretoken"] = found[1]
        return await client.post(where, data=fields, headers={"Referer": str(page.url)})

    async def buy(self, product: int, pieces: int, email: str = "ada@example.com") -> httpx.Response:
        """What a customer does, from the product to the receipt, or to what the shop says instead."""
        async with self.client() as client:
            await self.post(client, f"products/{product}/", pieces=str(pieces))
            return await self.post(client, "basket/", email=email)

    async def log_in(self, browser: Browser, path: str = "dashboard/") -> Page:
        """A window of its own, where the staff has logged in."""
        context = await browser.new_context()
        context.set_default_timeout(PATIENCE_MS)
        page = await context.new_page()
        await page.goto(f"{self.url}accounts/login/?next={httpx.URL(self.url).path}{path}")
        await page.fill("[name=username]", "admin")
        await page.fill("[name=password]", self.password)
        await page.click("main button")
        return page

    def mails(self) -> str:
        """All that were sent so far."""
        return "\n".join(file.read_text() for file in sorted((self.data / "mail").glob("*.log")))


@asynccontextmanager
async def shop(
    directory: Path, *options: str, root: str = "", commands: Sequence[str] = (), **environ: str
) -> AsyncIterator[Shop]:
    """Prepare it, start it, wait until it is ready, and leave nothing behind. `root`: the path it lies under;
    `commands` of `manage.py` to run before."""
    [port] = free_ports(1)
    environ = {
        "SHOP_DATA": str(directory / "data"),
        "SHOP_EMAIL_BACKEND": "django.core.mail.backends.filebased.EmailBackend",
        **({"SKERRY_ROOT_PATH": root} if root else {}),
        **environ,
    }
    told = await manage(directory, "demo", "--prepare", environ=environ)
    password = re.search(r"password (\S+)", told)
    assert password, told
    for command in commands:
        await manage(directory, *command.split(), environ=environ)
    started = ("skerry", str(port), "--no-reload", *options)
    async with Program(directory, *started, environ=environ, command=(MANAGE,)) as program:
        await program.until(lambda: '"ready on' in program.text, 120)
        yield Shop(program, f"http://127.0.0.1:{port}{root}/", password[1])
        assert await program.stop() == 0


async def shown(page: Page, table: str) -> dict[str, list[str]]:
    """The texts of the cells of each row, by key, in their order."""
    found: list[tuple[str, list[str]]] = await page.evaluate(
        "id => [...document.querySelectorAll(`#${id} tr[data-key]`)].map("
        "row => [row.dataset.key, [...row.cells].map(cell => cell.textContent.trim())])",
        table,
    )
    return dict(found)


async def until_shown(page: Page, table: str, expected: Mapping[str, list[str]]) -> None:
    """Some rows come to be these."""
    async with asyncio.timeout(PATIENCE_MS / 1000):
        while not expected.items() <= (await shown(page, table)).items():  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.05)


async def until_live(page: Page) -> None:
    await page.wait_for_selector("#stock[data-phase=live]")
