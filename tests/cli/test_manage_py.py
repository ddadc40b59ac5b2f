"""A Django project with `skerry.hosting.django` in INSTALLED_APPS, as its developer uses it: `manage.py`."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import sys
from pathlib import Path

import httpx
import pytest

from skerry.testing.program import HttpConnection, Program, surroundings
from skerry.testing.tars.node import FakeNode, configuration_for

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and unix sockets")
PREPARED = """
from django.core.management import call_command
call_command("migrate", verbosity=0)
call_command("collectstatic", verbosity=0, interactive=False)
"""
MANAGE = ("manage.py",)
BOUNDARY = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n\r\n%s\r\n--x--\r\n'


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return Path(shutil.copytree(Path(__file__).with_name("djangosite"), tmp_path / "site"))


async def manage(site: Path, *arguments: str, **environ: str) -> str:
    """What `manage.py` has written. Fails with it when it fails."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "manage.py", *arguments, cwd=site, env=surroundings(site.parent, **environ),
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    async with asyncio.timeout(120):
        told, _ = await process.communicate()
    assert process.returncode == 0, told.decode()
    return told.decode()


async def test_checks_tags_targets_and_live_servers(site: Path) -> None:
    """The project's own tests (djangosite/shop/tests.py), with a database in a file: the threads of the live server
    have connections of their own, and leave none behind that would keep the database from being removed."""
    told = await manage(site, "test", SHOP_TEST_DB=str(site / "test.db"))
    assert "OK" in told.splitlines()
    assert not (site / "test.db").exists()


async def test_a_database_in_memory_is_shared_with_the_live_server(site: Path) -> None:
    """As Django's own live server does it."""
    assert "OK" in (await manage(site, "test", "shop.tests.Live")).splitlines()


async def test_manage_py_skerry_serves_the_project(site: Path) -> None:
    """Sessions, uploads, the admin pages and collected files, from another directory than the project's."""
    await manage(site, "shell", "-v0", "-c", PREPARED)
    command = ("site/manage.py", "skerry")
    async with Program(site.parent, "127.0.0.1:0", "--hosts", "1", command=command) as program:
        client = HttpConnection(await program.listening())
        first = await client.ask("GET", "/visits")
        cookie = first.headers["set-cookie"].partition(";")[0]
        assert (await client.ask("GET", "/visits", Cookie=cookie)).body == b"2"
        upload = await client.ask(
            "POST", "/upload", BOUNDARY % (b"x" * 3_000_000), Content_Type="multipart/form-data; boundary=x"
        )
        assert json.loads(upload.body) == {"name": "a.bin", "size": 3_000_000}
        assert (site / "media" / "a.bin").stat().st_size == 3_000_000
        assert (await client.ask("GET", "/admin/login/")).status == 200
        assert b"teal" in (await client.ask("GET", "/static/shop/shop.css")).body
        assert json.loads((await client.ask("GET", "/groups")).body)["pid"] == program.pid
        assert await program.stop(signal.SIGTERM) == 0


async def test_while_debug_is_on_static_files_are_found(site: Path) -> None:
    """Nothing has to be collected, as with `runserver`; migrations that are missing and an address that others reach
    are told."""
    command = (*MANAGE, "skerry")
    arguments = ("--bind", "0.0.0.0:0", "--no-reload")
    async with Program(site, *arguments, environ={"SHOP_DEBUG": "1"}, command=command) as program:
        client = HttpConnection(await program.listening())
        assert b"teal" in (await client.ask("GET", "/static/shop/shop.css")).body
        assert "unapplied migration(s)" in program.text
        assert "DEBUG is on and 0.0.0.0:0 can be reached by others" in program.text
        assert await program.stop(signal.SIGINT) == 0


async def test_pages_follow_the_transactions_of_the_project(site: Path) -> None:
    """SKERRY["APP"]: the App that hosts the project, on its own database; what is rolled back is not heard."""
    await manage(site, "migrate", "-v0")
    command = (*MANAGE, "skerry")
    arguments = ("127.0.0.1:0", "--servers", "1")
    async with Program(site, *arguments, environ={"SHOP_LIVE": "1"}, command=command) as program:
        await program.until(lambda: "ready on http://127.0.0.1:" in program.text, 120)
        port = program.text.partition("ready on http://127.0.0.1:")[2].partition(" ")[0]
        async with (
            asyncio.timeout(60),
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as client,
        ):
            page = (await client.get("/live")).text
            assert 'import { connect } from "/_skerry/skerry.js"' in page
            assert (await client.get("/_skerry/skerry.js")).status_code == 200
            async with client.stream("GET", "/events", headers={"Accept": "text/event-stream"}) as stream:
                lines = stream.aiter_lines()
                while '"hello"' not in await anext(lines):
                    pass
                for path in ("/refuse/6", "/pay/7"):
                    assert (await client.get(path)).text == "paid"
                while '"domain_event"' not in (line := await anext(lines)):
                    pass
            event = json.loads(line.partition(":")[2])
            assert (event["event"], event["number"]) == ("order_paid", 7)
            assert (await client.get("/groups")).json()["groups"] == ["order 7"]
        assert await program.stop(signal.SIGINT) == 0


async def test_wrong_settings_end_it_before_it_serves(site: Path) -> None:
    """One error that names the setting."""
    with (site / "shop" / "settings.py").open("a") as settings:
        settings.write('SKERRY["JOURNEY"] = "x"\n')
    async with Program(site, command=(*MANAGE, "skerry")) as program:
        assert await program.ended() == 1
        assert "(skerry.E001) SKERRY has an unknown key 'JOURNEY'" in program.text


async def test_manage_py_tars_is_what_a_node_starts(site: Path, tmp_path: Path) -> None:
    """The project at the first adapter that is not `tars`; `stop` ends it."""
    configuration = configuration_for("PyServer", [], web=["WebObj"], deactivating_seconds=20.0)
    command = [sys.executable, str(site / "manage.py"), "tars", "--workers", "1"]
    async with FakeNode(tmp_path, configuration, command, is_php=True) as node:
        await node.start()
        await node.until_active()
        [adapter] = node.configuration.adapters
        async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
            assert (await client.get(f"http://127.0.0.1:{adapter.endpoint.port}/live")).status_code == 200
        await node.stop()
        assert node.state == "inactive"
