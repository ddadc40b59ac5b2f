"""Flask applications as their developers use them: `flask skerry`, `flask tars`, the extension in templates."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import click
import httpx
import pytest
from flask import Flask, g, render_template_string
from flask.cli import ScriptInfo

from skerry.hosting.flask import Skerry
from skerry.hosting.flask.commands import target_of
from skerry.testing.program import HttpConnection, Program
from skerry.testing.tars.node import FakeNode, configuration_for

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and unix sockets")
FLASK = ("-m", "flask", "--app")
SHOP = """
from flask import Flask, request

def create_app(name="shop"):
    app = Flask(__name__)

    @app.post("/hello")
    def hello():
        return {"from": name, "debug": app.debug, "form": request.form.get("a", "")}

    return app
"""
FORM = {"Content_Type": "application/x-www-form-urlencoded"}


async def test_an_application_that_has_a_name(tmp_path: Path) -> None:
    """Found by Flask's own rules; the name is what logs and numbers have."""
    (tmp_path / "shop.py").write_text(SHOP + "\nshop = create_app()\n")
    command = (*FLASK, "shop", "skerry")
    async with Program(tmp_path, "127.0.0.1:0", "--hosts", "1", command=command) as program:
        client = HttpConnection(await program.listening())
        answer = await client.ask("POST", "/hello", b"a=1", **FORM)
        assert answer.body == b'{"debug":false,"form":"1","from":"shop"}\n'
        assert "hosting shop:shop (WSGI" in program.text
        assert await program.stop(signal.SIGTERM) == 0


async def test_a_factory_with_arguments_in_another_directory(tmp_path: Path) -> None:
    """Located in the new process as `flask` locates it, `--debug` included."""
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "shop.py").write_text(SHOP)
    command = (*FLASK, "src/shop.py:create_app('tea')", "--debug", "skerry")
    async with Program(tmp_path, "--bind=127.0.0.1:0", "--no-reload", command=command) as program:
        client = HttpConnection(await program.listening())
        assert (
            await client.ask("POST", "/hello")
        ).body == b'{\n  "debug": true,\n  "form": "",\n  "from": "tea"\n}\n'
        assert await program.stop(signal.SIGINT) == 0


async def test_flask_tars_is_what_a_node_starts(tmp_path: Path) -> None:
    """The application at the first adapter that is not `tars`."""
    (tmp_path / "shop.py").write_text(SHOP)
    configuration = configuration_for("PyServer", [], web=["WebObj"], deactivating_seconds=20.0)
    command = [sys.executable, *FLASK, str(tmp_path / "shop.py"), "tars", "--workers", "1"]
    async with FakeNode(tmp_path, configuration, command, is_php=True) as node:
        await node.start()
        await node.until_active()
        [adapter] = node.configuration.adapters
        async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
            answer = await client.post(f"http://127.0.0.1:{adapter.endpoint.port}/hello", data={"a": "1"})
        assert answer.json()["form"] == "1"
        await node.stop()
        assert node.state == "inactive"


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("named", "named:shop"),
        ("named.py:shop", "named:shop"),
        ("made", "made:create_app()"),
        ("made:create_app", "made:create_app()"),
        ("made:create_app('tea')", "skerry.hosting.flask.commands:located()"),
        (None, "wsgi:create_app()"),
    ],
)
def test_what_flask_finds_has_the_shortest_name(
    path: str | None, target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By which logs and numbers call it."""
    (tmp_path / "named.py").write_text(SHOP + "\nshop = create_app()\n")
    (tmp_path / "made.py").write_text(SHOP)
    (tmp_path / "wsgi.py").write_text("from made import create_app\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setenv("FLASK_APP", "")
    for name in ("named", "made", "wsgi"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    try:
        assert target_of(ScriptInfo(path)) == target
    finally:
        for name in ("named", "made", "wsgi"):
            sys.modules.pop(name, None)


def test_an_application_that_only_its_own_command_line_makes() -> None:
    """A group of commands with a factory of its own: it is told what to name."""
    with pytest.raises(click.UsageError, match="say which with --app"):
        target_of(ScriptInfo(create_app=lambda: Flask("unnamed")))


def test_the_live_stream_in_a_template() -> None:
    """Addresses under the root of the application; nothing leaves the script element; the page's nonce."""
    app = Flask("shop")
    Skerry(app)
    assert {"skerry", "tars"} <= set(app.cli.commands)
    with app.test_request_context("/", environ_overrides={"SCRIPT_NAME": "/kv"}):
        assert render_template_string("{{ skerry_js() }}") == "/kv/_skerry/skerry.js"
        assert (
            render_template_string("{{ skerry_events('//evil.example', 'a&') }}")
            == "/kv/evil.example?prefix=a%26"
        )
        shown = render_template_string("{{ skerry_live(prefix=p, snapshot=True) }}", p="</script><b>")
        assert shown.count("<") == 2
        assert '"snapshot": true' in shown
        assert 'connect("/kv/events"' in shown
        assert "nonce" not in shown
        g.csp_nonce = '">'
        assert '<script type="module" nonce="&quot;&gt;">' in render_template_string("{{ skerry_live() }}")
