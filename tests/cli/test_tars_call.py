"""One request from the shell: arguments and results as JSON, slips told with their cure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from skerry import tars
from skerry.cli.main import main
from skerry.tars.platform.configuration import AdapterConfiguration, Configuration
from skerry.testing.tars import TarsPlatform, tars_platform

__all__ = ["tars_platform"]

IDL = """
module Demo
{
    struct Person { 0 require string name; 1 optional int age; };
    interface Hello { string hello(string name); int grow(Person p, int by, out Person older); void fail(int code); };
    interface Other { string hello(string name); };
};
"""
NAME = "Demo.Shell.HelloObj"
demo: Any = tars.load_text(IDL).Demo


class HelloServant(demo.Hello):  # type: ignore[misc]
    async def hello(self, name: str) -> str:
        return f"Hello {name}!"

    async def grow(self, p: Any, by: int) -> Any:
        return 7, demo.Person(name=p.name, age=p.age + by)

    async def fail(self, code: int) -> None:
        raise tars.ServantError(code, "as asked")


@pytest.fixture
def served(tars_platform: TarsPlatform, tmp_path: Path) -> Iterator[list[str]]:
    """A server in the platform's loop, registered; options that find it."""
    server = tars.Server(drain_seconds=0.1)
    server.add(HelloServant(), f"{NAME}@tcp -h 127.0.0.1 -p 0 -t 60000")
    tars_platform.run(server.start())
    tars_platform.registry.register(NAME, str(server.endpoints[0]))
    (tmp_path / "hello.tars").write_text(IDL, encoding="utf-8")
    yield ["--locator", tars_platform.locator, "--timeout", "30"]
    tars_platform.run(server.close())


def skerry(*words: str, given: str | None = None) -> Result:
    return CliRunner().invoke(main, ["tars", *words], input=given)


def test_call(served: list[str], tmp_path: Path) -> None:
    """By name or in order, from the command line or the standard input; out parameters beside the return value."""
    idl = ["--idl", str(tmp_path / "hello.tars"), "--interface", "Hello", *served]
    assert json.loads(skerry("call", NAME, "hello", '{"name": "shell"}', *idl).stdout) == {
        "tars_ret": "Hello shell!"
    }
    grown = skerry("call", NAME, "grow", "-", *idl, given='[{"name": "x", "age": 3}, 4]')
    assert json.loads(grown.stdout) == {"older": {"name": "x", "age": 7}, "tars_ret": 7}
    failed = skerry("call", NAME, "fail", "[5]", *idl)
    assert failed.exit_code == 1
    assert "as asked" in failed.stderr
    assert "(code 5)" in failed.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["hello", "{}"], "say which with --interface"),
        (["hallo", "{}"], "has no function hallo; it has fail, grow, hello"),
        (["grow", '{"p": {"name": "x"}}'], "by: is missing"),
        (["grow", '{"q": 1}'], "grow has no q; it takes p, by"),
        (["grow", "[1]"], "takes 2 (p, by), not 1"),
        (["grow", "{"], "no JSON"),
        (["grow", '[{"name": 1}, 2]'], "expected a string"),
    ],
)
def test_slips(served: list[str], tmp_path: Path, words: list[str], told: str) -> None:
    """One line, exit code 1, nothing is sent."""
    done = skerry("call", NAME, *words, "--idl", str(tmp_path / "hello.tars"), *served)
    assert done.exit_code == 1
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_ping(served: list[str], tars_platform: TarsPlatform) -> None:
    """Every endpoint with its time; one that does not answer is exit code 1."""
    done = skerry("ping", NAME, *served)
    assert (done.exit_code, done.stdout.endswith(" ms\n")) == (0, True)
    tars_platform.registry.register(NAME, "tcp -h 127.0.0.1 -p 1 -t 3000")
    done = skerry("ping", NAME, "--locator", tars_platform.locator, "--timeout", "2")
    assert done.exit_code == 1
    assert "tcp -h 127.0.0.1 -p 1 -t 3000: " in done.stdout
    assert "give one, or --locator" in skerry("ping", "Demo.No.Obj", *served).stderr


def test_admin_needs_a_file(tmp_path: Path) -> None:
    """The node's file says where; exit code 2 when it does not."""
    path = tmp_path / "x.conf"
    path.write_text("<tars>\n<application>\n<server>\napp=A\nserver=B\n</server>\n</application>\n</tars>\n")
    done = skerry("admin", "tars.help", "--config", str(path))
    assert done.exit_code == 2
    assert "has no local=" in done.stderr


def test_the_file_of_a_server_tells_where_its_own_objects_are(
    served: list[str], tars_platform: TarsPlatform, tmp_path: Path
) -> None:
    """Without any registry: what `skerry tars init` wrote is enough to ping and call what runs."""
    [registered] = tars_platform.registry.objects[NAME]
    adapter = AdapterConfiguration(f"{NAME}Adapter", NAME, registered.endpoint)
    file = tmp_path / "local.conf"
    file.write_text(Configuration("Demo", "Shell", (adapter,)).text(), encoding="utf-8")
    alone = ["--config", str(file), "--timeout", "30"]
    idl = ["--idl", str(tmp_path / "hello.tars"), "--interface", "Hello", *alone]
    assert "Hello file!" in skerry("call", NAME, "hello", '{"name": "file"}', *idl).stdout
    assert skerry("ping", NAME, *alone).exit_code == 0
    assert "has no endpoint" in skerry("ping", "Demo.Shell.OtherObj", *alone).stderr
