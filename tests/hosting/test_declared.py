"""`app.host`: an existing application inside an App; what the App declares comes first, Skerry's own pages give way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from skerry import App
from skerry.cli.main import main
from skerry.errors import DeclarationError
from skerry.kernel.settings import Settings
from skerry.testing.app import running


def shop(environ: dict[str, Any], start: Any) -> list[bytes]:
    start("200 OK", [("Content-Type", "text/plain")])
    return [f"shop {environ['SCRIPT_NAME']} {environ['PATH_INFO']}".encode()]


async def api(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        raise RuntimeError("none")
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": f"api {scope['root_path']}".encode()})


def memory(**more: Any) -> Settings:
    return Settings(journal="memory:", transport="memory:", warm_start=False, **more)


async def test_what_is_declared_comes_before_a_host(tmp_path: Path) -> None:
    """Routes, then mounts and hosts by the longest path; a host at "/" has everything else, `/health` too."""
    app = App("mixed")

    @app.get("/hello/{name}")
    def hello(name: str) -> str:
        return f"lane {name}"

    (tmp_path / "a.css").write_text("css")
    app.host("/", shop, threads=1)
    app.host("/api", api)
    app.static("/static", tmp_path)
    async with running(app, settings=memory()) as world:
        client = world.client
        for path, text in (
            ("/hello/you", "lane you"),
            ("/", "shop  /"),
            ("/hello", "shop  /hello"),
            ("/health/ready", "shop  /health/ready"),
            ("/metrics", "shop  /metrics"),
            ("/docs", "shop  /docs"),
            ("/commands/x", "shop  /commands/x"),
            ("/api", "api /api"),
            ("/api/x", "api /api"),
            ("/apix", "shop  /apix"),
            ("/static/a.css", "css"),
        ):
            assert (await client.get(path)).text == text, path
        assert (await client.get("/-/skerry/health/ready")).status == 200
        metrics = (await client.get("/-/skerry/metrics")).text
        assert 'skerry_host_answers_total{host="' in metrics
        assert (await client.get("/-/skerry/commands/x")).status == 404


async def test_without_a_host_at_the_root_own_pages_stay(tmp_path: Path) -> None:
    """Where they are today, and under their prefix as in every process."""
    app = App("mixed")
    app.host("/shop", shop)
    async with running(app, settings=memory()) as world:
        for path in ("/health/ready", "/-/skerry/health/ready", "/metrics", "/-/skerry/metrics", "/docs"):
            assert (await world.client.get(path)).status == 200, path
        assert (await world.client.get("/shop/a")).text == "shop /shop /a"
        assert (await world.client.get("/other")).status == 404


async def test_a_host_has_a_login_of_its_own_unless_rights_are_asked_for() -> None:
    """Tokens of the App do not guard it by default."""
    app = App("mixed")
    app.host("/open", shop)
    app.host("/guarded", shop, rights="read")
    async with running(app, settings=memory(tokens="read:secret")) as world:
        assert (await world.client.get("/open/a")).status == 200
        assert (await world.client.get("/guarded/a")).status == 401
        answer = await world.client.get("/guarded/a", headers={"Authorization": "Bearer secret"})
        assert answer.text == "shop /guarded /a"


async def test_a_host_gets_every_name_unless_somebody_says_which() -> None:
    """Its framework has a list of its own; the App's own pages stay guarded on loopback."""
    app = App("mixed")
    app.host("/shop", shop)
    foreign = {"Host": "evil.example"}
    async with running(app, settings=memory()) as world:
        assert (await world.client.get("/shop/a", headers=foreign)).status == 200
        assert (await world.client.get("/health/ready", headers=foreign)).status == 421
    async with running(app, settings=memory(hosts="shop.example")) as world:
        assert (await world.client.get("/shop/a", headers=foreign)).status == 421


async def test_a_middleware_stands_before_a_host_too() -> None:
    """It is then answered over ASGI."""

    class Marking:
        def __init__(self, app: Any) -> None:
            self._app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            async def marked(message: Any) -> None:
                if message["type"] == "http.response.start":
                    message["headers"] = [*message["headers"], (b"x-marked", b"yes")]
                await send(message)

            await self._app(scope, receive, marked)

    app = App("mixed")
    app.http.middleware(Marking)
    app.host("/shop", shop)
    async with running(app, settings=memory()) as world:
        answer = await world.client.get("/shop/a")
        assert (answer.text, answer.headers["x-marked"]) == ("shop /shop /a", "yes")


def test_slips_are_told_at_declaration() -> None:
    """With the line to write instead."""
    app = App("mixed")
    with pytest.raises(DeclarationError, match=r"this one is WSGI: use app\.host"):
        app.mount("/", shop)  # type: ignore[arg-type]
    with pytest.raises(DeclarationError, match=r"run it with skerry up"):
        app.host("/", App("other"))
    with pytest.raises(DeclarationError, match=r"is not N or LEAST\.\.MOST"):
        app.host("/", shop, threads="many")
    with pytest.raises(DeclarationError, match="is no path"):
        app.host(shop, "/")  # type: ignore[arg-type]
    with pytest.raises(DeclarationError, match="is neither"):
        app.host("/", lambda only: None)
    app.host("/", "nowhere:app")
    with pytest.raises(DeclarationError, match="two applications"):
        app.host("/", shop)


def test_routes_lists_what_is_mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hosts, mounts and files, without importing what is named only."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mixed_routes.py").write_text(
        "from skerry import App\napp = App('mixed')\napp.host('/', 'nowhere:app')\napp.static('/static', '.')\n"
    )
    done = CliRunner().invoke(main, ["routes", "mixed_routes"])
    assert done.exit_code == 0, done.output
    lines = [line.split() for line in done.output.splitlines()]
    assert ["*", "/*", "host", "-", "nowhere:app"] in lines
    assert ["*", "/static/*", "files", "method", "files", "/static"] in lines
    assert ["GET", "/-/skerry/health/ready", "lane", "-", "ready"] in lines
